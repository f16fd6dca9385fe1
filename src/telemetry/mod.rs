//! Gate: logs, metrics, error chains.
