//! Where calls may go, and how much of it in a day: limits against toll fraud.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most rules of one list.
const RULES_MAX: usize = 1_000;

/// The `[dial_limits]` section, which holds for every organization, and `[trunks.NAME.dial_limits]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DialLimits {
    /// Where calls and transfers may go: beginnings of numbers, such as `+49`, and `@host` for SIP URIs at a host.
    /// Empty: anywhere.
    pub allow: Vec<String>,
    /// Where they may not go, whatever `allow` says.
    pub deny: Vec<String>,
    /// Minutes of outbound calls a day (UTC); a live call counts with its longest duration. 0: no limit.
    pub minutes_per_day: u32,
    /// Cost of outbound calls a day (UTC) by `[[prices]]`, millionths of the currency. 0: no limit.
    pub spend_micros_per_day: u64,
    /// Outbound calls to one number a day (UTC). 0: no limit.
    pub calls_per_number_per_day: u32,
}

impl DialLimits {
    /// What is wrong with it: key and message.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (key, rules) in [("allow", &self.allow), ("deny", &self.deny)] {
            if rules.len() > RULES_MAX {
                found.push((key.to_owned(), format!("at most {RULES_MAX} rules")));
            }
        }
        let rules = [("allow", &self.allow), ("deny", &self.deny)];
        let all = rules.iter().flat_map(|(key, rules)| {
            rules.iter().enumerate().map(move |(at, rule)| (format!("{key}[{at}]"), rule))
        });
        let wrong = all.filter(|(_, rule)| !is_rule(rule)).map(|(key, rule)| {
            let message = format!(
                "`{rule}` is neither the beginning of a number, such as `+49`, nor `@host`"
            );
            (key, message)
        });
        found.extend(wrong);
        found
    }
}

/// Whether a text is a rule: the beginning of a number, or `@host`.
fn is_rule(text: &str) -> bool {
    match text.strip_prefix('@') {
        Some(host) => {
            !host.is_empty()
                && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':'))
        }
        None => {
            let digits = text.strip_prefix('+').unwrap_or_default();
            (1..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
        }
    }
}
