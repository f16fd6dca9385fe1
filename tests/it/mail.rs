//! E-mail through a relay that others wrote: what it gets, and what its refusals come to.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use trunkline::config::SecretRef;
use trunkline::mail::Security;
use trunkline::sip::Transport;

use crate::support::hooks::{Answer, Receiver};
use crate::support::line::Line;
use crate::support::peer::Caller;
use crate::support::server::Server;
use crate::support::{has_program, wait};

/// The interpreter that Debian's packages belong to.
const PYTHON: &str = "/usr/bin/python3";

/// A running `aiosmtpd`.
struct Relay {
    port: u16,
    said: Arc<Mutex<Vec<Value>>>,
    _child: Child,
}

impl Relay {
    async fn start() -> Self {
        let script =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients/mail/relay.py");
        let mut child = tokio::process::Command::new(PYTHON)
            .arg(script)
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python3 runs");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let read = |line: String| serde_json::from_str::<Value>(&line).expect("JSON");
        let first = wait::limit("the relay's port", lines.next_line()).await.expect("text");
        let port = read(first.expect("a line"))["port"].as_u64().expect("a port") as u16;
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                heard.lock().unwrap().push(read(line));
            }
        });
        Self { port, said, _child: child }
    }

    fn said(&self) -> Vec<Value> {
        self.said.lock().unwrap().clone()
    }

    async fn reaches(&self, count: usize) -> Vec<Value> {
        wait::until(&format!("{count} mails"), async || {
            let said = self.said();
            (said.len() >= count).then_some(said)
        })
        .await
    }
}

async fn server(port: u16, attach: bool) -> Server {
    Server::with(|config| {
        config.webhooks.retry_delays_seconds = vec![0.1; 3];
        config.webhooks.disable_after = 2;
        let smtp = &mut config.notifications.smtp;
        smtp.host = "127.0.0.1".to_owned();
        smtp.port = Some(port);
        smtp.security = Security::None;
        smtp.from = "Trunkline <calls@example.com>".to_owned();
        smtp.username = "calls".to_owned();
        smtp.password = Some(SecretRef::Env("TRUNK_PASSWORD".to_owned()));
        config.notifications.attach_event = attach;
    })
    .await
}

