//! A ladder of SIP messages for a terminal: time, an arrow with what it says, the other side. Pure: data in, text out.

use std::fmt::Write as _;

use crate::schema::ladder::{SipMessageItem, SipMessages};
use crate::softphone::waterfall::Color;

/// Columns between the two sides.
const LANE: usize = 46;
/// Columns of the time.
const TIME: usize = 11;

/// The ladder; with `whole` every message below its arrow.
pub(super) fn draw(messages: &SipMessages, color: Color, whole: bool) -> String {
    let mut text = String::new();
    if messages.items.is_empty() {
        text.push_str("no SIP messages are kept of this call\n");
        return text;
    }
    let mut legs: Vec<&str> = Vec::new();
    let mut remote = "";
    for item in &messages.items {
        let leg = legs.iter().position(|leg| *leg == item.sip_call_id).unwrap_or_else(|| {
            legs.push(&item.sip_call_id);
            legs.len() - 1
        });
        if item.remote != remote {
            remote = &item.remote;
            heading(&mut text, item, leg);
        }
        arrow(&mut text, item, color);
        if whole {
            for line in item.message.lines() {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{:TIME$}    {}", "", printable(line));
            }
            text.push('\n');
        }
    }
    if messages.omitted > 0 {
        let _ = writeln!(
            text,
            "\n{} messages between the first and the last ones are not kept: the call had too many",
            messages.omitted
        );
    }
    text
}

fn heading(text: &mut String, item: &SipMessageItem, leg: usize) {
    let ours = format!("{} ({})", item.local, item.transport);
    let gap = (LANE + 2).saturating_sub(ours.chars().count());
    let leg = if leg > 0 { format!("  leg {}", leg + 1) } else { String::new() };
    let _ = writeln!(text, "{:TIME$} {ours}{:gap$}{}{leg}", "", "", item.remote);
}

fn arrow(text: &mut String, item: &SipMessageItem, color: Color) {
    let label = label(item);
    let room = LANE - 6;
    let label: String = label.chars().take(room).collect();
    let dashes = LANE - 3 - label.chars().count();
    let (left, right) = (dashes / 2, dashes - dashes / 2);
    let line = if item.direction == "sent" {
        format!("├{} {label} {}▶│", "─".repeat(left), "─".repeat(right))
    } else {
        format!("│◀{} {label} {}┤", "─".repeat(left), "─".repeat(right))
    };
    let time = format!("{}.{:03} s", item.offset_ms / 1_000, item.offset_ms % 1_000);
    let shade = match (color, item.repeated, item.status) {
        (Color::Off, ..) => None,
        (Color::On, true, _) => Some("2"),
        (Color::On, _, Some(status)) if status >= 400 => Some("31"),
        (Color::On, _, Some(status)) if status >= 200 => Some("32"),
        (Color::On, ..) => None,
    };
    let _ = match shade {
        Some(code) => writeln!(text, "{time:>TIME$} \u{1b}[{code}m{line}\u{1b}[0m"),
        None => writeln!(text, "{time:>TIME$} {line}"),
    };
}

/// What an arrow says: method or status, what it answers, whether it holds a session, whether it was said before.
fn label(item: &SipMessageItem) -> String {
    let mut label = match item.status {
        Some(_) => {
            let status = item.summary.strip_prefix("SIP/2.0 ").unwrap_or(&item.summary);
            format!("{} ({})", printable(status), printable(&item.method))
        }
        None => printable(&item.method),
    };
    let (head, body) = match item.message.split_once("\r\n\r\n") {
        Some((head, body)) => (head, body),
        None => (item.message.as_str(), ""),
    };
    if head.to_ascii_lowercase().contains("application/sdp") && !body.is_empty() {
        label.push_str(" SDP");
    }
    if item.repeated {
        label.push_str(", again");
    }
    label
}

/// Nothing that a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(direction: &str, first: &str, method: &str, offset_ms: u64) -> SipMessageItem {
        let status = first.strip_prefix("SIP/2.0 ").and_then(|rest| rest[..3].parse().ok());
        let sdp = if first.contains("INVITE") {
            "Content-Type: application/sdp\r\n\r\nv=0\r\n"
        } else {
            "\r\n"
        };
        SipMessageItem {
            at: String::new(),
            offset_ms,
            direction: direction.to_owned(),
            transport: "udp".to_owned(),
            local: "127.0.0.1:5060".to_owned(),
            remote: "127.0.0.1:5070".to_owned(),
            sip_call_id: "a".to_owned(),
            method: method.to_owned(),
            status,
            summary: first.to_owned(),
            repeated: offset_ms == 500,
            message: format!("{first}\r\n{sdp}"),
            bytes: 0,
        }
    }

    #[test]
    fn a_ladder_shows_who_said_what_when() {
        let mut messages = SipMessages {
            call_id: String::new(),
            items: vec![
                item("sent", "INVITE sip:x SIP/2.0", "INVITE", 0),
                item("sent", "INVITE sip:x SIP/2.0", "INVITE", 500),
                item("received", "SIP/2.0 486 Busy\u{1b}Here", "INVITE", 512),
                item("sent", "ACK sip:x SIP/2.0", "ACK", 513),
            ],
            omitted: 0,
        };
        messages.items[3].remote = "127.0.0.2:5070".to_owned();
        let text = draw(&messages, Color::Off, false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0].trim_start(),
            "127.0.0.1:5060 (udp)                            127.0.0.1:5070"
        );
        assert_eq!(lines[1], "    0.000 s ├──────────────── INVITE SDP ─────────────────▶│");
        assert!(lines[2].contains(" INVITE SDP, again "), "{text}");
        assert!(
            lines[3].contains("│◀─") && lines[3].contains("486 Busy\u{fffd}Here (INVITE)"),
            "{text}"
        );
        assert!(lines[4].contains("127.0.0.2:5070"), "{text}");
        let widths: Vec<usize> = [1, 2, 3, 5].map(|n| lines[n].chars().count()).into();
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
        assert!(draw(&messages, Color::On, false).contains("\u{1b}[31m"));
        assert!(draw(&messages, Color::Off, true).contains("INVITE sip:x SIP/2.0"));
        messages.items.clear();
        assert!(draw(&messages, Color::Off, false).contains("no SIP messages"));
    }
}
