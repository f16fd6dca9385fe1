//! Gate: call records and recordings at rest.
