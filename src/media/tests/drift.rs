//! An hour with a sender whose clock is wrong.

use super::*;

/// One hour at 300 ppm, either way, speech and silence by turns: nothing overflows, nothing is lost, and the tape
/// is as long as the hour.
#[test]
fn an_hour_at_300_ppm_ends_where_the_clock_does() {
    for frame_us in [20_006_u64, 19_994] {
        let start = crate::net::clock::now();
        let config = Config {
            vad: crate::audio::VadConfig {
                kind: crate::audio::vad::VadKind::Energy,
                ..crate::audio::VadConfig::default()
            },
            ..Config::default()
        };
        let mut entropy = Entropy::seeded(5);
        let mut stream = Stream::new(&config, start, Duration::ZERO, &mut entropy).unwrap();
        let (sent, events, taps) = (Vec::new(), Vec::new(), Vec::new());
        let mut io =
            Io { now: start, sent, went: Vec::new(), events, taps, queue: VecDeque::new() };
        stream.handle_command(start, MediaCommand::Configure(format(ALICE)), &mut io);
        let loud: Vec<u8> =
            tone(440.0, 0, 160).into_iter().map(crate::audio::g711::encode_ulaw).collect();
        let (mut heard, mut end) = (0, 0);
        for n in 0..180_000_u64 {
            let arrives = start + Duration::from_micros(n * frame_us);
            while stream.next_wake() <= arrives {
                io.now = stream.next_wake();
                stream.handle_timeout(io.now, &mut io);
            }
            io.now = arrives;
            let mut packet = vec![0x80, 0];
            packet.extend_from_slice(&(n as u16).to_be_bytes());
            packet.extend_from_slice(&(n as u32 * 160).to_be_bytes());
            packet.extend_from_slice(&[0, 0, 0, 7]);
            // 2 s of speech, 1 s of silence.
            if n % 150 < 100 {
                packet.extend_from_slice(&loud);
            } else {
                packet.extend_from_slice(&[0xff; 160]);
            }
            stream.handle_rtp(arrives, SocketAddr::from(ALICE), &packet, &mut io);
            let frames = io.events.drain(..).filter(|e| matches!(e, MediaEvent::Frame { .. }));
            heard += frames.count() as u64;
            let caller = io.taps.drain(..).filter(|tap| tap.channel == TapChannel::Caller);
            end = caller.map(|tap| tap.position + 160).max().unwrap_or(end).max(end);
            io.sent.clear();
        }
        let stats = stream.stats().inbound;
        assert_eq!((stats.express_lost, stats.restarts), (0, 0), "{frame_us}");
        let jitter = stats.jitter;
        assert_eq!((jitter.overflow, jitter.lost), (0, 0), "{frame_us}: {jitter:?}");
        assert!(jitter.shortened + jitter.lengthened > 0, "{frame_us}: drift was absorbed");
        assert!(180_000 - heard < 5, "{frame_us}: {heard} frames heard");
        let wall = 180_000.0 * frame_us as f64 / 1e6;
        let tape = end as f64 / 8_000.0;
        assert!((tape - wall).abs() < 0.1, "{frame_us}: {tape} s on tape, {wall} s on the wall");
    }
}
