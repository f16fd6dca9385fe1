//! Asks a cloud's metadata service, on the machine's own link, which public address the machine has.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::{Client, Method, Response, StatusCode};

/// A metadata service is on the machine's link: one that takes longer is none.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Asked so often: just after the machine's start the service may not be there yet.
const ATTEMPTS: u32 = 3;
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest document that is read.
const DOCUMENT_BYTES_MAX: usize = 64 << 10;

/// Where metadata services are (RFC 3927: link-local).
const BASE: &str = "http://169.254.169.254";

const AWS_TOKEN: &str = "/latest/api/token";
const AWS_ADDRESS: &str = "/latest/meta-data/public-ipv4";
const AZURE_ADDRESS: &str = "/metadata/instance/network/interface/0/ipv4/ipAddress/0/publicIpAddress?api-version=2021-02-01&format=text";
/// Machines behind a load balancer of the Standard kind have their address there only.
const AZURE_BALANCER: &str = "/metadata/loadbalancer?api-version=2020-10-01";
const DIGITALOCEAN_ADDRESS: &str = "/metadata/v1/interfaces/public/0/ipv4/address";
const GCP_ADDRESS: &str =
    "/computeMetadata/v1/instance/network-interfaces/0/access-configs/0/external-ip";
const HETZNER_ADDRESS: &str = "/hetzner/v1/metadata/public-ipv4";

/// Clouds whose metadata service names the machine's public address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cloud {
    Aws,
    Azure,
    DigitalOcean,
    Gcp,
    Hetzner,
}

impl Cloud {
    pub(super) const ALL: [Self; 5] =
        [Self::Aws, Self::Azure, Self::DigitalOcean, Self::Gcp, Self::Hetzner];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::DigitalOcean => "digitalocean",
            Self::Gcp => "gcp",
            Self::Hetzner => "hetzner",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cloud| cloud.name() == name)
    }
}

/// The machine's public address.
///
/// # Errors
/// When the service does not answer, or the machine has none.
pub(super) async fn external_ip(cloud: Cloud, base: Option<&str>) -> Result<IpAddr, String> {
    crate::providers::http::install_crypto();
    let built = Client::builder()
        // The service is on the link; a proxy's machine has another address.
        .no_proxy()
        .timeout(ANSWER_MAX)
        .redirect(reqwest::redirect::Policy::none())
        .build();
    let service = Service {
        client: built.map_err(|error| error.to_string())?,
        base: base.unwrap_or(BASE).trim_end_matches('/').to_owned(),
    };
    let mut pauses = tokio::time::interval(PAUSE);
    let mut failure = String::new();
    for _ in 0..ATTEMPTS {
        pauses.tick().await;
        match service.ask(cloud).await {
            Ok(ip) => return Ok(ip),
            Err(Failure::Said(message)) => return Err(message),
            Err(Failure::Unreached(message)) => failure = message,
        }
    }
    Err(failure)
}

struct Service {
    client: Client,
    base: String,
}

enum Failure {
    /// Nobody answered, or with an error that may pass.
    Unreached(String),
    /// The answer is that there is none.
    Said(String),
}

impl Service {
    async fn ask(&self, cloud: Cloud) -> Result<IpAddr, Failure> {
        let text = match cloud {
            Cloud::Aws => {
                let ttl = ("x-aws-ec2-metadata-token-ttl-seconds", "60");
                let token = self.text(Method::PUT, AWS_TOKEN, Some(ttl)).await?;
                let token = ("x-aws-ec2-metadata-token", token.as_str());
                self.text(Method::GET, AWS_ADDRESS, Some(token)).await?
            }
            Cloud::Azure => return self.azure().await,
            Cloud::DigitalOcean => self.text(Method::GET, DIGITALOCEAN_ADDRESS, None).await?,
            Cloud::Gcp => {
                let flavor = ("metadata-flavor", "Google");
                self.text(Method::GET, GCP_ADDRESS, Some(flavor)).await?
            }
            Cloud::Hetzner => self.text(Method::GET, HETZNER_ADDRESS, None).await?,
        };
        address(&text)
    }

    async fn azure(&self) -> Result<IpAddr, Failure> {
        let asked = ("metadata", "true");
        let own = self.text(Method::GET, AZURE_ADDRESS, Some(asked)).await?;
        if !own.is_empty() {
            return address(&own);
        }
        let text = self.text(Method::GET, AZURE_BALANCER, Some(asked)).await?;
        let document: serde_json::Value = serde_json::from_str(&text)
            .map_err(|error| Failure::Said(format!("its answer is no JSON: {error}")))?;
        let first = document.pointer("/loadbalancer/publicIpAddresses/0/frontendIpAddress");
        address(first.and_then(serde_json::Value::as_str).unwrap_or_default())
    }

    /// A document, without the space around it.
    async fn text(
        &self,
        method: Method,
        path: &str,
        header: Option<(&str, &str)>,
    ) -> Result<String, Failure> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let unreached = |error: reqwest::Error| {
            Failure::Unreached(crate::telemetry::chain::chain(&error.without_url()).to_string())
        };
        let response = request.send().await.map_err(unreached)?;
        match response.status() {
            StatusCode::OK => read(response).await.map_err(unreached),
            StatusCode::NOT_FOUND => Err(Failure::Said(NONE.to_owned())),
            status if status.is_server_error() => {
                Err(Failure::Unreached(format!("the metadata service answered {status}")))
            }
            status => Err(Failure::Said(format!(
                "the metadata service answered {status}; is this machine of that cloud?"
            ))),
        }
    }
}

