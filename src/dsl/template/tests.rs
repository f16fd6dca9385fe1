use super::*;

fn render(scope: &Scope, source: &str) -> Result<String, RenderError> {
    scope.render(source, Place::Text)
}

fn scope() -> Scope {
    let mut scope = Scope::default();
    scope.text("name", "Ada");
    scope.json("context", &serde_json::json!({"order": {"id": 7}, "items": ["a", "b"]}));
    scope
}

#[test]
fn values_lists_and_branches() {
    let rows = [
        ("Hello.", "Hello."),
        ("Hello {{name}}, order {{ context.order.id }}.", "Hello Ada, order 7."),
        ("{% for i in context.items %}{{ i }};{% endfor %}", "a;b;"),
        ("{% if name == 'Ada' %}yes{% else %}no{% endif %}", "yes"),
        ("{# note #}x", "x"),
        ("{{ name | upper }} <b> { }", "ADA <b> { }"),
        ("{% raw %}{{x}}{% endraw %}", "{{x}}"),
    ];
    for (source, expected) in rows {
        assert_eq!(render(&scope(), source).as_deref(), Ok(expected), "{source}");
        assert_eq!(check(source), Ok(()), "{source}");
    }
}

#[test]
fn what_nobody_gave_is_named() {
    let missing = |name: &str| Err(RenderError::Missing(name.to_owned()));
    assert_eq!(render(&scope(), "Hello {{nmae}}"), missing("nmae"));
    assert_eq!(render(&scope(), "{% if plan %}x{% endif %}"), missing("plan"));
    assert!(render(&scope(), "{{ context.nothing }}").is_err());
}

#[test]
fn texts_of_tenants_cannot_use_up_the_server() {
    let long = "{{name}}".repeat(4_000);
    let bad = [
        "{% include 'x' %}",
        "{% set x = name ~ name %}{{ x }}",
        "{% macro m() %}{% endmacro %}",
        "{%- set a = 1 -%}",
        "{{ 'x' * 1000000000 }}",
        "{{ open",
        "{% if %}",
        "{{ 1 + }}",
        "{% for a in range(10000) %}{% for b in range(10000) %}{{ b }}{% endfor %}{% endfor %}",
        "{{ range(100000000000) }}",
        "{% for i in range(9999) %}{{ context }}{% endfor %}",
        "{{ name.__class__ }}",
        long.as_str(),
    ];
    for source in bad.iter().take(12) {
        assert!(render(&scope(), source).is_err(), "{source}");
    }
    let nested = format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(render(&scope(), &format!("{{{{ {nested} }}}}")).is_err());
}

#[test]
fn values_stay_where_they_are_put() {
    let mut scope = scope();
    scope.text("name", "Ann/../x?y=1&z");
    scope.text("dots", "..");
    scope.text("lines", "a\r\nX: b");
    scope.text("long", &"x".repeat(LINE_BYTES_MAX));
    scope.json("args", &serde_json::json!({"id": "4 2"}));
    let url = |source| scope.render(source, Place::Url);
    let header = |source| scope.render(source, Place::Header);
    assert_eq!(
        url("https://h/{{args.id}}/{{ name }}").as_deref(),
        Ok("https://h/4%202/Ann%2F..%2Fx%3Fy%3D1%26z")
    );
    assert_eq!(url("https://h/{{dots}}/x").as_deref(), Ok("https://h/%2E%2E/x"));
    assert_eq!(url("https://h/{{nobody}}"), Err(RenderError::Missing("nobody".to_owned())));
    assert!(url("https://h/{{args.nothing}}").is_err());
    assert_eq!(url("{% for a in range(9999) %}{{a}}{% endfor %}"), Err(RenderError::TooMuch));
    assert_eq!(header("Bearer {{name}}").as_deref(), Ok("Bearer Ann/../x?y=1&z"));
    assert_eq!(header("{{lines}}"), Err(RenderError::Line), "a header has one line");
    assert_eq!((header("{{long}}").is_ok(), header("{{long}}y")), (true, Err(RenderError::Line)));
}

#[test]
fn a_long_result_is_refused() {
    let mut scope = scope();
    scope.text("long", &"x".repeat(RENDERED_BYTES_MAX));
    assert!(render(&scope, "{{long}}").is_ok());
    assert_eq!(render(&scope, "{{long}}y"), Err(RenderError::TooMuch));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(source in "(\\{\\{|\\}\\}|\\{%|%\\}|[a-z|(). '\"*~+0-9\\[\\]-]|for|if|in|range|é| ){0,60}") {
        let _ = render(&scope(), &source);
        let _ = check(&source);
    }
}
