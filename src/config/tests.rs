use super::*;

fn env(rows: &[(&str, &str)]) -> Env {
    rows.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn refusal(text: &str, rows: &[(&str, &str)]) -> String {
    load_str::<Config>("t.toml", text, &env(rows)).unwrap_err().to_string()
}

#[test]
fn an_empty_file_is_the_defaults_and_the_reference_loads_back() {
    assert_eq!(load_str::<Config>("t", "", &Env::new()).unwrap(), Config::default());
    let text = reference(&Config::example(), SECTIONS).unwrap();
    assert_eq!(load_str::<Config>("t", &text, &Env::new()).unwrap(), Config::example());
    insta::assert_snapshot!(text);
}

#[test]
fn the_environment_wins_and_needs_no_quotes() {
    let rows = [
        ("TRUNKLINE__API__BIND", "0.0.0.0:99"),
        ("TRUNKLINE__TELEMETRY__LOG_PII", "true"),
        ("TRUNKLINE__TELEMETRY__LOG_FORMAT", "\"json\""),
        ("HOME", "/root"),
    ];
    let config: Config = load_str("t", "[api]\nbind = \"127.0.0.1:1\"", &env(&rows)).unwrap();
    assert_eq!(config.api.bind.to_string(), "0.0.0.0:99");
    assert!(config.telemetry.log_pii);
    assert_eq!(config.telemetry.log_format, crate::telemetry::log::Format::Json);
}

#[test]
fn typical_mistakes_are_explained() {
    let rows = [
        ("[stoer]\ndatabase = \"x\"\n", &[][..]),
        ("[store]\n\n  databse = \"x\"\n", &[]),
        ("[telemetry]\nlog_format = \"jsn\"\n", &[]),
        ("[telemetry]\nlog_pii = \"yes\"\n", &[]),
        ("[api]\nbind = \"localhost\"\n", &[]),
        ("[api\nbind = 1\n", &[]),
        ("[api]\nbind = \"a\"\nbind = \"b\"\n", &[]),
        ("store = 5\n", &[("TRUNKLINE__STORE__DATABASE", "x")]),
        ("", &[("TRUNKLINE__STORE__DATABSE", "x")]),
        ("", &[("TRUNKLINE__TELEMETRY__LOG_PII", "maybe")]),
        ("", &[("TRUNKLINE__STORE", "")]),
        ("", &[("TRUNKLINE____X", "1")]),
        ("[store]\ndatabase = \"\"\nrecordings = \"\"\n[telemetry]\nlog_filter = \"=,[\"\n", &[]),
    ];
    let page: Vec<_> = rows.iter().map(|(text, env)| refusal(text, env)).collect();
    insta::assert_snapshot!(page.join("\n---\n"));
}

#[test]
fn a_relay_for_mail_is_checked() {
    let of = |lines: &str| format!("[notifications.smtp]\n{lines}");
    for (lines, key) in [
        ("host = \"smtp.example.com\"", "notifications.smtp.from"),
        ("host = \"smtp.example.com\"\nfrom = \"nobody\"", "notifications.smtp.from"),
        ("username = \"calls\"", "notifications.smtp.password"),
        ("timeout_ms = 1", "notifications.smtp.timeout_ms"),
    ] {
        let refused = refusal(&of(lines), &[]);
        assert!(refused.contains(key), "{lines}: {refused}");
    }
    let inline = refusal(&of("password = \"hunter2\""), &[]);
    assert!(!inline.contains("hunter2"), "{inline}");
    let whole =
        "host = \"smtp.example.com\"\nfrom = \"Desk <desk@example.com>\"\nsecurity = \"tls\"";
    let config: Config = load_str("t", &of(whole), &Env::new()).unwrap();
    assert_eq!(config.notifications.smtp.mailer().unwrap().from, "Desk <desk@example.com>");
    assert!(Config::default().notifications.smtp.mailer().is_none());
}

#[test]
fn prices_are_read_and_checked_where_they_stand() {
    let good = "[budget]\ncurrency = \"EUR\"\nmonthly_limit_micros = 5\n[[prices]]\nkind = \"tts\"\n\
        provider = \"*\"\nunit = \"character\"\nprice_micros = 15\n";
    let config: Config = load_str("t.toml", good, &Env::new()).unwrap();
    assert_eq!((config.prices.len(), config.prices[0].per), (1, 1));
    assert_eq!(config.budget.monthly_limit_micros, 5);
    let wrong = format!(
        "{good}[[prices]]\nkind = \"tts\"\nprovider = \"x\"\nunit = \"minute\"\nprice_micros = 1\n"
    );
    let refusal = refusal(&wrong, &[]);
    assert!(refusal.starts_with("t.toml:12:1: `prices[1].unit`: "), "{refusal}");
    let currency = load_str::<Config>("t.toml", "[budget]\ncurrency = \"Euro\"\n", &Env::new());
    assert!(currency.unwrap_err().to_string().starts_with("t.toml:2:1: `budget.currency`: "));
    let after = load_str::<Config>("t.toml", "[after]\ncalls_at_once = 0\n", &Env::new());
    assert!(after.unwrap_err().to_string().starts_with("t.toml:2:1: `after.calls_at_once`: "));
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keyed {
    list: Vec<One>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    key: Option<SecretRef>,
}

impl Validate for Keyed {
    fn problems(&self) -> Vec<Complaint> {
        Vec::new()
    }
}

#[test]
fn secrets_are_references_and_an_inline_one_is_not_repeated() {
    let text = "[[list]]\nkey = { env = \"K\" }\n[[list]]\nkey = \"sk-very-secret\"\n";
    let refusal = load_str::<Keyed>("t.toml", text, &Env::new()).unwrap_err().to_string();
    assert!(refusal.starts_with("t.toml:4:1: `list[1].key`: "), "{refusal}");
    assert!(refusal.contains("env = \"NAME\"") && !refusal.contains("very"), "{refusal}");
    for bad in ["{}", "{ vault = \"x\" }", "{ env = \"A\", file = \"b\" }", "5"] {
        let text = format!("[[list]]\nkey = {bad}\n");
        assert!(load_str::<Keyed>("t", &text, &Env::new()).is_err(), "{bad}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, "abc\n").unwrap();
    let vars = env(&[("K", "def"), ("EMPTY", "")]);
    let expose = |reference: SecretRef| reference.resolve(&vars).map(|s| s.expose().to_owned());
    assert_eq!(expose(SecretRef::File(path.clone())).unwrap(), "abc");
    assert_eq!(expose(SecretRef::Env("K".into())).unwrap(), "def");
    assert!(expose(SecretRef::Env("EMPTY".into())).is_err());
    std::fs::write(&path, " \n").unwrap();
    assert!(expose(SecretRef::File(path)).is_err());
}

#[test]
fn an_undescribed_key_is_found() {
    let sections = [Section { name: "list", source: "", item: "X" }];
    assert!(reference(&Keyed::default(), &sections).is_err());
    let bare = "pub struct Api {\n    pub bind: X,\n}\n";
    let api = Section { name: "api", source: bare, item: "Api" };
    let rest = SECTIONS.iter().copied().filter(|section| section.name != "api");
    let sections: Vec<_> = std::iter::once(api).chain(rest).collect();
    let error = reference(&Config::example(), &sections).unwrap_err();
    assert_eq!(error, explain::ExplainError::Undocumented("api.bind".into()));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_loader_panic(data in proptest::collection::vec(0u8.., 0..300)) {
        load::config_toml(&data);
    }

    #[test]
    fn no_toml_like_text_makes_the_loader_panic(text in "(\\[?(api|store|x)\\]?|[a-z.]{1,8}|=|\"|\\{|\\}|[0-9]|é|\n| ){0,40}") {
        load::config_toml(text.as_bytes());
    }
}
