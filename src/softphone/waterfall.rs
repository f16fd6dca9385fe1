//! The latency of each turn as aligned bars for a terminal. Pure: figures in, text out.
//!
//! Bars stand where their stage lay in the time between the caller's last word and the first audible
//! packet of the reply; voice activity detection and recognition run side by side, so theirs overlap.
//! All turns share one scale.

use crate::types::latency::EndpointBound;
use crate::types::{Breakdown, CriticalPath};

/// Columns left of the bars.
const LABEL: usize = 12;
/// Columns right of the bars.
const FIGURE: usize = 10;
/// Narrowest and widest picture.
const WIDTH_MIN: usize = 72;
const WIDTH_MAX: usize = 240;

/// What a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// ANSI colours.
    On,
    /// None: not a terminal, or `NO_COLOR` is set.
    Off,
}

/// What bars are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glyphs {
    /// Block elements.
    Unicode,
    /// `#` and `.`.
    Ascii,
}

/// How to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Columns in all.
    pub width: usize,
    /// Colours or none.
    pub color: Color,
    /// Blocks or letters.
    pub glyphs: Glyphs,
}

impl Default for Style {
    fn default() -> Self {
        Self { width: 100, color: Color::Off, glyphs: Glyphs::Unicode }
    }
}

/// One turn of the agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WaterfallTurn {
    /// Its index in the call.
    pub index: u32,
    /// What the caller had said, as recognised.
    pub caller: Option<String>,
    /// What the agent answered.
    pub agent: Option<String>,
    /// What the server measured.
    pub latency: Breakdown,
    /// What was measured on our side of the wire.
    pub wire_gap_ms: Option<u32>,
}

/// A stage as a bar.
struct Bar {
    label: &'static str,
    /// ANSI colour.
    color: u8,
    begins_ms: u32,
    lasts_ms: Option<u32>,
}

/// Draws every turn that a caller's words began, and a line for each of the others.
pub fn render(turns: &[WaterfallTurn], style: Style) -> String {
    let width = style.width.clamp(WIDTH_MIN, WIDTH_MAX);
    let columns = width - LABEL - FIGURE;
    let longest = turns.iter().map(length_of).max().unwrap_or(0);
    let scale = Scale { columns, full_ms: round_up(longest.max(1)) };
    let mut out = String::new();
    for turn in turns {
        head(&mut out, turn, width, style);
        if turn.latency.total_perceived_ms.is_some() {
            for bar in bars(&turn.latency) {
                draw(&mut out, &bar, scale, style);
            }
        }
        out.push('\n');
    }
    if turns.iter().any(|turn| turn.latency.total_perceived_ms.is_some()) {
        axis(&mut out, scale);
    }
    out
}

#[derive(Clone, Copy)]
struct Scale {
    columns: usize,
    full_ms: u32,
}

impl Scale {
    fn column(self, ms: u32) -> usize {
        let exact = u64::from(ms) * self.columns as u64 * 2 / u64::from(self.full_ms);
        // To the nearest column.
        (exact.div_ceil(2) as usize).min(self.columns)
    }
}

fn length_of(turn: &WaterfallTurn) -> u32 {
    if turn.latency.total_perceived_ms.is_none() {
        return 0;
    }
    bars(&turn.latency)
        .iter()
        .map(|bar| bar.begins_ms + bar.lasts_ms.unwrap_or(0))
        .max()
        .unwrap_or(0)
}

/// The next number that makes a readable axis.
fn round_up(ms: u32) -> u32 {
    let step = match ms {
        0..=500 => 100,
        501..=2_000 => 250,
        _ => 1_000,
    };
    ms.div_ceil(step).saturating_mul(step)
}

/// Where each stage lay. The critical path places them; without one the spans follow each other.
fn bars(latency: &Breakdown) -> Vec<Bar> {
    let vad = latency.vad_delay_ms;
    let stt = latency.stt_finalize_ms;
    let path = latency.critical_path.clone().unwrap_or_else(|| chained(latency));
    let asked = path.endpoint_ms + path.dispatch_ms;
    let sentence = asked + path.llm_first_token_ms;
    let tts = sentence + path.llm_sentence_ms;
    let send = tts + path.tts_ms;
    let bar = |label, color, begins_ms, lasts_ms| Bar { label, color, begins_ms, lasts_ms };
    vec![
        bar("vad", 36, 0, vad),
        bar("stt", 34, 0, stt),
        bar("llm", 35, asked, latency.llm_startup_ms.map(|_| path.llm_first_token_ms)),
        bar("sentence", 33, sentence, latency.llm_first_sentence_ms.map(|_| path.llm_sentence_ms)),
        bar("tts", 32, tts, latency.tts_synthesis_ms.map(|_| path.tts_ms)),
        bar(
            "send",
            31,
            send,
            latency.send_overhead_ms.map(|_| path.send_ms + path.leading_silence_ms),
        ),
    ]
}