const NONE: &str = "the machine has no public address of its own";

async fn read(mut response: Response) -> Result<String, reqwest::Error> {
    let mut octets = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = DOCUMENT_BYTES_MAX.saturating_sub(octets.len());
        octets.extend(chunk.iter().take(room));
        if octets.len() >= DOCUMENT_BYTES_MAX {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&octets).trim().to_owned())
}

fn address(text: &str) -> Result<IpAddr, Failure> {
    if text.is_empty() {
        return Err(Failure::Said(NONE.to_owned()));
    }
    text.parse().map_err(|_| Failure::Said("its answer is no address".to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::Router;
    use axum::http::HeaderMap;
    use axum::routing::{get, put};

    use super::*;

    async fn serve(app: Router) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        base
    }

    /// Answers who sends a header as it wants it, and nobody else.
    fn given(
        name: &'static str,
        value: &'static str,
        answer: &'static str,
    ) -> axum::routing::MethodRouter {
        get(move |headers: HeaderMap| async move {
            match headers.get(name).is_some_and(|said| said == value) {
                true => (StatusCode::OK, answer),
                false => (StatusCode::FORBIDDEN, ""),
            }
        })
    }

    fn path(full: &str) -> &str {
        full.split('?').next().unwrap()
    }

    /// Each service as its cloud documents it.
    fn services() -> Router {
        let token = put(|headers: HeaderMap| async move {
            match headers.contains_key("x-aws-ec2-metadata-token-ttl-seconds") {
                true => (StatusCode::OK, "secret-token"),
                false => (StatusCode::BAD_REQUEST, ""),
            }
        });
        Router::new()
            .route(AWS_TOKEN, token)
            .route(AWS_ADDRESS, given("x-aws-ec2-metadata-token", "secret-token", "203.0.113.1"))
            .route(path(AZURE_ADDRESS), given("metadata", "true", "203.0.113.2"))
            .route(DIGITALOCEAN_ADDRESS, get(|| async { "203.0.113.3" }))
            .route(GCP_ADDRESS, given("metadata-flavor", "Google", "203.0.113.4\n"))
            .route(HETZNER_ADDRESS, get(|| async { "203.0.113.5" }))
    }

    #[tokio::test]
    async fn each_cloud_is_asked_its_own_way() {
        let base = serve(services()).await;
        for (cloud, last) in Cloud::ALL.into_iter().zip(1..) {
            let ip = external_ip(cloud, Some(&base)).await;
            assert_eq!(ip, Ok(IpAddr::from([203, 0, 113, last])), "{cloud:?}");
        }
    }

    #[tokio::test]
    async fn azure_behind_a_load_balancer_has_the_address_of_that() {
        let balancer = r#"{"loadbalancer":{"publicIpAddresses":[{"frontendIpAddress":"203.0.113.9",
            "privateIpAddress":"10.0.0.4"}]}}"#;
        let app = Router::new()
            .route(path(AZURE_ADDRESS), given("metadata", "true", ""))
            .route(path(AZURE_BALANCER), given("metadata", "true", balancer));
        let ip = external_ip(Cloud::Azure, Some(&serve(app).await)).await;
        assert_eq!(ip, Ok(IpAddr::from([203, 0, 113, 9])));
    }

    #[tokio::test]
    async fn a_machine_without_one_and_a_service_of_another_cloud_say_so() {
        let base = serve(Router::new()).await;
        assert_eq!(external_ip(Cloud::Hetzner, Some(&base)).await, Err(NONE.to_owned()));
        let app = Router::new()
            .route(HETZNER_ADDRESS, get(|| async { "not an address" }))
            .route(DIGITALOCEAN_ADDRESS, get(|| async { StatusCode::FORBIDDEN }));
        let base = serve(app).await;
        let error = external_ip(Cloud::Hetzner, Some(&base)).await.unwrap_err();
        assert_eq!(error, "its answer is no address");
        let error = external_ip(Cloud::DigitalOcean, Some(&base)).await.unwrap_err();
        assert!(error.contains("403"), "{error}");
    }

    #[tokio::test]
    async fn a_service_that_is_not_there_yet_is_asked_again() {
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let late = get(move || {
            let is_early = count.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                match is_early {
                    true => (StatusCode::SERVICE_UNAVAILABLE, ""),
                    false => (StatusCode::OK, "203.0.113.5"),
                }
            }
        });
        let base = serve(Router::new().route(HETZNER_ADDRESS, late)).await;
        let ip = external_ip(Cloud::Hetzner, Some(&base)).await;
        assert_eq!(ip, Ok(IpAddr::from([203, 0, 113, 5])));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        // A service that is never there: what stood in the way.
        let error = external_ip(Cloud::Gcp, Some("http://127.0.0.1:1")).await.unwrap_err();
        assert!(error.contains("refused"), "{error}");
    }
}
