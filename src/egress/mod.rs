//! Gate: the one way out to addresses that a client of the API, an agent or a model has named.
//!
//! Webhooks and tools ask servers whose names come from elsewhere. What may be reached is decided on the address
//! that a connection is made to, not on the name ([`policy`]), so that a name that resolves differently the second
//! time gains nothing. Redirects are not followed, proxies of the environment are not used, every wait and every
//! answer is bounded. Providers have their own client: their addresses stand in the configuration. Start reading at
//! [`Client::send`].

pub mod client;
pub mod policy;

pub use client::{Client, EgressError, Lookup, Overflow, Request, Response};
pub use policy::{Policy, Refusal, Target};

#[cfg(test)]
mod tests;
