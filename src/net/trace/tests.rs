use super::*;
use crate::sip::Transport;
use crate::types::Entropy;

fn call(n: u64) -> CallId {
    CallId::new(n, &mut Entropy::seeded(n))
}

fn passing(way: SipWay, text: &str) -> Passing {
    let local = "127.0.0.1:5060".parse().unwrap();
    let remote = "127.0.0.1:5070".parse().unwrap();
    let flow = Flow::new(Transport::Udp, local, remote);
    Passing { way, flow, bytes: Bytes::from(text.to_owned()) }
}

fn message(call_id: &str, first: &str) -> Passing {
    passing(SipWay::Received, &format!("{first}\r\nVia: x\r\ncall-id : {call_id}\r\n\r\n"))
}

fn firsts(ladder: &SipLadder) -> Vec<String> {
    let first = |m: &SipMessage| m.text.reveal().lines().next().unwrap_or_default().to_owned();
    ladder.messages.iter().map(first).collect()
}

#[test]
fn only_what_belongs_to_a_call_is_kept() {
    let trace = Trace::default();
    let dialog = DialogId(1);
    trace.note(&mut vec![message("a", "INVITE sip:x SIP/2.0")]);
    trace.opened(dialog, "a");
    trace.note(&mut vec![
        message("a", "INVITE sip:x SIP/2.0"),
        message("b", "OPTIONS sip:x SIP/2.0"),
    ]);
    assert!(trace.of(call(1)).is_none());
    trace.claim(dialog, call(1));
    trace.note(&mut vec![passing(SipWay::Sent, "SIP/2.0 200 OK\ni: a\n\n")]);
    assert_eq!(firsts(&trace.of(call(1)).unwrap()), ["INVITE sip:x SIP/2.0", "SIP/2.0 200 OK"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_ready_when_it_and_its_dialogs_are_over() {
    let trace = Trace::default();
    trace.begin(DialogId::outbound(1), "a", call(1));
    trace.begin(DialogId::outbound(2), "b", call(1));
    trace.note(&mut vec![message("a", "1"), message("b", "2")]);
    trace.call_over(call(1));
    assert!(!trace.is_settled());
    trace.dialog_over(DialogId::outbound(1));
    let none = tokio::time::timeout(Duration::from_millis(10), trace.ready()).await;
    assert!(none.is_err());
    trace.note(&mut vec![message("b", "3")]);
    trace.dialog_over(DialogId::outbound(2));
    let (id, ladder) = trace.ready().await;
    assert_eq!((id, firsts(&ladder).len()), (call(1), 3));
    trace.forget(id);
    assert!(trace.is_settled());
    assert_eq!(trace.book().bytes, 0);
    assert!(trace.book().legs.is_empty() && trace.book().calls.is_empty());
}

#[tokio::test(start_paused = true)]
async fn last_words_that_never_come_and_dialogs_nobody_claims_are_not_waited_for() {
    let trace = Trace::default();
    trace.begin(DialogId::outbound(1), "a", call(1));
    trace.call_over(call(1));
    // Its dialog never ends.
    let begun = clock::now();
    let (id, _) = trace.ready().await;
    assert_eq!(id, call(1));
    assert!(clock::now() - begun >= LAST_WORDS_MAX);
    trace.opened(DialogId(7), "refused");
    trace.dialog_over(DialogId(7));
    // A call may claim it a little later.
    trace.opened(DialogId(8), "late");
    trace.dialog_over(DialogId(8));
    trace.claim(DialogId(8), call(8));
    trace.call_over(call(8));
    assert_eq!(trace.ready().await.0, call(8));
    tokio::time::advance(UNCLAIMED_MAX).await;
    trace.dialog_over(DialogId(9));
    assert!(!trace.book().legs.contains_key("refused"));
}

#[test]
fn a_long_call_keeps_its_beginning_and_its_end() {
    let trace = Trace::default();
    trace.begin(DialogId::outbound(1), "a", call(1));
    let count = HEAD_MAX + TAIL_MAX + 50;
    for n in 0..count {
        trace.note(&mut vec![message("a", &format!("{n}"))]);
    }
    let ladder = trace.of(call(1)).unwrap();
    let firsts = firsts(&ladder);
    assert_eq!((firsts.len(), ladder.omitted), (HEAD_MAX + TAIL_MAX, 50));
    assert_eq!((firsts[0].as_str(), firsts.last().unwrap()), ("0", &(count - 1).to_string()));
    // Octets are bounded too, and long messages lose their end.
    for n in 0..100 {
        let body = "a=x\r\n".repeat(10_000);
        let text = format!("{n}\r\nCall-ID: a\r\n\r\n{body}");
        trace.note(&mut vec![passing(SipWay::Sent, &text)]);
    }
    let ladder = trace.of(call(1)).unwrap();
    let octets: usize = ladder.messages.iter().map(|m| m.text.reveal().len()).sum();
    assert!(octets <= LEG_BYTES_MAX, "{octets}");
    let last = ladder.messages.last().unwrap();
    assert!(last.text.reveal().len() <= MESSAGE_BYTES_MAX && last.octets > 50_000);
    assert!(last.text.reveal().ends_with("a=x\r\n"));
}
