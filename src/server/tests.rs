use std::net::IpAddr;

use super::{ServerError, resolve_advertised};

#[tokio::test]
async fn the_address_for_sdp_is_looked_up_at_the_start() {
    let address = async |host: &str| resolve_advertised(host).await.unwrap();
    assert_eq!(address("").await, None);
    assert_eq!(address("203.0.113.7").await, Some(IpAddr::from([203, 0, 113, 7])));
    assert_eq!(address("2001:db8::7").await, "2001:db8::7".parse().ok());
    assert_eq!(address("localhost").await, Some(IpAddr::from([127, 0, 0, 1])));
    // RFC 6761 section 6.4: this name has no address anywhere.
    let error = resolve_advertised("trunkline.invalid").await.unwrap_err();
    let ServerError::Setup { key, message } = error else { panic!("{error:?}") };
    assert_eq!(key, "sip.advertised_address");
    assert!(message.contains("`trunkline.invalid`") && message.contains("hint"), "{message}");
}
