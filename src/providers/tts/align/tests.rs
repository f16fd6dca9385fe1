use proptest::prelude::*;

use super::Aligner;
use crate::providers::tts::AlignmentMark;

fn words(text: &str, spoken: &[(&str, f64)]) -> Vec<(u32, u32)> {
    let (names, ends): (Vec<String>, Vec<f64>) =
        spoken.iter().map(|(word, end)| ((*word).to_owned(), *end)).unzip();
    pairs(&Aligner::new(text).words(&names, &ends))
}

fn pairs(marks: &[AlignmentMark]) -> Vec<(u32, u32)> {
    marks.iter().map(|mark| (mark.offset_ms, mark.chars)).collect()
}

#[test]
fn words_end_with_their_punctuation() {
    let spoken = [("Hello,", 0.4), ("it's", 0.7), ("me", 0.9)];
    assert_eq!(words("Hello, it's me!", &spoken), [(400, 6), (700, 11), (900, 15)]);
    // Chinese stands without spaces, and a vendor may group it as it likes.
    assert_eq!(words("你好吗?", &[("你好", 0.5), ("吗", 0.8)]), [(500, 2), (800, 4)]);
}

#[test]
fn what_the_vendor_says_otherwise_is_passed_over() {
    let spoken = [("It's", 0.2), ("twenty", 0.5), ("five", 0.7), ("euros", 1.0), ("now", 1.2)];
    assert_eq!(words("It's 25 euros now.", &spoken), [(200, 4), (1_000, 13), (1_200, 18)]);
    // "dollars" is not the one at the end: too far for one word that did not match.
    let spoken = [("five", 0.2), ("dollars", 0.4), ("and", 0.6), ("three", 0.8), ("dollars", 1.0)];
    assert_eq!(words("$5 and 3 dollars", &spoken), [(600, 6), (1_000, 16)]);
    // A symbol that is not spoken, a word that is left out.
    assert_eq!(words("a & b c", &[("a", 0.1), ("c", 0.3)]), [(100, 1), (300, 7)]);
    assert_eq!(words("a", &[("-", 0.1), ("", 0.2), ("b", 0.3)]), []);
    assert_eq!(words("", &[("a", 0.1)]), []);
}

#[test]
fn times_never_run_back() {
    let spoken = [("one", 0.5), ("two", 0.2), ("three", f64::NAN), ("four", -3.0)];
    let marks = words("one two three four", &spoken);
    assert_eq!(marks, [(500, 3), (500, 7), (500, 13), (500, 18)]);
}

#[test]
fn characters_count_from_their_piece_of_audio() {
    let chars = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
    let mut aligner = Aligner::new("Hi you two.");
    let starts: Vec<f64> = (0..4).map(|n| f64::from(n) * 50.0).collect();
    let first = aligner.chars(0.0, &chars("Hi y"), &starts, &[50.0; 4]);
    assert_eq!(pairs(&first), [(100, 2)]);
    let starts: Vec<f64> = (0..7).map(|n| f64::from(n) * 50.0).collect();
    let second = aligner.chars(200.0, &chars("ou two."), &starts, &[50.0; 7]);
    assert_eq!(pairs(&second), [(300, 6), (500, 11)]);
    // A clock that goes on.
    let mut aligner = Aligner::new("a b");
    assert_eq!(pairs(&aligner.chars(0.0, &chars("a "), &[0.0, 80.0], &[80.0, 20.0])), [(80, 1)]);
    assert_eq!(pairs(&aligner.chars(100.0, &chars("b"), &[100.0], &[50.0])), [(150, 3)]);
}

proptest! {
    #[test]
    fn any_timing_gives_marks_in_order(
        text in "\\PC{0,40}",
        spoken in proptest::collection::vec(("\\PC{0,6}", any::<f64>()), 0..20),
    ) {
        let (names, ends): (Vec<String>, Vec<f64>) = spoken.into_iter().unzip();
        let most = text.chars().count() as u32;
        for by_chars in [false, true] {
            let mut aligner = Aligner::new(&text);
            let mut marks = if by_chars {
                aligner.chars(10.0, &names, &ends, &ends)
            } else {
                aligner.words(&names, &ends)
            };
            marks.extend(aligner.words(&names, &ends));
            prop_assert!(marks.iter().all(|mark| mark.chars <= most));
            prop_assert!(marks.len() <= most as usize);
            prop_assert!(marks.is_sorted_by_key(|mark| (mark.offset_ms, mark.chars)));
        }
    }
}
