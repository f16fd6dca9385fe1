use proptest::prelude::*;

use super::*;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn window(start: &str, end: &str) -> Window {
    on(Day::week(), start, end)
}

fn on(days: Vec<Day>, start: &str, end: &str) -> Window {
    Window {
        days,
        start_minute: parse_minute(start).unwrap(),
        end_minute: parse_minute(end).unwrap(),
        delay_seconds: None,
    }
}

#[track_caller]
fn opens(now: &str, zones: &[&str], windows: &[Window], expected: &str) {
    let zones: Vec<TimeZone> = zones.iter().map(|name| zone(name)).collect();
    let found = next_open(at(now), &zones, windows);
    assert_eq!(found, Some(at(expected)), "from {now} in {zones:?}");
    assert!(is_open(at(expected), &zones, windows));
}

#[test]
fn times_of_day_in_both_spellings() {
    for (text, minute) in [
        ("10:00", Some(600)),
        ("9:30", Some(570)),
        ("00:00", Some(0)),
        ("24:00", Some(1_440)),
        ("17:00:00", Some(1_020)),
        ("9:30am", Some(570)),
        ("9:30 PM", Some(1_290)),
        ("12:00am", Some(0)),
        ("12:15pm", Some(735)),
        ("6pm", Some(1_080)),
        ("24:01", None),
        ("13:00pm", None),
        ("0:30am", None),
        ("10:60", None),
        ("10:5", None),
        ("10", None),
        ("pm", None),
        ("m", None),
        ("", None),
        ("１０:00", None),
        ("10:00:01", None),
        ("-1:00", None),
    ] {
        assert_eq!(parse_minute(text), minute, "{text}");
    }
    assert_eq!(minute_text(570), "09:30");
}

#[test]
fn opens_in_the_zone_of_the_called_party() {
    let day = [window("10:00", "18:00")];
    // Berlin is UTC+1 in winter: Saturday 2026-11-21.
    opens("2026-11-21T08:00:00Z", &["Europe/Berlin"], &day, "2026-11-21T09:00:00Z");
    opens("2026-11-21T12:34:56Z", &["Europe/Berlin"], &day, "2026-11-21T12:34:56Z");
    opens("2026-11-21T17:00:00Z", &["Europe/Berlin"], &day, "2026-11-22T09:00:00Z");
}

// covers: E2-10
#[test]
fn a_window_over_midnight_belongs_to_the_day_it_begins_on() {
    let night = [on(vec![Day::Friday], "22:00", "02:00")];
    // Friday 2026-11-20 22:00 to Saturday 02:00 in London.
    opens("2026-11-20T12:00:00Z", &["Europe/London"], &night, "2026-11-20T22:00:00Z");
    opens("2026-11-21T01:59:00Z", &["Europe/London"], &night, "2026-11-21T01:59:00Z");
    opens("2026-11-21T02:00:00Z", &["Europe/London"], &night, "2026-11-27T22:00:00Z");
    opens("2026-11-20T01:00:00Z", &["Europe/London"], &night, "2026-11-20T22:00:00Z");
}

#[test]
fn equal_times_are_the_whole_day() {
    let all = [on(vec![Day::Sunday], "00:00", "00:00")];
    opens("2026-11-21T10:00:00Z", &["UTC"], &all, "2026-11-22T00:00:00Z");
    opens("2026-11-22T23:59:59Z", &["UTC"], &all, "2026-11-22T23:59:59Z");
    opens("2026-11-23T00:00:00Z", &["UTC"], &all, "2026-11-29T00:00:00Z");
}

#[test]
fn weekdays_only() {
    let days = vec![Day::Monday, Day::Tuesday, Day::Wednesday, Day::Thursday, Day::Friday];
    let work = [on(days, "09:00", "17:00")];
    opens("2026-11-21T10:00:00Z", &["Europe/Berlin"], &work, "2026-11-23T08:00:00Z");
}

/// Clocks go forward: 02:00 becomes 03:00 (New York and Berlin), 02:00 becomes 02:30 (Lord Howe).
// covers: E2-10
#[test]
fn a_window_in_the_hour_that_is_left_out() {
    let early = [window("02:10", "05:00")];
    opens("2027-03-14T06:00:00Z", &["America/New_York"], &early, "2027-03-14T07:00:00Z");
    opens("2027-03-28T00:30:00Z", &["Europe/Berlin"], &early, "2027-03-28T01:00:00Z");
    opens("2026-10-03T15:00:00Z", &["Australia/Lord_Howe"], &early, "2026-10-03T15:30:00Z");
    // A window that lies wholly in the gap is not open that day.
    let swallowed = [window("02:10", "02:50")];
    opens("2027-03-14T06:00:00Z", &["America/New_York"], &swallowed, "2027-03-15T06:10:00Z");
}

