use super::*;

fn heard(sentences: &[(&str, u64, bool)], played: u64) -> String {
    let (mut heard, mut pace) = (Heard::default(), Pace::default());
    for (text, samples, done) in sentences {
        let seq = heard.add(text, Kind::Words).unwrap();
        heard.audio(seq, *samples);
        if *done {
            heard.done(seq, &mut pace);
        }
    }
    heard.played(played);
    heard.text(pace)
}

#[test]
fn proportion_of_the_samples_cut_at_a_word() {
    let two: &[_] = &[("One two. ", 900, true), ("Three four five. ", 1_700, true)];
    for (played, expected) in [
        (0, ""),
        (299, ""),
        (300, "One"),
        (899, "One two."),
        (900, "One two. "),
        (1_400, "One two. Three"),
        (1_899, "One two. Three"),
        (1_900, "One two. Three four"),
        (2_600, "One two. Three four five. "),
        (9_999, "One two. Three four five. "),
    ] {
        assert_eq!(heard(two, played), expected, "{played}");
    }
}

#[test]
fn an_unfinished_sentence_is_measured_by_the_pace_of_the_finished_ones() {
    // 100 samples a character: the 17 characters will be 1,700 samples, not the 850 received.
    let rows = [("One two. ", 900, true), ("Three four five. ", 850, false)];
    assert_eq!(heard(&rows, 900 + 850), "One two. Three");
    assert_eq!(heard(&rows, 900), "One two. ");
}

#[test]
fn never_more_than_was_sent() {
    assert_eq!(heard(&[("One two. ", 0, false)], 5_000), "");
    assert_eq!(heard(&[("你好世界", 400, true)], 200), "你好");
}

#[test]
fn fillers_take_time_but_are_not_text() {
    let (mut heard, mut pace) = (Heard::default(), Pace::default());
    for (text, kind) in [("Wait.", Kind::Filler), ("One two.", Kind::Words)] {
        let seq = heard.add(text, kind).unwrap();
        heard.audio(seq, 800);
        heard.done(seq, &mut pace);
    }
    heard.played(800 + 400);
    assert_eq!(heard.text(pace), "One");
    assert_eq!(heard.restart(), ["One two."]);
}
