//! Front desk: the HTTP control plane under `/v1`.
