use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

/// A relay that takes one message and answers `RCPT` with `verdict`; gives everything it was told.
async fn relay(verdict: &'static str) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        write.write_all(b"220 relay\r\n").await.unwrap();
        let (mut told, mut data) = (String::new(), false);
        while let Some(line) = lines.next_line().await.unwrap() {
            told.push_str(&line);
            told.push('\n');
            let answer = match line.split(' ').next().unwrap() {
                _ if data && line != "." => continue,
                "." => {
                    data = false;
                    "250 queued"
                }
                "EHLO" => "250-relay\r\n250 AUTH PLAIN",
                "RCPT" => verdict,
                "DATA" => {
                    data = true;
                    "354 go on"
                }
                "QUIT" => break,
                _ => "250 ok",
            };
            write.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
        }
        told
    });
    (address, task)
}

fn mailer(address: SocketAddr, username: &str) -> Mailer {
    crate::providers::http::install_crypto();
    let config = Config {
        host: address.ip().to_string(),
        port: Some(address.port()),
        security: Security::None,
        username: username.to_owned(),
        from: "Trunkline <calls@example.com>".to_owned(),
        timeout: std::time::Duration::from_secs(30),
    };
    Mailer::new(&config, &Secret::new("open sesame".to_owned())).unwrap()
}

fn mail(to: &str) -> Mail<'_> {
    Mail {
        to,
        subject: "Call completed\r\nBcc: victim@example.com",
        text: "It took 38 s.".to_owned(),
        json: Some(br#"{"id":"evt_1"}"#.to_vec()),
        event_id: Some("evt_1"),
    }
}

// covers: S4-29
#[tokio::test]
async fn a_report_leaves_through_the_relay() {
    let (address, relay) = relay("250 ok").await;
    mailer(address, "calls").send(mail("ops@example.com")).await.unwrap();
    let told = relay.await.unwrap();
    for line in [
        "MAIL FROM:<calls@example.com>",
        "RCPT TO:<ops@example.com>",
        "From: Trunkline <calls@example.com>",
        "X-Webhook-Id: evt_1",
        "It took 38 s.",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    assert!(told.contains("AUTH PLAIN"), "{told}");
    assert!(told.contains("filename=\"event.json\""), "{told}");
    // A line break in a subject adds no header.
    assert!(!told.lines().any(|line| line.starts_with("Bcc:")), "{told}");
}

#[tokio::test]
async fn a_refusal_is_final_and_a_greylisting_is_not() {
    let (address, _relay) = relay("550 no such user").await;
    let error = mailer(address, "").send(mail("ops@example.com")).await.unwrap_err();
    assert!(matches!(error, MailError::Refused(_)), "{error:?}");
    let (address, _relay) = relay("450 later").await;
    let error = mailer(address, "").send(mail("ops@example.com")).await.unwrap_err();
    assert!(matches!(error, MailError::Send(_)), "{error:?}");
}

#[tokio::test]
async fn what_is_no_address_is_not_sent_to() {
    let (address, _relay) = relay("250 ok").await;
    for to in [
        "",
        "ops",
        "ops@",
        "a@b\r\nRCPT TO:<c@d>",
        "a@example.com,b@example.com",
        "a@b.example?cc=c",
    ] {
        assert!(!is_address(to), "{to}");
        let error = mailer(address, "").send(mail(to)).await.unwrap_err();
        assert!(matches!(error, MailError::Address("to")), "{to}: {error:?}");
    }
    assert!(is_address("ops@example.com"));
}
