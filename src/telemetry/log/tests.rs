use std::io::Write;
use std::sync::{Arc, Mutex};

use super::*;
use crate::types::Pii;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn lines(format: Format, filter: &str) -> String {
    let sink = Sink::default();
    let writer = sink.clone();
    let filter = EnvFilter::builder().parse(filter).unwrap();
    let subscriber = subscriber(filter, format, false, move || writer.clone());
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::info_span!("call", call.id = "abc");
        let _inside = span.enter();
        tracing::info!(from = %Pii::new("+4912345678"), "call.started");
        tracing::debug!("call.detail");
    });
    let bytes = sink.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn json_lines_parse_and_carry_the_span() {
    let text = lines(Format::Json, "info");
    let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(line["message"], "call.started");
    assert_eq!(line["span"]["call.id"], "abc");
    assert_eq!(line["from"], "[redacted]");
}

#[test]
fn pretty_lines_have_no_escapes_off_a_terminal() {
    let text = lines(Format::Pretty, "debug");
    assert_eq!(text.lines().count(), 2);
    assert!(text.contains("call.detail") && !text.contains('\u{1b}'), "{text}");
    assert!(!text.contains("4912345678"), "{text}");
}

#[test]
fn auto_follows_the_terminal() {
    assert_eq!(resolve(Format::Auto, true), Format::Pretty);
    assert_eq!(resolve(Format::Auto, false), Format::Json);
    assert_eq!(resolve(Format::Json, true), Format::Json);
}

#[test]
fn the_environment_wins_and_a_bad_filter_is_named() {
    let config = Config::default();
    assert_eq!(filter(&config, Some("debug")).unwrap().to_string(), "debug");
    assert_eq!(filter(&config, Some("")).unwrap().to_string(), "info");
    let error = filter(&config, Some("info,=,[")).unwrap_err();
    assert!(error.to_string().contains("info,=,["), "{error}");
}
