//! A name server on loopback, and what is made of its answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use super::avoid::AVOID_FOR;
use super::dns::Naptr;
use super::*;
use crate::sim::dns::NameServer;

const ALL: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

async fn locator(zone: &str) -> (NameServer, Locator) {
    let server = NameServer::start(zone).await.unwrap();
    let locator = Locator::new(&[server.address()], ALL.to_vec(), Entropy::seeded(3));
    (server, locator)
}

fn sought(host: &str, port: Option<u16>, transport: Option<Transport>) -> Sought {
    Sought { host: host.to_owned(), port, transport }
}

fn hop(transport: Transport, remote: &str) -> Hop {
    Hop { transport, remote: remote.parse().unwrap() }
}

const ZONE: &str = "carrier.test 300 NAPTR 10 10 SIPS+D2T _sips._tcp.carrier.test
    carrier.test 300 NAPTR 20 10 SIP+D2U _sip._udp.edge.test
    _sips._tcp.carrier.test 300 SRV 10 10 5061 a.test
    _sip._udp.edge.test 300 SRV 20 0 5070 b.test
    _sip._udp.edge.test 300 SRV 10 0 5060 a.test
    _sip._tcp.carrier.test 300 SRV 10 0 5080 b.test
    plain.test 300 A 192.0.2.9
    plain.test 300 AAAA 2001:db8::9
    closed.test 300 A 192.0.2.9
    _sip._udp.closed.test 300 SRV 0 0 0 .
    a.test 300 A 192.0.2.1
    b.test 300 A 192.0.2.2
    b.test 300 AAAA 2001:db8::2";

#[tokio::test]
async fn a_host_is_found_as_rfc_3263_says() {
    let (_server, locator) = locator(ZONE).await;
    let udp = Some(Transport::Udp);
    for (sought, wanted) in [
        // Addresses, and hosts with a port.
        (sought("192.0.2.7", None, udp), vec![hop(Transport::Udp, "192.0.2.7:5060")]),
        (
            sought("[2001:db8::7]", None, Some(Transport::Tls)),
            vec![hop(Transport::Tls, "[2001:db8::7]:5061")],
        ),
        (sought("a.test", Some(5099), udp), vec![hop(Transport::Udp, "192.0.2.1:5099")]),
        // NAPTR chooses; what it says of another protocol is left alone.
        (sought("carrier.test", None, None), vec![hop(Transport::Tls, "192.0.2.1:5061")]),
        (
            sought("carrier.test", None, udp),
            vec![
                hop(Transport::Udp, "192.0.2.1:5060"),
                hop(Transport::Udp, "192.0.2.2:5070"),
                hop(Transport::Udp, "[2001:db8::2]:5070"),
            ],
        ),
        // SRV without NAPTR of the protocol.
        (
            sought("carrier.test", None, Some(Transport::Tcp)),
            vec![hop(Transport::Tcp, "192.0.2.2:5080"), hop(Transport::Tcp, "[2001:db8::2]:5080")],
        ),
        // Neither.
        (
            sought("plain.test", None, None),
            vec![hop(Transport::Udp, "192.0.2.9:5060"), hop(Transport::Udp, "[2001:db8::9]:5060")],
        ),
    ] {
        assert_eq!(locator.locate(&sought).await.unwrap(), wanted, "{sought:?}");
    }
    let none = locator.locate(&sought("nobody.test", None, None)).await;
    assert!(matches!(none, Err(LocateError::NoAddress(_))), "{none:?}");
    let closed = locator.locate(&sought("closed.test", None, udp)).await;
    assert!(matches!(closed, Err(LocateError::NoService(_))), "{closed:?}");
}

