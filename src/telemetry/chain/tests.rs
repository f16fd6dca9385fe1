use super::*;

#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Link {
    text: &'static str,
    #[source]
    source: Option<Box<Link>>,
}

#[test]
fn prints_every_source_once() {
    let leaf = Link { text: "disk full", source: None };
    let middle = Link { text: "write page", source: Some(Box::new(leaf)) };
    let top = Link { text: "failed to save", source: Some(Box::new(middle)) };
    assert_eq!(chain(&top), "failed to save: write page: disk full");
}

#[test]
fn stays_a_line_when_the_chain_is_absurd() {
    let mut error = Link { text: "x", source: None };
    for _ in 0..100 {
        error = Link { text: "x", source: Some(Box::new(error)) };
    }
    let text = chain(&error);
    assert!(text.ends_with(": ..."), "{text}");
    assert_eq!(text.matches('x').count(), LINKS_MAX);
}
