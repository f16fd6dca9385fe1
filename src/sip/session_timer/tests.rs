use std::time::{Duration, Instant};

use super::*;

const WISH: Wish = Wish { expires_s: 1_800, min_s: 90 };

fn said(lines: &[(HeaderName, &'static str)]) -> Said {
    let mut headers = Headers::new();
    for (name, value) in lines {
        headers.push(*name, *value);
    }
    Said::of(&headers)
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "any instant serves as the origin")]
    Instant::now()
}

#[test]
fn what_headers_say() {
    use HeaderName::{MinSe, Require, SessionExpires, Supported};
    let all = said(&[
        (SessionExpires, "1800 ; Refresher=UAC"),
        (MinSe, "120;lr"),
        (Supported, "replaces, Timer"),
    ]);
    let expected =
        Said { expires_s: Some(1_800), by_sender: Some(true), min_s: Some(120), supported: true };
    assert_eq!(all, expected);
    assert_eq!(said(&[(SessionExpires, "90;refresher=uas")]).by_sender, Some(false));
    assert!(said(&[(Require, "timer")]).supported);
    for odd in ["", "-1", "x", "0", "99999999999", ";refresher=uac"] {
        assert_eq!(said(&[(SessionExpires, odd)]).expires_s, None, "{odd}");
    }
    assert_eq!(said(&[]), Said::default());
}

/// Table 2 of RFC 4028, and what peers send besides.
#[test]
fn every_row_of_the_refresher_table() {
    use Refresher::{Them, Us};
    let agreed = |interval_s, refresher| Verdict::Agreed { interval_s, refresher };
    let rows = [
        // Supports timers, interval, refresher.
        (false, Some(1_800), None, agreed(1_800, Us)),
        (false, Some(1_800), Some(false), agreed(1_800, Us)),
        (false, Some(1_800), Some(true), agreed(1_800, Us)),
        (true, Some(1_800), None, agreed(1_800, Us)),
        (true, Some(1_800), Some(false), agreed(1_800, Us)),
        (true, Some(1_800), Some(true), agreed(1_800, Them)),
        (true, Some(120), Some(true), agreed(120, Them)),
        (true, Some(89), Some(true), Verdict::TooSmall),
        // A proxy put it in: the caller could not read a 422.
        (false, Some(30), None, agreed(90, Us)),
        (true, None, None, agreed(1_800, Us)),
        (false, None, None, Verdict::None),
    ];
    for (supported, expires_s, by_sender, expected) in rows {
        let said = Said { expires_s, by_sender, min_s: None, supported };
        assert_eq!(judge(&said, WISH, None), expected, "{said:?}");
    }
    let least = Said { min_s: Some(3_600), supported: true, ..Said::default() };
    assert_eq!(judge(&least, WISH, None), agreed(3_600, Us));
    let off = Wish { expires_s: 0, min_s: 90 };
    assert_eq!(judge(&least, off, None), Verdict::None);
    // Within the call the roles stay unless the request names others.
    let running = SessionTimer::new(now(), 600, Them);
    let plain = Said { supported: true, ..Said::default() };
    assert_eq!(judge(&plain, WISH, Some(&running)), agreed(600, Them));
    let swapped = Said { expires_s: Some(600), by_sender: Some(false), ..plain };
    assert_eq!(judge(&swapped, WISH, Some(&running)), agreed(600, Us));
    // One that knows no timers (any more) cannot refresh.
    assert_eq!(judge(&Said::default(), WISH, Some(&running)), agreed(600, Us));
}

#[test]
fn what_a_200_agrees_to() {
    use Refresher::{Them, Us};
    let agreed = |interval_s, refresher| Verdict::Agreed { interval_s, refresher };
    let of = |expires_s, by_sender| Said { expires_s, by_sender, ..Said::default() };
    assert_eq!(accepted(&of(Some(1_800), Some(true)), None), agreed(1_800, Us));
    assert_eq!(accepted(&of(Some(1_800), Some(false)), None), agreed(1_800, Them));
    assert_eq!(accepted(&of(Some(300), None), None), agreed(300, Us));
    assert_eq!(accepted(&of(None, None), None), Verdict::None);
    let ours = SessionTimer::new(now(), 300, Us);
    let theirs = SessionTimer::new(now(), 300, Them);
    assert_eq!(accepted(&of(None, None), Some(&ours)), agreed(300, Us));
    assert_eq!(accepted(&of(None, None), Some(&theirs)), Verdict::None);
}

#[test]
fn when_a_session_is_refreshed_and_when_it_is_over() {
    let start = now();
    let at = |s| start + Duration::from_secs(s);
    for (interval_s, refresh_s, over_s) in
        [(1_800, 900, 1_768), (90, 45, 60), (96, 48, 64), (120, 60, 88), (1, 10, 14)]
    {
        let ours = SessionTimer::new(start, interval_s, Refresher::Us);
        assert_eq!(ours.next_wake(), Some(at(refresh_s)), "{interval_s}");
        assert_eq!(ours.due(at(refresh_s)), TimerDue::Refresh);
        let theirs = SessionTimer::new(start, interval_s, Refresher::Them);
        assert_eq!(theirs.due(at(over_s - 1)), TimerDue::Nothing, "{interval_s}");
        assert_eq!(theirs.due(at(over_s)), TimerDue::Expired, "{interval_s}");
    }
}
