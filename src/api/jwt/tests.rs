use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use super::*;
use crate::net::clock;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn token(header: &Header, claims: &serde_json::Value, secret: &str) -> String {
    encode(header, claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn claims(more: serde_json::Value) -> serde_json::Value {
    let mut claims = json!({
        "organization_id": "org-1", "scope": "calls:read media other",
        "exp": clock::wall().as_second() + 600,
    });
    for (key, value) in more.as_object().unwrap() {
        claims[key] = value.clone();
    }
    claims
}

#[test]
fn a_token_names_its_organization_and_scopes() {
    let verifier = Verifier::with_secret(&Secret::new(SECRET), Claims::default()).unwrap();
    let good =
        verifier.verify(&token(&Header::default(), &claims(json!({})), SECRET)).ok().unwrap();
    assert_eq!(good.principal.organization.as_str(), "org-1");
    assert_eq!(good.principal.scopes, [Scope::CallsRead, Scope::Media]);
    assert!(good.expires_at.is_some());
    let listed = claims(json!({"scope": ["admin"]}));
    let listed = verifier.verify(&token(&Header::default(), &listed, SECRET)).ok().unwrap();
    assert_eq!(listed.principal.scopes, [Scope::Admin]);
}

#[test]
fn what_is_wrong_with_a_token_refuses_it() {
    let mut rules = Claims { issuer: "us".into(), audience: "calls".into(), ..Claims::default() };
    let verifier = Verifier::with_secret(&Secret::new(SECRET), rules.clone()).unwrap();
    let right = json!({"iss": "us", "aud": "calls"});
    assert!(verifier.verify(&token(&Header::default(), &claims(right.clone()), SECRET)).is_ok());
    let past = clock::wall().as_second() - 600;
    for wrong in [
        json!({"iss": "them", "aud": "calls"}),
        json!({"iss": "us", "aud": "other"}),
        json!({"iss": "us", "aud": "calls", "exp": past}),
        json!({"iss": "us", "aud": "calls", "exp": null}),
        json!({"iss": "us", "aud": "calls", "nbf": clock::wall().as_second() + 600}),
        json!({"iss": "us", "aud": "calls", "organization_id": ""}),
        json!({"iss": "us", "aud": "calls", "organization_id": 1}),
    ] {
        let made = token(&Header::default(), &claims(wrong.clone()), SECRET);
        assert!(verifier.verify(&made).is_err(), "{wrong}");
    }
    let other = token(&Header::default(), &claims(right.clone()), &SECRET.replace('0', "1"));
    assert!(verifier.verify(&other).is_err());
    let longer = token(&Header::new(Algorithm::HS512), &claims(right), SECRET);
    assert!(verifier.verify(&longer).is_err(), "another algorithm than the one that is set");
    assert!(verifier.verify("a.b.c").is_err());
    rules.issuer = String::new();
    assert!(matches!(Verifier::with_secret(&Secret::new("short"), rules), Err(JwtError::Weak)));
}

#[test]
fn a_set_of_keys_holds_public_keys_only() {
    let good = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "one", "alg": "ES256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]});
    let verifier = Verifier::with_keys(&good.to_string(), Claims::default()).ok().unwrap();
    // A token of the shared kind, "signed" with what everybody can read.
    let forged = token(&Header::default(), &claims(json!({})), &good.to_string());
    assert_eq!(verifier.verify(&forged).err(), Some("no key fits it"));
    let secret = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0"}]});
    for wrong in [secret.to_string(), json!({"keys": []}).to_string(), "{".to_owned()] {
        assert!(Verifier::with_keys(&wrong, Claims::default()).is_err(), "{wrong}");
    }
}
