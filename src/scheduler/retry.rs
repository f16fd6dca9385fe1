//! From what a request says of retries and windows to a plan: every value checked, both spellings taken.

use super::ScheduleError;
use super::windows::parse_minute;
use crate::schema::campaign::Schedule;
use crate::schema::order::{RetryInput, WindowInput};
use crate::types::order::{Day, RetryOn, RetryPlan, Window};

/// Most retries of an order.
pub const RETRIES_MAX: u32 = 20;
/// Most windows of a plan.
pub const WINDOWS_MAX: usize = 14;
/// Longest wait and longest life, seconds: 31 days.
pub const SECONDS_MAX: u32 = 31 * 86_400;

/// A plan from what is asked for; what is left out comes from `base`.
///
/// # Errors
/// With the field that is wrong.
pub fn plan(input: &RetryInput, base: RetryPlan) -> Result<RetryPlan, ScheduleError> {
    let mut plan = base;
    if let Some(retries) = input.max_retry_attempts {
        range("retry.max_retry_attempts", retries, 0, RETRIES_MAX)?;
        plan.max_retry_attempts = retries;
    }
    if let Some(delay) = input.delay_seconds {
        range("retry.delay_seconds", delay, 0, SECONDS_MAX)?;
        plan.delay_seconds = delay;
    }
    if let Some(life) = input.expire_after_seconds {
        range("retry.expire_after_seconds", life, 1, SECONDS_MAX)?;
        plan.expire_after_seconds = life;
    }
    let flat = (&input.calling_window_start_time, &input.calling_window_end_time);
    match (&input.windows, flat) {
        (Some(_), (Some(_), _) | (_, Some(_))) => {
            let message = "name `windows` or the flat pair, not both";
            return Err(ScheduleError::invalid("retry.windows", message));
        }
        (Some(windows), _) => {
            if windows.is_empty() || windows.len() > WINDOWS_MAX {
                let message = format!("a plan has 1 to {WINDOWS_MAX} windows");
                return Err(ScheduleError::invalid("retry.windows", message));
            }
            let read =
                |(at, input)| window(input, &format!("retry.windows[{at}]."), WindowTimes::CALLS);
            plan.windows = windows.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        }
        (None, (None, None)) => {}
        (None, (start, end)) => {
            let start_minute = minute("retry.calling_window_start_time", start.as_deref(), 600)?;
            let end_minute = minute("retry.calling_window_end_time", end.as_deref(), 1_080)?;
            let days = Day::week();
            plan.windows = vec![Window { days, start_minute, end_minute, delay_seconds: None }];
        }
    }
    if let Some(name) = &input.timezone {
        plan.timezone = Some(timezone("retry.timezone", name)?);
    }
    if let Some(words) = &input.retry_on {
        plan.retry_on = retry_on(words)?;
    }
    plan.immediate_redial = input.immediate_redial.unwrap_or(plan.immediate_redial);
    plan.ignore_window = input.ignore_window.unwrap_or(plan.ignore_window);
    Ok(plan)
}

/// The window of a campaign's schedule.
///
/// # Errors
/// With the field that is wrong.
pub fn schedule(schedule: &Schedule) -> Result<(Window, Option<String>), ScheduleError> {
    let input = WindowInput {
        days: schedule.days.clone(),
        start_time: schedule.start_time.clone(),
        end_time: schedule.end_time.clone(),
        delay_seconds: None,
    };
    let window = window(&input, "schedule.", WindowTimes::CAMPAIGN)?;
    let zone = schedule.timezone.as_deref().map(|name| timezone("schedule.timezone", name));
    Ok((window, zone.transpose()?))
}

/// Times of a window that names none.
#[derive(Clone, Copy)]
struct WindowTimes {
    start: u16,
    end: u16,
}

impl WindowTimes {
    const CALLS: Self = Self { start: 10 * 60, end: 18 * 60 };
    const CAMPAIGN: Self = Self { start: 9 * 60, end: 17 * 60 };
}

fn window(input: &WindowInput, at: &str, usual: WindowTimes) -> Result<Window, ScheduleError> {
    let days = match &input.days {
        None => Day::week(),
        Some(words) => {
            let param = format!("{at}days");
            let day = |word: &String| {
                let message = "a day is `monday` to `sunday`, or `mon` to `sun`";
                Day::parse(word).ok_or_else(|| ScheduleError::invalid(&param, message))
            };
            let mut days: Vec<Day> = words.iter().map(day).collect::<Result<_, _>>()?;
            days.sort_unstable();
            days.dedup();
            if days.is_empty() {
                return Err(ScheduleError::invalid(param, "a window has at least one day"));
            }
            days
        }
    };
    if let Some(delay) = input.delay_seconds {
        range(&format!("{at}delay_seconds"), delay, 0, SECONDS_MAX)?;
    }
    Ok(Window {
        days,
        start_minute: minute(&format!("{at}start_time"), input.start_time.as_deref(), usual.start)?,
        end_minute: minute(&format!("{at}end_time"), input.end_time.as_deref(), usual.end)?,
        delay_seconds: input.delay_seconds,
    })
}

fn minute(param: &str, text: Option<&str>, usual: u16) -> Result<u16, ScheduleError> {
    let Some(text) = text else { return Ok(usual) };
    let message = "a time of day is `HH:mm` or `h:mma`, such as `09:30` or `9:30am`";
    parse_minute(text).ok_or_else(|| ScheduleError::invalid(param, message))
}

/// Checks the name of a zone.
///
/// # Errors
/// When there is no such zone.
pub fn timezone(param: &str, name: &str) -> Result<String, ScheduleError> {
    let message = "an IANA time zone, such as `Europe/Berlin`";
    let zone = jiff::tz::TimeZone::get(name);
    let zone = zone.map_err(|_| ScheduleError::invalid(param, message))?;
    Ok(zone.iana_name().unwrap_or(name).to_owned())
}

fn retry_on(words: &[String]) -> Result<Vec<RetryOn>, ScheduleError> {
    let mut list = Vec::new();
    for word in words {
        let Some(on) = RetryOn::parse(word) else {
            let known: Vec<&str> = RetryOn::ALL.iter().map(|on| on.as_str()).collect();
            let message =
                format!("`retry_on` takes {}; nothing else is ever tried again", known.join(", "));
            return Err(ScheduleError::invalid("retry.retry_on", message));
        };
        if !list.contains(&on) {
            list.push(on);
        }
    }
    Ok(list)
}

fn range(param: &str, value: u32, min: u32, max: u32) -> Result<(), ScheduleError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(ScheduleError::invalid(param, format!("`{param}` is {min} to {max}")))
}

#[cfg(test)]
mod tests;
