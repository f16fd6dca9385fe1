//! A SIP user agent client built from the same cores: a tool, a test peer, a load generator.
