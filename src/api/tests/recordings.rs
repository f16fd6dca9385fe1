//! Downloads: whole, in part, again, and not.

use std::io::Write as _;

use axum::body::Body;
use axum::http::header;

use super::bench::{Answer, Bench, bench, ended, id, request};
use crate::store::recording::{READ_MAX, Recordings};
use crate::types::EndReason;
use crate::types::call::{RecordingInfo, RecordingStatus};

fn octet(at: usize) -> u8 {
    u8::try_from(at * 7 % 251).unwrap()
}

/// A call whose recording has this many bytes, or no file.
async fn recorded(status: RecordingStatus, bytes: Option<usize>) -> (Bench, String) {
    let bench = bench().await;
    let mut record = ended(0, EndReason::UserHangup);
    let filename = Recordings::filename(record.id, record.created_at);
    if let Some(bytes) = bytes {
        let content: Vec<u8> = (0..bytes).map(octet).collect();
        bench.recordings.create(&filename).unwrap().write_all(&content).unwrap();
    }
    record.recording = Some(RecordingInfo {
        status,
        filename,
        sample_rate: 8_000,
        channels: 2,
        duration_ms: None,
        bytes: None,
        sha256: None,
    });
    bench.put(record).await;
    (bench, format!("/v1/calls/{}/recording", id(0)))
}

async fn get(bench: &Bench, path: &str, headers: &[(header::HeaderName, &str)]) -> Answer {
    let mut request = request("GET", path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    bench.send(request.body(Body::empty()).unwrap()).await
}

// covers: S2-23
#[tokio::test]
async fn the_whole_file_in_pieces() {
    let length = READ_MAX * 2 + 17;
    let (bench, path) = recorded(RecordingStatus::Available, Some(length)).await;
    let answer = bench.get(&path).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "audio/wav");
    assert_eq!(answer.header("content-length"), length.to_string());
    assert_eq!(answer.header("accept-ranges"), "bytes");
    let name = format!("attachment; filename=\"{}.wav\"", id(0));
    assert_eq!(answer.header("content-disposition"), name);
    assert!(answer.body.iter().enumerate().all(|(at, byte)| *byte == octet(at)));
    assert_eq!(answer.body.len(), length);
    let head = bench.send(request("HEAD", &path).body(Body::empty()).unwrap()).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), length.to_string());
}

#[tokio::test]
async fn parts_of_it() {
    let (bench, path) = recorded(RecordingStatus::Partial, Some(1_000)).await;
    for (range, first, last) in [
        ("bytes=0-99", 0, 99),
        ("bytes=900-", 900, 999),
        ("bytes=-1", 999, 999),
        ("bytes=5-9999", 5, 999),
    ] {
        let answer = get(&bench, &path, &[(header::RANGE, range)]).await;
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {first}-{last}/1000"));
        let expected: Vec<u8> = (first..=last).map(octet).collect();
        assert_eq!(answer.body, expected, "{range}");
    }
    let all = get(&bench, &path, &[(header::RANGE, "bytes=0-")]).await;
    assert_eq!((all.status.as_u16(), all.header("content-range")), (206, "bytes 0-999/1000"));
    let many = get(&bench, &path, &[(header::RANGE, "bytes=0-1,5-6")]).await;
    assert_eq!((many.status.as_u16(), many.body.len()), (200, 1_000));
    let past = get(&bench, &path, &[(header::RANGE, "bytes=1000-")]).await;
    assert_eq!(past.error(), (416, "range_not_satisfiable".into(), None));
    assert_eq!(past.header("content-range"), "bytes */1000");
}

#[tokio::test]
async fn versions_are_told_apart() {
    let (bench, path) = recorded(RecordingStatus::Available, Some(100)).await;
    let tag = bench.get(&path).await.header("etag").to_owned();
    for list in [tag.clone(), format!("\"x\", W/{tag}"), "*".into()] {
        let answer = get(&bench, &path, &[(header::IF_NONE_MATCH, &list)]).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0), "{list}");
        assert_eq!(answer.header("etag"), tag);
    }
    let other = get(&bench, &path, &[(header::IF_NONE_MATCH, "\"x\"")]).await;
    assert_eq!(other.status, 200);
    let range = (header::RANGE, "bytes=0-9");
    let same = get(&bench, &path, &[range.clone(), (header::IF_RANGE, &tag)]).await;
    assert_eq!(same.status, 206);
    let stale = get(&bench, &path, &[range, (header::IF_RANGE, "\"x\"")]).await;
    assert_eq!((stale.status.as_u16(), stale.body.len()), (200, 100));
}

// covers: S2-23
#[tokio::test]
async fn what_cannot_be_had() {
    for (status, bytes, expected) in [
        (RecordingStatus::Recording, Some(100), (409, "recording_in_progress")),
        (RecordingStatus::Failed, Some(100), (404, "recording_not_found")),
        (RecordingStatus::Available, None, (404, "recording_not_found")),
    ] {
        let (bench, path) = recorded(status, bytes).await;
        let (status, code, _) = bench.get(&path).await.error();
        assert_eq!((status, code.as_str()), expected);
    }
    let bench = bench().await;
    bench.put(ended(0, EndReason::UserHangup)).await;
    let error = bench.get(&format!("/v1/calls/{}/recording", id(0))).await.error();
    assert_eq!(error, (404, "recording_not_found".into(), None));
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_opens_nothing() {
    let bench = bench().await;
    let mut record = ended(0, EndReason::UserHangup);
    record.recording = Some(RecordingInfo {
        status: RecordingStatus::Available,
        filename: "../../etc/passwd".into(),
        sample_rate: 8_000,
        channels: 2,
        duration_ms: None,
        bytes: None,
        sha256: None,
    });
    bench.put(record).await;
    let answer = bench.get(&format!("/v1/calls/{}/recording", id(0))).await;
    assert_eq!(answer.error(), (500, "internal_error".into(), None));
    assert!(!String::from_utf8_lossy(&answer.body).contains("passwd"));
}
