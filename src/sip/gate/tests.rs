use super::*;
use crate::net::clock;

const INVITE: &[u8] = b"INVITE sip:a@b SIP/2.0\r\nTo: <sip:a@b>\r\n\r\n";
const BYE: &[u8] = b"BYE sip:a@b SIP/2.0\r\nt: <sip:a@b>;TAG=1\r\n\r\n";

fn ip(n: u32) -> IpAddr {
    IpAddr::from((0x0a00_0000 + n).to_be_bytes())
}

fn read(gate: &mut Gate, now: Instant, known: bool, octets: &[u8], count: u32) -> u32 {
    (0..count).filter(|_| gate.admit(now, ip(1), known, octets) == Verdict::Read).count() as u32
}

#[test]
fn a_stranger_may_ask_a_little() {
    let (mut gate, start) = (Gate::new(100), clock::now());
    assert_eq!(read(&mut gate, start, false, INVITE, 1_000), 20);
    let dropped = Verdict::Drop("unknown_source_rate");
    assert_eq!(gate.admit(start, ip(1), false, INVITE), dropped);
    // A carrier that we call answers from where it likes.
    assert_eq!(read(&mut gate, start, false, BYE, 10_000), 2_000);
    assert_eq!(gate.admit(start, ip(1), false, BYE), dropped);
    assert_eq!(gate.admit(start, ip(2), false, INVITE), Verdict::Read, "others are others");
    assert_eq!(read(&mut gate, start + Duration::from_secs(2), false, INVITE, 1_000), 10);
}

#[test]
fn a_trunk_may_begin_much_and_what_belongs_to_a_call_is_never_counted() {
    let (mut gate, now) = (Gate::new(100), clock::now());
    assert_eq!(read(&mut gate, now, true, INVITE, 1_000), 100);
    assert_eq!(gate.admit(now, ip(1), true, INVITE), Verdict::Drop("source_rate"));
    for octets in [BYE, b"SIP/2.0 200 OK\r\n\r\n", b"ACK sip:a SIP/2.0\r\nTo: x\r\n\r\n"] {
        assert_eq!(read(&mut gate, now, true, octets, 1_000), 1_000);
    }
    assert_eq!(read(&mut Gate::new(0), now, true, INVITE, 10_000), 10_000);
}

#[test]
fn a_scan_from_everywhere_is_bounded() {
    let (mut gate, now) = (Gate::new(100), clock::now());
    for n in 0..20_000 {
        let verdict = gate.admit(now, ip(n), false, INVITE);
        let wanted =
            if (n as usize) < SOURCES_MAX { Verdict::Read } else { Verdict::Drop("source_table") };
        assert_eq!(verdict, wanted, "{n}");
    }
    assert_eq!(gate.sources(), SOURCES_MAX);
    // Their places are free when they are silent.
    let later = now + IDLE;
    assert_eq!(gate.admit(later, ip(30_000), false, INVITE), Verdict::Read);
    assert_eq!(gate.sources(), 1);
    // One network of IPv6 is one source.
    for n in 0..100_u128 {
        let from = IpAddr::V6(Ipv6Addr::from(0x2001_0db8_u128 << 96 | n));
        gate.admit(later, from, false, INVITE);
    }
    assert_eq!(gate.sources(), 2);
}

#[test]
fn a_source_is_told_of_once_a_minute_and_all_of_them_seldom() {
    let (mut gate, now) = (Gate::new(100), clock::now());
    let first = gate.refused(now, ip(1), "unknown_source").expect("a notice");
    assert_eq!(first, Notice { source: ip(1), reason: "unknown_source", refused: 1 });
    for _ in 0..500 {
        assert_eq!(gate.refused(now, ip(1), "unknown_source_rate"), None);
    }
    let told = (2..1_000).filter(|n| gate.refused(now, ip(*n), "unknown_source").is_some());
    assert_eq!(told.count() as u32, NOTICES_MAX - 1);
    let later = now + NOTICE_EVERY;
    let again = gate.refused(later, ip(1), "unknown_source").expect("a notice");
    assert_eq!(again.refused, 501);
}
