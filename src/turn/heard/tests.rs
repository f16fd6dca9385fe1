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

#[test]
fn a_voice_that_says_when_its_words_sound_is_believed() {
    let (mut heard, mut pace) = (Heard::default(), Pace::default());
    let seq = heard.add("Well, I am the bank. ", Kind::Words).unwrap();
    heard.audio(seq, 2_000);
    // The first word takes half of the time: by proportion "Well, I am" would have been heard.
    heard.align(seq, &[(1_000, 5), (1_200, 7), (1_400, 10)]);
    heard.align(seq, &[(1_300, 9), (1_600, 14), (1_900, 20)]);
    let at = |played: u64| {
        let mut heard = heard.clone();
        heard.played(played);
        heard.text(Pace::default())
    };
    for (played, expected) in [
        (999, ""),
        (1_000, "Well,"),
        (1_399, "Well, I"),
        (1_400, "Well, I am"),
        (1_650, "Well, I am the"),
        (1_900, "Well, I am the bank. "),
    ] {
        assert_eq!(at(played), expected, "{played}");
    }
    heard.done(seq, &mut pace);
    heard.played(2_000);
    assert_eq!(heard.text(pace), "Well, I am the bank. ");
}

#[test]
fn marks_for_a_part_of_the_words_do_not_make_the_rest_heard() {
    let (mut heard, pace) = (Heard::default(), Pace::default());
    let seq = heard.add("One two three.", Kind::Words).unwrap();
    heard.audio(seq, 900);
    heard.align(seq, &[(300, 3), (600, 7)]);
    heard.played(900);
    assert_eq!(heard.text(pace), "One two");
    // Nonsense is left out, and no more is kept than there are characters.
    let many: Vec<_> = (0..1_000).map(|n| (700 + n, u32::MAX)).collect();
    heard.align(seq, &many);
    assert_eq!(heard.text(pace), "One two three.");
}
