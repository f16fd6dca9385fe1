//! Signatures against values that other programs made.

use std::time::Duration;

use crate::schema::webhook::SignatureStyle;
use crate::types::Entropy;
use crate::webhook::keyring::{OldSecret, SecretSet};
use crate::webhook::sign::{Message, SigningSecret, headers};

const MESSAGE: Message<'_> = Message {
    id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
    kind: "call.completed",
    timestamp: 1_614_265_330,
    body: br#"{"test": 2432232314}"#,
};

fn value<'a>(headers: &'a [(String, String)], name: &str) -> &'a str {
    let found = headers.iter().find(|(key, _)| key == name);
    &found.unwrap_or_else(|| panic!("no {name} in {headers:?}")).1
}

#[test]
fn the_example_of_the_standard_is_met() {
    // From the test suite of the reference library.
    let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let signed = headers(SignatureStyle::Standard, &[secret], MESSAGE);
    let wanted = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    assert_eq!(value(&signed, "webhook-signature"), wanted);
    assert_eq!(value(&signed, "webhook-id"), MESSAGE.id);
    assert_eq!(value(&signed, "webhook-timestamp"), "1614265330");
    assert_eq!(value(&signed, "x-webhook-event"), "call.completed");
}

#[test]
fn the_other_styles_sign_time_and_body_with_the_text_of_the_secret() {
    // printf '1614265330.{"test": 2432232314}' | openssl dgst -sha256 -hmac whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
    let hex = "2e37df5d4a028c51a7f3133d64ae1e300d2c2c900f1b1d49d4369ad2530f8964";
    let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let signed = headers(SignatureStyle::TV1, &[secret.clone(), secret.clone()], MESSAGE);
    let wanted = format!("t=1614265330,v1={hex},v1={hex}");
    assert_eq!(value(&signed, "x-webhook-signature"), wanted);
    let signed = headers(SignatureStyle::Sha256Ts, &[secret.clone(), secret], MESSAGE);
    assert_eq!(value(&signed, "x-webhook-signature"), format!("sha256={hex}"));
    assert_eq!(value(&signed, "x-webhook-signature-previous"), format!("sha256={hex}"));
    assert_eq!(value(&signed, "x-webhook-timestamp"), "1614265330");
}

#[test]
fn only_long_base64_with_the_prefix_is_a_secret() {
    let made = SigningSecret::generate(&mut Entropy::seeded(1));
    assert_eq!(SigningSecret::parse(made.expose()).unwrap(), made);
    for text in ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_%%%"] {
        assert!(SigningSecret::parse(text).is_err(), "{text}");
    }
    assert!(!format!("{made:?}").contains(made.expose()), "no secret in a debug print");
}

#[test]
fn an_old_secret_signs_for_a_day_or_not_at_all() {
    let mut entropy = Entropy::seeded(1);
    let [a, b, c] = [(); 3].map(|()| SigningSecret::generate(&mut entropy));
    let now = jiff::Timestamp::from_second(1_800_000_000).unwrap();
    let set = SecretSet::new(a.clone()).rotated(b.clone(), now, OldSecret::Overlaps);
    let day = Duration::from_secs(24 * 3_600);
    assert_eq!(set.active(now), [b.clone(), a.clone()]);
    let before = now.saturating_add(day - Duration::from_secs(1)).unwrap();
    assert_eq!(set.active(before).len(), 2);
    assert_eq!(set.active(now.saturating_add(day).unwrap()).len(), 1);
    let cut = set.rotated(c.clone(), now, OldSecret::Expires);
    assert_eq!(cut.active(now), [c]);
}