/// Clocks go back: 01:00 to 02:00 happens twice in New York, 02:00 to 03:00 in Berlin, 01:30 to 02:00 on Lord Howe.
#[test]
fn a_window_in_the_hour_that_happens_twice() {
    let one = [window("01:30", "01:45")];
    opens("2026-11-01T05:00:00Z", &["America/New_York"], &one, "2026-11-01T05:30:00Z");
    opens("2026-11-01T05:45:00Z", &["America/New_York"], &one, "2026-11-01T06:30:00Z");
    opens("2026-11-01T06:45:00Z", &["America/New_York"], &one, "2026-11-02T06:30:00Z");
    let two = [window("02:30", "02:45")];
    opens("2026-10-25T00:00:00Z", &["Europe/Berlin"], &two, "2026-10-25T00:30:00Z");
    opens("2026-10-25T00:50:00Z", &["Europe/Berlin"], &two, "2026-10-25T01:30:00Z");
    opens(
        "2027-04-03T14:45:00Z",
        &["Australia/Lord_Howe"],
        &[window("01:30", "01:40")],
        "2027-04-03T15:00:00Z",
    );
}

#[test]
fn the_length_of_a_day_does_not_move_a_window() {
    let day = [window("10:00", "18:00")];
    // 10:00 is 09:00Z before and 08:00Z after the change.
    opens("2027-03-27T18:00:00Z", &["Europe/Berlin"], &day, "2027-03-28T08:00:00Z");
    opens("2026-10-24T18:00:00Z", &["Europe/Berlin"], &day, "2026-10-25T09:00:00Z");
    opens("2026-10-31T23:00:00Z", &["America/New_York"], &day, "2026-11-01T15:00:00Z");
    opens("2026-10-03T12:00:00Z", &["Australia/Sydney"], &day, "2026-10-03T23:00:00Z");
}

// covers: E2-10
#[test]
fn several_zones_must_all_be_open() {
    let day = [window("09:00", "17:00")];
    let coasts = ["America/New_York", "America/Los_Angeles"];
    // 09:00 in Los Angeles is 17:00Z; 17:00 in New York is 22:00Z.
    opens("2026-11-23T14:00:00Z", &coasts, &day, "2026-11-23T17:00:00Z");
    opens("2026-11-23T21:59:00Z", &coasts, &day, "2026-11-23T21:59:00Z");
    opens("2026-11-23T22:00:00Z", &coasts, &day, "2026-11-24T17:00:00Z");
    let zones = [zone("America/New_York"), zone("Asia/Tokyo")];
    assert_eq!(next_open(at("2026-11-23T14:00:00Z"), &zones, &[window("10:00", "11:00")]), None);
    assert_eq!(next_open(at("2026-11-23T14:00:00Z"), &zones, &[]), None);
}

fn windows() -> impl Strategy<Value = Vec<Window>> {
    let one = (proptest::sample::subsequence(Day::week(), 1..=7), 0u16..96, 0u16..=96);
    let window = one.prop_map(|(days, start, end)| Window {
        days,
        start_minute: start * 15,
        end_minute: end * 15,
        delay_seconds: None,
    });
    proptest::collection::vec(window, 1..3)
}

proptest! {
    /// Against a clock that is looked at every five minutes, around changes of the clock in three zones.
    #[test]
    fn the_next_opening_is_what_a_watchman_finds(
        windows in windows(),
        zone_at in 0usize..3,
        spring in any::<bool>(),
        minutes in 0i64..4_320,
    ) {
        let (name, change) = match (zone_at, spring) {
            (0, true) => ("America/New_York", "2027-03-14T07:00:00Z"),
            (0, false) => ("America/New_York", "2026-11-01T06:00:00Z"),
            (1, true) => ("Europe/Berlin", "2027-03-28T01:00:00Z"),
            (1, false) => ("Europe/Berlin", "2026-10-25T01:00:00Z"),
            (_, true) => ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
            (_, false) => ("Australia/Lord_Howe", "2027-04-03T15:00:00Z"),
        };
        let zones = [zone(name)];
        let minute = SignedDuration::from_mins(1);
        let now = at(change) - SignedDuration::from_mins(2 * 1_440 / 5 * 5) + minute * (minutes / 5 * 5) as i32;
        let found = next_open(now, &zones, &windows);
        let mut watch = now;
        let end = now + SignedDuration::from_hours(8 * 24);
        while watch < end && !is_open(watch, &zones, &windows) {
            watch += minute * 5;
        }
        if watch < end {
            prop_assert_eq!(found, Some(watch), "from {} in {}", now, name);
        } else {
            prop_assert!(found.is_none_or(|found| found >= end));
        }
    }

    /// A common opening of several zones is open, and nothing before it is.
    #[test]
    fn a_common_opening_is_the_first(windows in windows(), minutes in 0i64..20_160) {
        let zones = [zone("America/New_York"), zone("America/Los_Angeles"), zone("Pacific/Honolulu")];
        let now = at("2026-10-28T00:00:00Z") + SignedDuration::from_mins(minutes / 15 * 15);
        if let Some(found) = next_open(now, &zones, &windows) {
            prop_assert!(is_open(found, &zones, &windows));
            let mut watch = now;
            while watch < found {
                prop_assert!(!is_open(watch, &zones, &windows), "open at {watch} already, not {found}");
                watch += SignedDuration::from_mins(15);
            }
        }
    }
}
