use super::*;

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
        assert_eq!(scope().render(source).as_deref(), Ok(expected), "{source}");
        assert_eq!(check(source), Ok(()), "{source}");
    }
}

#[test]
fn what_nobody_gave_is_named() {
    let missing = |name: &str| Err(RenderError::Missing(name.to_owned()));
    assert_eq!(scope().render("Hello {{nmae}}"), missing("nmae"));
    assert_eq!(scope().render("{% if plan %}x{% endif %}"), missing("plan"));
    assert!(scope().render("{{ context.nothing }}").is_err());
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
        assert!(scope().render(source).is_err(), "{source}");
    }
    let nested = format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(scope().render(&format!("{{{{ {nested} }}}}")).is_err());
}

#[test]
fn a_long_result_is_refused() {
    let mut scope = scope();
    scope.text("long", &"x".repeat(RENDERED_BYTES_MAX));
    assert!(scope.render("{{long}}").is_ok());
    assert_eq!(scope.render("{{long}}y"), Err(RenderError::TooMuch));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(source in "(\\{\\{|\\}\\}|\\{%|%\\}|[a-z|(). '\"*~+0-9\\[\\]-]|for|if|in|range|é| ){0,60}") {
        let _ = scope().render(&source);
        let _ = check(&source);
    }
}