/// A request to the API: status and body.
async fn api(server: &Server, method: &str, path: &str, body: Value) -> (u16, Value) {
    let url = format!("http://{}/v1{path}", server.running.api());
    let method = method.parse().expect("a method");
    let request = reqwest::Client::new().request(method, url);
    let key = server.running.first_key().expect("a first start");
    let answer = request.bearer_auth(key).json(&body).send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

async fn endpoint(server: &Server, to: &str, events: &[&str]) -> Value {
    let body = json!({"url": format!("mailto:{to}"), "enabled_events": events});
    let (status, made) = api(server, "POST", "/webhook-endpoints", body).await;
    assert_eq!(status, 201, "{made}");
    made
}

/// The only delivery to an endpoint, once it is over.
async fn over(server: &Server, endpoint: &Value) -> Value {
    let id = endpoint["id"].as_str().expect("an id");
    let path = format!("/webhook-deliveries?endpoint_id={id}");
    wait::until("the end of a delivery", async || {
        let (_, list) = api(server, "GET", &path, json!({})).await;
        let first = list["items"].get(0)?.clone();
        (first["status"] != "pending").then_some(first)
    })
    .await
}

// covers: S4-29
#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_as_mails_that_a_person_reads() {
    if !has_program("aiosmtpd") {
        return;
    }
    let relay = Relay::start().await;
    let server = server(relay.port, false).await;
    let made = endpoint(&server, "ops@example.com", &["call.completed"]).await;
    let line = Line::new().await;
    let mut caller = Caller::new(&server, Transport::Udp, "desk").await;
    caller.call(line.local).await;
    caller.hang_up().await;
    let record = server.ended_to("desk").await;
    let mail = relay.reaches(1).await.remove(0);
    assert_eq!(mail["from"], "calls@example.com");
    assert_eq!(mail["to"], json!(["ops@example.com"]));
    assert_eq!(mail["user"], "calls");
    let header = |name: &str| mail["headers"][name].as_str().unwrap_or_default().to_owned();
    assert_eq!(header("from"), "Trunkline <calls@example.com>");
    assert_eq!(header("to"), "ops@example.com");
    assert!(header("content-type").starts_with("text/plain"), "{mail}");
    assert!(header("subject").starts_with("Call completed: "), "{mail}");
    assert!(header("x-webhook-id").starts_with("evt_"), "{mail}");
    assert!(!header("date").is_empty() && !header("message-id").is_empty(), "{mail}");
    let text = mail["text"].as_str().expect("text");
    for words in [record.id.to_string(), header("x-webhook-id"), "completed".to_owned()] {
        assert!(text.contains(&words), "{words}: {text}");
    }
    // Numbers are hidden unless the operator wants them.
    for number in [record.from_number.reveal(), record.to_number.reveal()] {
        assert!(!text.contains(number.as_str()) && !header("subject").contains(number), "{text}");
    }
    assert_eq!(mail["attachments"], json!({}));
    let delivery = over(&server, &made).await;
    assert_eq!((&delivery["status"], &delivery["attempt_count"]), (&json!("delivered"), &json!(1)));
    assert_eq!(delivery["url"], "mailto:ops@example.com");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greylisted_mail_is_tried_again_and_a_refused_one_is_not() {
    if !has_program("aiosmtpd") {
        return;
    }
    let relay = Relay::start().await;
    let server = server(relay.port, true).await;
    let watcher = Receiver::start(|_| Answer::Status(200)).await;
    let watch = json!({"url": watcher.url, "enabled_events": ["endpoint.disabled"]});
    assert_eq!(api(&server, "POST", "/webhook-endpoints", watch).await.0, 201);
    let later = endpoint(&server, "later@example.com", &["batch.*"]).await;
    let full = endpoint(&server, "full@example.com", &["call.answered", "call.completed"]).await;
    let line = Line::new().await;
    let mut caller = Caller::new(&server, Transport::Udp, "desk").await;
    caller.call(line.local).await;
    caller.hang_up().await;
    let failed = over(&server, &full).await;
    assert_eq!((&failed["status"], &failed["attempt_count"]), (&json!("exhausted"), &json!(1)));
    assert_eq!(failed["last_response_status"], 550);
    let error = failed["last_error"].as_str().expect("words");
    assert!(error.contains("mailbox full"), "{error}");
    // Two that failed for good disable their endpoint, and the others are told.
    watcher.reaches(1).await;
    let (_, shown) = api(
        &server,
        "GET",
        &format!("/webhook-endpoints/{}", full["id"].as_str().unwrap()),
        json!({}),
    )
    .await;
    assert_eq!(shown["disabled_reason"], "too_many_failures", "{shown}");

    // A `ping` has one try only: the relay said to come back, and by hand somebody does.
    let test = format!("/webhook-endpoints/{}/test", later["id"].as_str().unwrap());
    assert_eq!(api(&server, "POST", &test, json!({})).await.0, 202);
    let ping = over(&server, &later).await;
    assert_eq!(
        (&ping["status"], &ping["last_response_status"]),
        (&json!("exhausted"), &json!(450))
    );
    let again = endpoint(&server, "later@example.org", &["call.completed"]).await;
    let mut caller = Caller::new(&server, Transport::Udp, "desk").await;
    caller.call(line.local).await;
    caller.hang_up().await;
    let delivery = over(&server, &again).await;
    assert_eq!((&delivery["status"], &delivery["attempt_count"]), (&json!("delivered"), &json!(2)));
    let said = relay.said();
    let status = |said: &Value| said["status"].as_u64();
    assert_eq!(said.iter().filter(|said| status(said) == Some(550)).count(), 2);
    assert_eq!(said.iter().filter(|said| status(said) == Some(450)).count(), 2);
    let mail = said.iter().find(|said| said["to"] == json!(["later@example.org"])).expect("a mail");
    let event = mail["attachments"]["event.json"].as_str().expect("the event");
    let event: Value = serde_json::from_str(event).expect("JSON");
    assert_eq!(event["type"], "call.completed");
    assert_eq!(event["id"], mail["headers"]["x-webhook-id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_mail_tells_what_the_relay_said() {
    if !has_program("aiosmtpd") {
        return;
    }
    let relay = Relay::start().await;
    let server = server(relay.port, false).await;
    let test =
        async |to: &str| api(&server, "POST", "/notifications/test", json!({"to": to})).await;
    let (status, sent) = test("ops@example.com").await;
    assert_eq!((status, &sent["ok"], &sent["error"]), (200, &json!(true), &Value::Null), "{sent}");
    assert_eq!(relay.reaches(1).await[0]["headers"]["subject"], "Trunkline test");
    let (status, refused) = test("full@example.com").await;
    assert_eq!((status, &refused["ok"], &refused["status"]), (200, &json!(false), &json!(550)));
    assert!(refused["error"].as_str().expect("words").contains("mailbox full"), "{refused}");
    let (status, wrong) = test("nobody").await;
    assert_eq!((status, &wrong["error"]["param"]), (422, &json!("to")));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_relay_nobody_is_promised_a_mail() {
    let server = Server::start().await;
    let body = json!({"url": "mailto:ops@example.com"});
    let (status, refused) = api(&server, "POST", "/webhook-endpoints", body).await;
    assert_eq!((status, &refused["error"]["param"]), (422, &json!("url")), "{refused}");
    let message = refused["error"]["message"].as_str().expect("words");
    assert!(message.contains("notifications.smtp"), "{message}");
    let to = json!({"to": "ops@example.com"});
    let (status, refused) = api(&server, "POST", "/notifications/test", to).await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (409, &json!("smtp_not_configured")),
        "{refused}"
    );
}
