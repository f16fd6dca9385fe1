use super::*;
use crate::types::{Breakdown, CallLatency};

/// Records everything there is once and returns the page.
fn page() -> String {
    let (recorder, exporter) = Exporter::build().unwrap();
    ::metrics::with_local_recorder(&recorder, || {
        describe_all();
        call_started(Direction::Inbound);
        call_started(Direction::Inbound);
        call_ended(Direction::Inbound, EndReason::UserHangup, true);
        turn_closed(&Breakdown {
            vad_delay_ms: Some(500),
            llm_startup_ms: Some(4),
            total_perceived_ms: Some(1_530),
            barge_in_stop_ms: Some(60),
            ..Breakdown::default()
        });
        provider_request("llm", "openai", "ok");
        provider_failover("tts", "eleven", "local");
        provider_breaker("tts", "eleven", true);
        let judged =
            CallLatency { false_endpoints: 2, speculative_misses: 1, ..Default::default() };
        turns_judged(&judged);
        turn_model_answered(Duration::from_millis(30));
        rtp_jitter(Duration::from_millis(3));
        rtp_lost(2);
        rtp_dropped("source", 7);
        dtls_handshake("keyed");
        ice_check("nominated");
        sip_request("INVITE", Way::In);
        sip_rejected("parse");
        sip_unreachable();
        recording_failed();
        dial_refused("api", "denied");
        queue_full("store");
        store_failed("finish");
        webhook_attempt("ok");
        webhook_exhausted();
        webhooks_pending(3);
        webhook_ask("tool.call", "ok");
        tts_cache_lookup(true);
        tts_cache_bytes(4_096);
        trunk_up("carrier", true);
        trunk_registered("carrier", true);
        admission(Admission::Draining);
    });
    exporter.run_upkeep();
    exporter.render()
}

#[test]
fn every_metric_is_described_and_shown() {
    let page = page();
    for metric in ALL {
        assert!(page.contains(&format!("# HELP {} {}", metric.name, metric.help)), "{page}");
        assert!(page.contains(&format!("# TYPE {} ", metric.name)), "{}", metric.name);
    }
}

#[test]
fn values_and_labels_are_right() {
    let page = page();
    for line in [
        r#"trunkline_calls_active{direction="inbound"} 1"#,
        r#"trunkline_calls_ended_total{direction="inbound",result="success",reason="user_hangup"} 1"#,
        r#"trunkline_turn_latency_seconds_bucket{stage="llm_startup",le="0.003"} 0"#,
        r#"trunkline_turn_latency_seconds_bucket{stage="llm_startup",le="0.005"} 1"#,
        r#"trunkline_turn_gap_seconds_bucket{le="1.5"} 0"#,
        r#"trunkline_turn_gap_seconds_bucket{le="2"} 1"#,
        r#"trunkline_turn_misjudged_total{kind="endpoint"} 2"#,
        r#"trunkline_speculative_replies_total{outcome="miss"} 1"#,
        r#"trunkline_rtp_dropped_packets_total{reason="source"} 7"#,
        "trunkline_admission_state 2",
    ] {
        assert!(page.lines().any(|have| have == line), "missing {line} in\n{page}");
    }
}

#[test]
fn canceled_turns_leave_the_gap_alone() {
    let (recorder, exporter) = Exporter::build().unwrap();
    ::metrics::with_local_recorder(&recorder, || {
        turn_closed(&Breakdown {
            canceled: true,
            total_perceived_ms: Some(9),
            vad_delay_ms: Some(9),
            ..Breakdown::default()
        });
    });
    assert!(!exporter.render().contains("turn_gap"));
}

#[test]
fn names_follow_the_conventions() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => assert!(metric.name.ends_with("_total"), "{}", metric.name),
            Kind::Histogram(_) => assert!(metric.name.ends_with("_seconds"), "{}", metric.name),
            Kind::Gauge => assert!(!metric.name.ends_with("_total"), "{}", metric.name),
        }
        for label in metric.labels {
            assert!(!["call_id", "call", "number", "from", "to"].contains(label), "{label}");
        }
        assert!(!metric.help.ends_with('.'), "{}", metric.help);
    }
}

#[test]
fn a_second_install_returns_the_first() {
    let first = Exporter::install().unwrap();
    let second = Exporter::install().unwrap();
    assert_eq!(first.render().is_empty(), second.render().is_empty());
}

#[test]
fn fixed_buckets_are_cumulative_in_text() {
    let histogram = FixedHistogram::new(&[50_000, 1_000_000]);
    for us in [10, 50, 51, 1_000, 9_000_000] {
        histogram.record(Duration::from_micros(us));
    }
    let mut text = String::new();
    histogram.render("x_seconds", "help", &mut text);
    assert!(text.contains("x_seconds_bucket{le=\"0.00005\"} 2\n"), "{text}");
    assert!(text.contains("x_seconds_bucket{le=\"0.001\"} 4\n"), "{text}");
    assert!(text.contains("x_seconds_bucket{le=\"+Inf\"} 5\n"), "{text}");
    assert!(text.contains("x_seconds_count 5\n"), "{text}");
    assert_eq!(histogram.quantile_ns(0.5), Some(1_000_000));
    assert_eq!(histogram.quantile_ns(1.0), Some(u64::MAX));
    assert_eq!(FixedHistogram::new(&[1]).quantile_ns(0.5), None);
}
