//! Adapters by cases, and the copy of it in the documentation.

use std::fmt::Write as _;

/// What came of each case.
pub(super) struct Table {
    name: &'static str,
    columns: &'static [&'static str],
    rows: Vec<(&'static str, Vec<String>)>,
}

impl Table {
    pub(super) fn new(name: &'static str, columns: &'static [&'static str]) -> Self {
        Self { name, columns, rows: Vec::new() }
    }

    pub(super) fn row(&mut self, adapter: &'static str, cells: Vec<String>) {
        assert_eq!(cells.len(), self.columns.len(), "{adapter}");
        self.rows.push((adapter, cells));
    }

    fn render(&self) -> String {
        let mut out = format!("| `kind` | {} |\n|---", self.columns.join(" | "));
        out.push_str(&"|---".repeat(self.columns.len()));
        out.push_str("|\n");
        for (adapter, cells) in &self.rows {
            writeln!(out, "| `{adapter}` | {} |", cells.join(" | ")).unwrap();
        }
        out
    }

    /// Holds the copy in docs/providers.md against it, or renews the copy.
    pub(super) fn check(&self) {
        // One table after the other: each renews the whole file.
        static FILE: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _turn = FILE.lock();
        let table = self.render();
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let (begin, end) =
            (format!("<!-- conformance: {} -->\n", self.name), "<!-- /conformance -->");
        let at = text.find(&begin).expect("the mark of the table") + begin.len();
        let length = text[at..].find(end).expect("the end of the table");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            let renewed = format!("{}{table}{}", &text[..at], &text[at + length..]);
            std::fs::write(&path, renewed).unwrap();
            return;
        }
        let copy = &text[at..at + length];
        assert!(
            copy == table,
            "docs/providers.md has another table; UPDATE_GOLDEN=1 renews it:\n{table}"
        );
    }
}
