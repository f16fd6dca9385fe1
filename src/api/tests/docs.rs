//! The document, its page and the table of errors agree with the code.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::bench::bench;
use crate::api::document;
use crate::api::error::Code;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

/// Compares with a committed file, or writes it when `UPDATE_GOLDEN` is set.
fn compare(name: &str, made: &str) {
    let path = golden(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == made, "docs/{name} is out of date: run the test with UPDATE_GOLDEN=1");
}

#[test]
fn the_document_is_the_committed_one() {
    let mut text = document().to_pretty_json().unwrap();
    text.push('\n');
    compare("openapi.json", &text);
}

#[test]
fn the_table_of_errors_is_the_committed_one() {
    const BEGIN: &str = "<!-- errors: generated -->\n";
    const END: &str = "<!-- errors: end -->";
    let mut table = String::from("\n| status | code | type | meaning |\n|---|---|---|---|\n");
    for code in Code::ALL {
        let (status, name, class) = (code.status().as_u16(), code.as_str(), code.class());
        writeln!(table, "| {status} | `{name}` | `{class}` | {} |", code.help()).unwrap();
    }
    table.push('\n');
    let text = std::fs::read_to_string(golden("api.md")).unwrap();
    let (head, rest) = text.split_once(BEGIN).expect("the begin mark");
    let (_, tail) = rest.split_once(END).expect("the end mark");
    compare("api.md", &format!("{head}{BEGIN}{table}{END}{tail}"));
}

#[test]
fn every_path_is_in_the_guide() {
    let guide = std::fs::read_to_string(golden("api.md")).unwrap();
    for path in document().paths.paths.keys() {
        let shown = path.replace("{id}", "$ID");
        assert!(guide.contains(&shown), "docs/api.md has no example of {path}");
    }
}

#[test]
fn every_body_has_an_example() {
    let document = serde_json::to_value(document()).unwrap();
    let mut bodies = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let content = operation["requestBody"]["content"].as_object();
            for (kind, content) in content.into_iter().flatten() {
                let example = content.get("example").or_else(|| content.get("examples"));
                assert!(example.is_some(), "{method} {path} has no example: {kind}");
                bodies += 1;
            }
        }
    }
    assert!(bodies > 30, "{bodies}");
}

#[test]
fn codes_are_unique() {
    let mut names: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Code::ALL.len());
}

#[test]
fn the_document_is_whole() {
    let document = serde_json::to_value(document()).unwrap();
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name} is used and not there");
    }
    let mut ids = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path}");
            assert!(operation["responses"]["default"].is_object(), "{method} {path}");
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(ids.insert(id.clone()), "{id} twice");
            if method == "post" && operation.get("requestBody").is_some() {
                let body = &operation["requestBody"]["content"]["application/json"];
                assert!(!body["example"].is_null(), "{path} has no example");
            }
        }
    }
}

#[tokio::test]
async fn the_page_needs_nobody_else() {
    let bench = bench().await;
    let page = bench.get("/docs/").await;
    assert_eq!(page.header("content-type").split(';').next(), Some("text/html"));
    assert!(page.header("content-security-policy").contains("script-src 'self'"));
    let html = String::from_utf8(page.body).unwrap();
    let mut loaded = 0;
    for attribute in ["src=\"", "href=\""] {
        for rest in html.split(attribute).skip(1) {
            let target = rest.split('"').next().unwrap();
            assert!(!target.contains("//"), "{target}");
            let file = bench.get(&format!("/docs/{}", target.trim_start_matches("./"))).await;
            assert_eq!(file.status, 200, "{target}");
            loaded += 1;
        }
    }
    assert!(loaded >= 3, "{html}");
    assert!(!html.contains("<script>"), "inline scripts would be blocked");
    let start = bench.get("/docs/swagger-initializer.js").await;
    assert!(String::from_utf8(start.body).unwrap().contains("/v1/openapi.json"));
    assert_eq!(bench.get("/docs").await.status, 303);
    let served = bench.get("/v1/openapi.json").await.json();
    assert_eq!(served, serde_json::to_value(document()).unwrap());
}
