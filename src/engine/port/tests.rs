use std::net::Ipv4Addr;

use super::*;
use crate::net::clock::now;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Three pairs that were free a moment ago.
fn pool_of(pairs: u16) -> PortPool {
    let any = PortPool::new(LOOPBACK, Ports::Any).unwrap();
    loop {
        let first = any.lease(now()).unwrap().local_rtp.port();
        let Some(last) = first.checked_add(pairs * 2 - 1) else { continue };
        return PortPool::new(LOOPBACK, Ports::Range(first..=last)).unwrap();
    }
}

#[test]
fn pairs_are_even_and_odd_and_rest_after_use() {
    let start = now();
    let pool = pool_of(1);
    let pair = match pool.lease(start) {
        Ok(pair) => pair,
        // Another process took it meanwhile; it rests like one of ours.
        Err(PortError::Exhausted) => return,
        Err(error) => panic!("{error:?}"),
    };
    let port = pair.local_rtp.port();
    assert_eq!(port % 2, 0);
    assert_eq!(socket2::SockRef::from(&pair.rtp).tos_v4().unwrap(), TOS_EXPEDITED, "EF");
    assert_eq!(pair.rtcp.local_addr().unwrap().port(), port + 1);
    assert!(matches!(pool.lease(start), Err(PortError::Exhausted)));
    drop(pair);
    pool.give_back(start, port);
    assert!(matches!(pool.lease(start + DRAIN / 2), Err(PortError::Exhausted)));
    assert_eq!(pool.take(start + DRAIN), Some(port));
}

#[test]
fn a_port_in_use_by_somebody_else_is_skipped() {
    let start = now();
    let pool = pool_of(3);
    let Ports::Range(range) = pool.ports.clone() else { unreachable!() };
    let Ok(_squatter) = UdpSocket::bind((LOOPBACK, *range.start() + 1)) else { return };
    if let Ok(pair) = pool.lease(start) {
        assert!(pair.local_rtp.port() > *range.start());
    }
    assert!(pool.lock().draining.iter().any(|(_, port)| port == range.start()));
}

#[test]
fn ranges_are_checked() {
    assert!(matches!(
        PortPool::new(LOOPBACK, Ports::Range(4_001..=4_002)),
        Err(PortError::EmptyRange(4_001, 4_002))
    ));
    assert_eq!(parse_kernel_range("32768\t60999\n"), Some(32_768..=60_999));
    assert_eq!(parse_kernel_range("x"), None);
    assert_eq!(overlap_with_kernel(&Ports::Any), None);
}

#[test]
fn ports_are_in_use_from_lease_to_return() {
    let pool = PortPool::new(LOOPBACK, Ports::Any).unwrap();
    assert!(pool.in_use().is_empty());
    let pair = pool.lease(now()).unwrap();
    let port = pair.local_rtp.port();
    assert_eq!(pool.in_use().into_iter().collect::<Vec<_>>(), [port, port + 1]);
    drop(pair);
    pool.give_back(now(), port);
    assert!(pool.in_use().is_empty());
}
