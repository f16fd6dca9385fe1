//! The address others reach us at, where the configuration says whom to ask for it instead of the address itself.

mod cloud;

use std::net::IpAddr;
use std::time::Duration;

use super::ServerError;
use crate::config::Config;
use crate::types::Entropy;
use cloud::Cloud;

/// How long a STUN server's name may take to be looked up.
const LOOK_UP_MAX: Duration = Duration::from_secs(5);

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// A STUN server, `host:port`.
    Stun(String),
    /// The metadata service of a cloud, at its address or another.
    Cloud { cloud: Cloud, base: Option<String> },
}

/// What `said` asks for; `None`: it is an address or a name itself.
fn source(said: &str) -> Option<Result<Source, String>> {
    if let Some(server) = said.strip_prefix("stun:") {
        return Some(Ok(Source::Stun(server.to_owned())));
    }
    let rest = said.strip_prefix("cloud:")?;
    let (name, base) = match rest.split_once('@') {
        Some((name, base)) => (name, Some(base.to_owned())),
        None => (rest, None),
    };
    let cloud = Cloud::named(name).ok_or_else(|| {
        format!("`{name}` is none; allowed: {}", Cloud::ALL.map(Cloud::name).join(", "))
    });
    Some(cloud.map(|cloud| Source::Cloud { cloud, base }))
}

/// What `sip.advertised_address` says, once who knows was asked where it says so.
pub(super) async fn discovered(mut config: Config) -> Result<Config, ServerError> {
    let said = config.sip.advertised_address.clone();
    let asked = ask(&said).await.map_err(|message| ServerError::Setup {
        key: "sip.advertised_address".to_owned(),
        message: format!("ask `{said}`: {message}; hint: an IP address needs nobody to ask"),
    })?;
    if let Some(ip) = asked {
        tracing::info!(%ip, source = said, "others reach us at");
        config.sip.advertised_address = ip.to_string();
    }
    Ok(config)
}

/// The address that whoever `said` names knows us by; `None`: it is an address or a name itself.
///
/// # Errors
/// What kept it from being known, in words.
pub(crate) async fn ask(said: &str) -> Result<Option<IpAddr>, String> {
    match source(said) {
        None => Ok(None),
        Some(Err(error)) => Err(error),
        Some(Ok(Source::Stun(server))) => stun(&server).await.map(Some),
        Some(Ok(Source::Cloud { cloud, base })) => {
            cloud::external_ip(cloud, base.as_deref()).await.map(Some)
        }
    }
}

async fn stun(server: &str) -> Result<IpAddr, String> {
    let looked_up = tokio::time::timeout(LOOK_UP_MAX, tokio::net::lookup_host(server)).await;
    let found = match looked_up {
        Ok(Ok(mut found)) => found.next().ok_or("it has no address")?,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err("no answer of a name server".to_owned()),
    };
    let mut entropy = Entropy::from_system().map_err(|error| error.to_string())?;
    let asked = crate::net::stun::external_ip(found, &mut entropy).await;
    asked.map_err(|error| crate::telemetry::chain::chain(&error).to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn addresses_and_names_ask_nobody_and_others_name_whom() {
        for plain in ["", "203.0.113.7", "2001:db8::7", "sip.example.org", "cloudy.example.org"] {
            assert_eq!(source(plain), None, "{plain}");
        }
        let stun = Source::Stun("stun.example.org:3478".to_owned());
        assert_eq!(source("stun:stun.example.org:3478"), Some(Ok(stun)));
        for cloud in Cloud::ALL {
            let said = format!("cloud:{}", cloud.name());
            assert_eq!(source(&said), Some(Ok(Source::Cloud { cloud, base: None })));
        }
        let elsewhere = Some("http://[fd00:ec2::254]".to_owned());
        assert_eq!(
            source("cloud:aws@http://[fd00:ec2::254]"),
            Some(Ok(Source::Cloud { cloud: Cloud::Aws, base: elsewhere }))
        );
        let error = source("cloud:nimbus").unwrap().unwrap_err();
        assert!(error.contains("`nimbus`") && error.contains("aws, azure"), "{error}");
    }

    #[tokio::test]
    async fn what_cannot_be_known_says_what_to_do() {
        let mut config = Config::default();
        for said in ["cloud:nimbus", "stun:trunkline.invalid:3478", "cloud:gcp@http://127.0.0.1:1"]
        {
            config.sip.advertised_address = said.to_owned();
            let error = discovered(config.clone()).await.unwrap_err();
            let ServerError::Setup { key, message } = error else { unreachable!("{error:?}") };
            assert_eq!(key, "sip.advertised_address");
            assert!(message.contains(said) && message.contains("hint"), "{message}");
        }
    }
}
