//! Calling windows by the clock on the called party's wall: whether they are open, and when they open next.
//!
//! A window is open while every zone's local time is within it, and that is all: where clocks go forward, a window
//! that begins in the hour that is left out opens at the first minute after it; where they go back, the hour that
//! happens twice counts twice. Pure: time is an argument; zones are IANA data.

use jiff::civil::{Date, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Span, Timestamp};

use crate::types::order::{Day, Window};

/// How far ahead an opening is looked for: a weekly window that a clock change swallows, and some more.
const HORIZON: SignedDuration = SignedDuration::from_hours(16 * 24);
/// Days ahead whose windows are looked at in one zone.
const DAYS_AHEAD: i64 = 16;
const MINUTES_OF_DAY: u16 = 1_440;

/// The first window that is open at `now` in a zone.
pub fn open_window<'a>(
    now: Timestamp,
    zone: &TimeZone,
    windows: &'a [Window],
) -> Option<&'a Window> {
    let local = zone.to_datetime(now);
    let minute =
        u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
    let today = day_of(local.date());
    let yesterday = local.date().yesterday().map(day_of).unwrap_or(today);
    windows.iter().find(|window| {
        let overnight = window.end_minute <= window.start_minute;
        let from_today = window.days.contains(&today)
            && minute >= window.start_minute
            && (overnight || minute < window.end_minute);
        let from_yesterday =
            overnight && window.days.contains(&yesterday) && minute < window.end_minute;
        from_today || from_yesterday
    })
}

/// Whether calls may be placed at `now`: a window is open in every zone.
pub fn is_open(now: Timestamp, zones: &[TimeZone], windows: &[Window]) -> bool {
    zones.iter().all(|zone| open_window(now, zone, windows).is_some())
}

/// The first moment at or after `now` at which [`is_open`]; `None` if there is none within two weeks.
pub fn next_open(now: Timestamp, zones: &[TimeZone], windows: &[Window]) -> Option<Timestamp> {
    let last = now.checked_add(HORIZON).ok()?;
    let mut at = now;
    // Every step moves to where one zone opens, which no common opening lies before.
    while at <= last {
        let Some(closed) = zones.iter().find(|zone| open_window(at, zone, windows).is_none())
        else {
            return Some(at);
        };
        at = next_in_zone(at, closed, windows)?;
    }
    None
}

/// The first moment after `now` at which a window is open in one zone that is closed at `now`.
fn next_in_zone(now: Timestamp, zone: &TimeZone, windows: &[Window]) -> Option<Timestamp> {
    let first = zone.to_datetime(now).date();
    let mut best: Option<Timestamp> = None;
    let mut offer = |at: Timestamp| {
        if at > now && best.is_none_or(|best| at < best) && open_window(at, zone, windows).is_some()
        {
            best = Some(at);
        }
    };
    for days in 0..=DAYS_AHEAD {
        let Ok(date) = first.checked_add(Span::new().days(days)) else { break };
        for window in windows.iter().filter(|window| window.days.contains(&day_of(date))) {
            starts_of(date, window, zone).into_iter().flatten().for_each(&mut offer);
        }
        // After midnight the rest of an overnight window may begin anew, where clocks go back over it.
        starts_at(date, 0, zone).into_iter().flatten().for_each(&mut offer);
    }
    // A change of the clock may jump into a window, or back into one.
    for change in zone.following(now).take(CHANGES_MAX) {
        offer(change.timestamp());
    }
    best
}

/// Clock changes looked at: more than any zone has in two weeks.
const CHANGES_MAX: usize = 4;

fn starts_of(date: Date, window: &Window, zone: &TimeZone) -> [Option<Timestamp>; 2] {
    starts_at(date, window.start_minute, zone)
}

/// The moments at which the wall clock shows this minute: one, two, or none of its own.
fn starts_at(date: Date, minute: u16, zone: &TimeZone) -> [Option<Timestamp>; 2] {
    let minute = minute.min(MINUTES_OF_DAY - 1);
    let (hour, minute) = ((minute / 60) as i8, (minute % 60) as i8);
    let local = date.at(hour, minute, 0, 0);
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => [offset.to_timestamp(local).ok(), None],
        AmbiguousOffset::Gap { .. } => [None, None],
        AmbiguousOffset::Fold { before, after } => {
            [before.to_timestamp(local).ok(), after.to_timestamp(local).ok()]
        }
    }
}

fn day_of(date: Date) -> Day {
    match date.weekday() {
        Weekday::Monday => Day::Monday,
        Weekday::Tuesday => Day::Tuesday,
        Weekday::Wednesday => Day::Wednesday,
        Weekday::Thursday => Day::Thursday,
        Weekday::Friday => Day::Friday,
        Weekday::Saturday => Day::Saturday,
        Weekday::Sunday => Day::Sunday,
    }
}

/// Reads `HH:mm` or `h:mma`, such as `09:30` or `9:30am`, as a minute of the day; `24:00` is the end of it. Seconds of
/// a time such as `17:00:00` must be 0.
pub fn parse_minute(text: &str) -> Option<u16> {
    let text = text.trim().to_ascii_lowercase();
    let (clock, half) = match text.strip_suffix('m').map(|rest| rest.trim_end()) {
        Some(rest) => {
            let half = rest.chars().last().filter(|half| matches!(half, 'a' | 'p'))?;
            (rest.get(..rest.len() - 1)?.trim_end().to_owned(), Some(half))
        }
        None => (text, None),
    };
    let mut parts = clock.split(':');
    let hour = digits(parts.next()?, 1)?;
    let minute = match parts.next() {
        Some(minute) => digits(minute, 2)?,
        None if half.is_some() => 0,
        None => return None,
    };
    if let Some(second) = parts.next()
        && digits(second, 2)? != 0
    {
        return None;
    }
    if parts.next().is_some() || minute > 59 {
        return None;
    }
    let hour = match half {
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some('p') => hour % 12 + 12,
        Some(_) => hour % 12,
        None => hour,
    };
    let total = hour * 60 + minute;
    (total <= MINUTES_OF_DAY).then_some(total)
}

fn digits(text: &str, least: usize) -> Option<u16> {
    let good = (least..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    good.then(|| text.parse().ok())?
}

/// A minute of the day as `HH:mm`.
pub fn minute_text(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

#[cfg(test)]
mod tests;