#[tokio::test]
async fn answers_are_kept_for_their_time_to_live() {
    let zone = "brief.test 1 A 192.0.2.1\nlong.test 300 A 192.0.2.1";
    let (server, locator) = locator(zone).await;
    let (brief, long) =
        (sought("brief.test", Some(5060), None), sought("long.test", Some(5060), None));
    for _ in 0..3 {
        locator.locate(&brief).await.unwrap();
        locator.locate(&long).await.unwrap();
    }
    assert_eq!(server.asked("long.test", "A"), 1);
    assert_eq!(server.asked("brief.test", "A"), 1);
    server.set("brief.test 1 A 192.0.2.2\nlong.test 300 A 192.0.2.2");
    let moved = async {
        while locator.locate(&brief).await.unwrap() != [hop(Transport::Udp, "192.0.2.2:5060")] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), moved).await.expect("the new address");
    assert_eq!(locator.locate(&long).await.unwrap(), [hop(Transport::Udp, "192.0.2.1:5060")]);
}

#[tokio::test]
async fn name_servers_that_say_nothing_are_an_error_in_time() {
    let (server, locator) = locator(ZONE).await;
    server.be_silent(true);
    let result = locator.locate(&sought("a.test", Some(5060), None)).await;
    assert!(
        matches!(result, Err(LocateError::Silent { .. } | LocateError::Timeout(_))),
        "{result:?}"
    );
}

#[tokio::test]
async fn targets_that_failed_go_last() {
    let (_server, locator) = locator(ZONE).await;
    let carrier = sought("carrier.test", None, Some(Transport::Udp));
    let first = hop(Transport::Udp, "192.0.2.1:5060");
    locator.failed(first);
    assert!(locator.is_avoided(first));
    let order = locator.locate(&carrier).await.unwrap();
    assert_eq!((order[0], order[2]), (hop(Transport::Udp, "192.0.2.2:5070"), first));
    locator.worked(first);
    assert_eq!(locator.locate(&carrier).await.unwrap()[0], first);
}

#[test]
fn a_target_that_failed_recovers_by_time() {
    let mut avoided = Avoided::default();
    let (now, one) = (clock::now(), hop(Transport::Udp, "192.0.2.1:5060"));
    avoided.failed(now, one);
    assert!(avoided.is_avoided(now + AVOID_FOR - Duration::from_millis(1), &one));
    assert!(!avoided.is_avoided(now + AVOID_FOR, &one));
    let two = hop(Transport::Udp, "192.0.2.2:5060");
    assert_eq!(avoided.order(now, vec![one, two]), [two, one]);
    assert_eq!(avoided.order(now + AVOID_FOR, vec![one, two]), [one, two]);
}

#[test]
fn weights_share_and_priorities_go_first() {
    let srv = |priority, weight, port| Srv { priority, weight, port, target: "x".to_owned() };
    let mut entropy = Entropy::seeded(9);
    let mut firsts = [0u32; 4];
    for _ in 0..10_000 {
        let records = vec![srv(2, 100, 3), srv(1, 10, 0), srv(1, 30, 1), srv(1, 60, 2)];
        let ordered = select::srv_order(records, &mut entropy);
        assert_eq!(ordered[3].port, 3, "the other priority is last");
        firsts[usize::from(ordered[0].port)] += 1;
    }
    for (port, share) in [(0, 1_000), (1, 3_000), (2, 6_000)] {
        let (got, wanted) = (i64::from(firsts[port]), i64::from(share));
        assert!((got - wanted).abs() < 300, "{firsts:?}");
    }
    // RFC 2782: a weight of 0 has a small chance beside others, and every chance alone.
    let zero = select::srv_order(vec![srv(1, 0, 7), srv(1, 0, 8)], &mut entropy);
    assert_eq!(zero.len(), 2);
}

#[test]
fn naptr_records_that_lead_nowhere_are_left_out() {
    let naptr = |order, flags: &str, service: &str| Naptr {
        order,
        preference: 0,
        flags: flags.to_owned(),
        service: service.to_owned(),
        replacement: format!("{service}.test"),
    };
    let records = vec![
        naptr(3, "s", "SIP+D2T"),
        naptr(1, "u", "E2U+sip"),
        naptr(2, "S", "sip+d2u"),
        naptr(0, "s", "SIPS+D2W"),
    ];
    let spoken = |transport| transport != Transport::Tls;
    let order = select::naptr_order(records, spoken);
    assert_eq!(
        order,
        [(Transport::Udp, "sip+d2u.test".to_owned()), (Transport::Tcp, "SIP+D2T.test".to_owned())]
    );
}