fn chained(latency: &Breakdown) -> CriticalPath {
    let (vad, stt) = (latency.vad_delay_ms.unwrap_or(0), latency.stt_finalize_ms.unwrap_or(0));
    CriticalPath {
        endpoint_ms: vad.max(stt),
        endpoint_bound: if stt > vad { EndpointBound::Stt } else { EndpointBound::Vad },
        tools_ms: latency.tool_ms.unwrap_or(0),
        dispatch_ms: u32::try_from(latency.dispatch_ms.unwrap_or(0)).unwrap_or(0),
        llm_first_token_ms: latency.llm_startup_ms.unwrap_or(0),
        llm_sentence_ms: latency.llm_first_sentence_ms.unwrap_or(0),
        tts_ms: latency.tts_synthesis_ms.unwrap_or(0),
        send_ms: latency.send_overhead_ms.unwrap_or(0),
        leading_silence_ms: latency.tts_leading_silence_ms.unwrap_or(0),
    }
}

fn head(out: &mut String, turn: &WaterfallTurn, width: usize, style: Style) {
    let mut figures = match (turn.latency.total_perceived_ms, turn.latency.trigger_to_audio_ms) {
        (Some(total), _) => format!("total {total} ms"),
        (None, Some(trigger)) => format!("first audio after {trigger} ms"),
        (None, None) => "no figures".to_owned(),
    };
    if let Some(gap) = turn.wire_gap_ms {
        figures.push_str(&format!("   on the wire {gap} ms"));
    }
    if let Some(stop) = turn.latency.barge_in_stop_ms {
        figures.push_str(&format!("   cut off in {stop} ms"));
    }
    let title = format!("turn {}", turn.index);
    let gap = width.saturating_sub(title.chars().count() + figures.chars().count()).max(2);
    let (bold, plain) = match style.color {
        Color::On => ("\u{1b}[1m", "\u{1b}[0m"),
        Color::Off => ("", ""),
    };
    out.push_str(&format!("{bold}{title}{}{figures}{plain}\n", " ".repeat(gap)));
    for (who, text) in [("caller", &turn.caller), ("agent", &turn.agent)] {
        if let Some(text) = text {
            out.push_str(&format!("  {who:<8}  {}\n", cut(text, width - LABEL)));
        }
    }
}

/// One line of at most `columns` characters, without control characters: the text is the network's.
fn cut(text: &str, columns: usize) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let clean: String = clean.collect::<String>().trim().to_owned();
    if clean.chars().count() <= columns {
        return clean;
    }
    let mut cut: String = clean.chars().take(columns.saturating_sub(3)).collect();
    cut.push_str("...");
    cut
}

fn draw(out: &mut String, bar: &Bar, scale: Scale, style: Style) {
    let (full, dot) = match style.glyphs {
        Glyphs::Unicode => ('█', '·'),
        Glyphs::Ascii => ('#', '.'),
    };
    let Some(lasts_ms) = bar.lasts_ms else {
        out.push_str(&format!("  {:<8}  {}{:>9}\n", bar.label, " ".repeat(scale.columns), "-"));
        return;
    };
    let from = scale.column(bar.begins_ms).min(scale.columns - 1);
    let to = scale.column(bar.begins_ms.saturating_add(lasts_ms)).clamp(from, scale.columns);
    // What is too short for a column still shows where it was.
    let (glyph, length) = if to == from { (dot, 1) } else { (full, to - from) };
    let cells: String = std::iter::repeat_n(glyph, length).collect();
    let cells = match style.color {
        Color::On => format!("\u{1b}[{}m{cells}\u{1b}[0m", bar.color),
        Color::Off => cells,
    };
    let after = scale.columns - from - length;
    out.push_str(&format!(
        "  {:<8}  {}{cells}{}{:>6} ms\n",
        bar.label,
        " ".repeat(from),
        " ".repeat(after),
        lasts_ms
    ));
}

/// Four marks and their times.
fn axis(out: &mut String, scale: Scale) {
    let mut line = String::new();
    for quarter in 0..4_u32 {
        let ms = scale.full_ms * quarter / 4;
        let at = scale.column(ms);
        while line.chars().count() < at {
            line.push(' ');
        }
        line.push_str(&ms.to_string());
    }
    let last = format!("{} ms", scale.full_ms);
    let end = scale.columns + FIGURE - 1;
    let fill = end.saturating_sub(line.chars().count() + last.len()).max(1);
    out.push_str(&format!("{}{line}{}{last}\n", " ".repeat(LABEL), " ".repeat(fill)));
}

#[cfg(test)]
mod tests;
