//! Workshop: parse, print and negotiate one audio stream (RFC 8866, RFC 3264).
