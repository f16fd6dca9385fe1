//! Questions to name servers: the only file that knows the library which asks them. Answers are kept as long as
//! their time to live says.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};

/// One question; a second one is asked when it is over.
const QUESTION_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Answers kept, each some hundred octets: several for each host that is called.
const ANSWERS_MAX: u64 = 1_024;

/// How long a name that has nothing is believed to have nothing: a record that was just made is wanted soon.
const NOTHING_MAX: Duration = Duration::from_secs(60);

/// One SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Srv {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    pub(super) target: String,
}

/// One NAPTR record (RFC 3403).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Naptr {
    pub(super) order: u16,
    pub(super) preference: u16,
    pub(super) flags: String,
    pub(super) service: String,
    pub(super) replacement: String,
}

/// No name server gave an answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("ask the name servers: {0}")]
pub(super) struct Silent(String);

/// The name servers.
pub(super) struct Dns {
    resolver: TokioResolver,
}

impl Dns {
    /// The name servers at these addresses, or those of the system.
    pub(super) fn new(servers: &[SocketAddr]) -> Result<Self, Silent> {
        let silent = |error: NetError| Silent(error.to_string());
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio().map_err(silent)?
        } else {
            let servers = servers.iter().map(|server| {
                let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
                for connection in &mut connections {
                    connection.port = server.port();
                }
                NameServerConfig::new(server.ip(), true, connections)
            });
            let config = ResolverConfig::from_name_servers(servers.collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        adjust(builder.options_mut());
        Ok(Self { resolver: builder.build().map_err(silent)? })
    }

    /// Addresses of a host, IPv4 first.
    pub(super) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Silent> {
        match self.resolver.lookup_ip(host).await {
            Ok(found) => {
                let mut found: Vec<IpAddr> = found.iter().collect();
                found.sort_by_key(IpAddr::is_ipv6);
                Ok(found)
            }
            Err(error) => nothing(&error),
        }
    }

    /// SRV records of a name, as they came.
    pub(super) async fn srv(&self, name: &str) -> Result<Vec<Srv>, Silent> {
        let read = |data: &RData| match data {
            RData::SRV(srv) => Some(Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: srv.target.to_utf8(),
            }),
            _ => None,
        };
        self.records(name, RecordType::SRV, read).await
    }

    /// NAPTR records of a name, as they came.
    pub(super) async fn naptr(&self, name: &str) -> Result<Vec<Naptr>, Silent> {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let read = |data: &RData| match data {
            RData::NAPTR(naptr) => Some(Naptr {
                order: naptr.order,
                preference: naptr.preference,
                flags: text(&naptr.flags),
                service: text(&naptr.services),
                replacement: naptr.replacement.to_utf8(),
            }),
            _ => None,
        };
        self.records(name, RecordType::NAPTR, read).await
    }

    async fn records<T>(
        &self,
        name: &str,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Result<Vec<T>, Silent> {
        // Whole names only: the domains that the system searches have no carriers.
        let whole = format!("{}.", name.trim_end_matches('.'));
        match self.resolver.lookup(whole, kind).await {
            Ok(found) => Ok(data(&found).filter_map(read).collect()),
            Err(error) => nothing(&error),
        }
    }
}

fn data(found: &Lookup) -> impl Iterator<Item = &RData> {
    found.answers().iter().map(|record| &record.data)
}

/// That there is nothing is an answer, too.
fn nothing<T>(error: &NetError) -> Result<Vec<T>, Silent> {
    if error.is_no_records_found() || error.is_nx_domain() {
        return Ok(Vec::new());
    }
    Err(Silent(error.to_string()))
}

fn adjust(options: &mut ResolverOpts) {
    options.timeout = QUESTION_TIMEOUT;
    options.attempts = 2;
    options.cache_size = ANSWERS_MAX;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.negative_max_ttl = Some(NOTHING_MAX);
}
