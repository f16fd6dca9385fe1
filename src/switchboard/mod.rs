//! Many calls: dispatch of SIP events, admission, directory, registry, dialer, drain.
