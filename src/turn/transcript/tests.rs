use super::*;

#[test]
fn bounded_by_messages_and_by_characters() {
    let mut transcript = Transcript::default();
    for n in 0..HISTORY_MESSAGES_MAX + 5 {
        transcript.push(TurnRole::User, &format!("message {n}"));
    }
    assert_eq!(transcript.len(), HISTORY_MESSAGES_MAX);
    assert_eq!(transcript.history()[0].1.reveal(), "message 5");
    transcript.push(TurnRole::User, &"x".repeat(HISTORY_CHARS_MAX + 1));
    assert_eq!(transcript.len(), 1);
    transcript.push(TurnRole::Assistant, "  ");
    assert_eq!(transcript.len(), 1);
}

#[test]
fn only_the_callers_last_word_can_be_taken_back() {
    let mut transcript = Transcript::default();
    transcript.push(TurnRole::User, "one");
    transcript.push(TurnRole::Assistant, "two");
    transcript.retract_user();
    assert_eq!(transcript.len(), 2);
    transcript.push(TurnRole::User, "three");
    transcript.retract_user();
    assert_eq!(transcript.len(), 2);
}
