//! Identifiers. Each is a newtype so that one can never stand in for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Entropy;

/// Identifier of one call (one SIP dialog, one attempt): a UUIDv7, so ids sort by creation time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(uuid::Uuid);

impl CallId {
    /// Makes an id from a wall clock in Unix milliseconds and 80 random bits (RFC 9562 section 5.7).
    pub fn new(unix_ms: u64, entropy: &mut Entropy) -> Self {
        Self(new_uuid(unix_ms, entropy))
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for CallId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        uuid::Uuid::parse_str(text).map(Self)
    }
}

/// Counts the turns of one call, from 0.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TurnId(pub u32);

/// Number bumped whenever playback is cut. Audio tagged with an older generation can never play.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u32);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// Identifier of a configured agent: its key in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AgentId(pub String);

impl AgentId {
    /// What a record keeps: nothing for an agent that came with its call and is kept nowhere.
    pub fn kept(&self) -> Option<Self> {
        (!self.0.is_empty()).then(|| self.clone())
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a configured SIP trunk: its key in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrunkName(pub String);

impl fmt::Display for TrunkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// Makes an id from a wall clock in Unix milliseconds and 80 random bits.
            pub fn new(unix_ms: u64, entropy: &mut Entropy) -> Self {
                Self(new_uuid(unix_ms, entropy))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                uuid::Uuid::parse_str(text).map(Self)
            }
        }
    )+};
}

uuid_ids! {
    /// A request to reach somebody, which may take several calls.
    OrderId;
    /// A group of orders made by one request.
    BatchId;
    /// Orders to the leads of a list.
    CampaignId;
    /// One person of a campaign's list.
    LeadId;
}

/// A fresh identifier of a resource: a UUIDv7 as text.
pub fn resource_id(unix_ms: u64, entropy: &mut Entropy) -> String {
    new_uuid(unix_ms, entropy).to_string()
}

fn new_uuid(unix_ms: u64, entropy: &mut Entropy) -> uuid::Uuid {
    let mut random = [0u8; 10];
    entropy.fill(&mut random);
    uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid()
}

/// Whose something is: the tenant an API key belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrganizationId(String);

impl OrganizationId {
    /// The organization of the configuration file and of the first API key.
    pub const DEFAULT: &str = "00000000-0000-7000-8000-000000000000";

    /// Names an organization.
    pub fn new(id: String) -> Self {
        Self(id)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for OrganizationId {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

impl fmt::Display for OrganizationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
