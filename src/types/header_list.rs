//! Lists of header names that may pass.

/// Whether a list of header names, `*` at the end of one for any rest, holds this one.
pub fn lets_through(list: &[String], name: &str) -> bool {
    list.iter().any(|entry| match entry.strip_suffix('*') {
        Some(start) => name.get(..start.len()).is_some_and(|n| n.eq_ignore_ascii_case(start)),
        None => entry.eq_ignore_ascii_case(name),
    })
}

#[cfg(test)]
mod tests {
    use super::lets_through;

    #[test]
    fn names_and_any_rest() {
        let list = ["X-Order*".to_owned(), "User-to-User".to_owned()];
        for name in ["x-order", "X-ORDER-Id", "user-to-user"] {
            assert!(lets_through(&list, name), "{name}");
        }
        for name in ["X-Orde", "X-Other", "User-to-User2", "", "é"] {
            assert!(!lets_through(&list, name), "{name}");
        }
        assert!(!lets_through(&[], "X-A"));
    }
}
