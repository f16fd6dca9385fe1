//! Workshop: packets to frames and back (RFC 3550, RFC 3551, RFC 4733).
