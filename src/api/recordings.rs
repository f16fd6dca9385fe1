//! Downloading a recording, whole or in part, in pieces.
//!
//! A recording that is still being written is refused: its header does not state its length yet,
//! and a reader that asks twice would get two different files.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::Api;
use super::access::Principal;
use super::error::{ApiError, Code};
use super::extract::{Name, Params, PathId, bad_param};
use super::range::{self, Span};
use crate::net::clock;
use crate::schema::{ErrorBody, RecordingUrl, time};
use crate::store::recording::{READ_MAX, RecordingError, Recordings};
use crate::store::sign::{LINK_SECONDS_MAX, LinkError};
use crate::types::call::{RecordingInfo, RecordingStatus};
use crate::types::{CallId, CallRecord};

/// Download a recording
///
/// Stereo WAV: caller left, agent right as played. A single byte range is served, and `HEAD`.
#[utoipa::path(get, path = "/v1/calls/{id}/recording", operation_id = "download_recording", tag = "calls",
    params(
        ("id" = String, Path, description = "Identifier of the call"),
        ("Range" = Option<String>, Header, description = "For example `bytes=0-65535`"),
    ),
    responses(
        (status = 200, description = "The file", content_type = "audio/wav", body = [u8]),
        (status = 206, description = "The part asked for", content_type = "audio/wav", body = [u8]),
        (status = 304, description = "The `If-None-Match` tag still fits"),
        (status = 404, description = "No such call, or it has no recording", body = ErrorBody),
        (status = 409, description = "It is still being written", body = ErrorBody),
        (status = 416, description = "The range lies past the end", body = ErrorBody),
    ))]
pub(super) async fn download(
    State(api): State<Arc<Api>>,
    principal: Principal,
    PathId(id): PathId,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    let record = api.call(&principal, id).await?;
    send(&api, &record, &headers).await
}

/// Sign a link to a recording
///
/// The link downloads the recording without a key, for an hour at most.
#[utoipa::path(get, path = "/v1/calls/{id}/recording/url", operation_id = "sign_recording_url", tag = "calls",
    params(
        ("id" = String, Path, description = "Identifier of the call"),
        ("ttl" = Option<u32>, Query, minimum = 1, maximum = 3600,
            description = "Seconds the link is good for, 3600 if left out"),
    ),
    responses(
        (status = 200, description = "The link", body = RecordingUrl),
        (status = 400, description = "`ttl` is out of range", body = ErrorBody),
        (status = 404, description = "No such call, or it has no recording", body = ErrorBody),
        (status = 409, description = "It is still being written", body = ErrorBody),
    ))]
pub(super) async fn url(
    State(api): State<Arc<Api>>,
    principal: Principal,
    PathId(id): PathId,
    params: Params,
) -> Result<axum::Json<RecordingUrl>, ApiError> {
    params.only(&["ttl"])?;
    let ttl: u32 = params.number("ttl")?.unwrap_or(LINK_SECONDS_MAX);
    if !(1..=LINK_SECONDS_MAX).contains(&ttl) {
        return Err(bad_param("ttl", format!("`ttl` is 1 to {LINK_SECONDS_MAX}")));
    }
    let record = api.call(&principal, id).await?;
    playable(&record)?;
    let link = api.signer().await?.link(id, clock::wall(), ttl);
    let link = link.ok_or(ApiError::new(Code::Internal))?;
    Ok(axum::Json(RecordingUrl { url: link.path, expires_at: time(link.expires_at) }))
}

/// Download a recording by a signed link
///
/// Needs no key: the signature is the permission. The path and its parameters are those of the link, unchanged.
#[utoipa::path(get, path = "/v1/recordings/{file}", operation_id = "download_signed_recording", tag = "calls",
    security(()),
    params(
        ("file" = String, Path, description = "Identifier of the call and `.wav`"),
        ("exp" = String, Query, description = "Unix time from which the link is refused"),
        ("kid" = String, Query, description = "Which key signed it"),
        ("sig" = String, Query, description = "HMAC-SHA256 over method, path, `exp` and `kid`"),
    ),
    responses(
        (status = 200, description = "The file", content_type = "audio/wav", body = [u8]),
        (status = 206, description = "The part asked for", content_type = "audio/wav", body = [u8]),
        (status = 403, description = "`signature_invalid` or `signature_expired`", body = ErrorBody),
        (status = 404, description = "The recording was removed since", body = ErrorBody),
    ))]
pub(super) async fn signed(
    State(api): State<Arc<Api>>,
    Name(file): Name,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let invalid = || ApiError::new(Code::SignatureInvalid);
    params.only(&["exp", "kid", "sig"])?;
    let part = |name| params.one(name).map(Option::unwrap_or_default);
    let parts = (part("exp")?, part("kid")?, part("sig")?);
    let id: CallId =
        file.strip_suffix(".wav").and_then(|id| id.parse().ok()).ok_or_else(invalid)?;
    let path = format!("/v1/recordings/{id}.wav");
    match api.signer().await?.check_link(&path, parts, clock::wall()) {
        Ok(()) => {}
        Err(LinkError::Expired) => return Err(ApiError::new(Code::SignatureExpired)),
        Err(LinkError::Invalid) => return Err(invalid()),
    }
    let record = api.store.get(id).await?;
    let record = record.ok_or(ApiError::new(Code::RecordingNotFound))?;
    send(&api, &record, &headers).await
}

/// The recording of a call, if it is complete.
fn playable(record: &CallRecord) -> Result<&RecordingInfo, ApiError> {
    let Some(info) = &record.recording else {
        return Err(ApiError::new(Code::RecordingNotFound));
    };
    match info.status {
        RecordingStatus::Available | RecordingStatus::Partial => Ok(info),
        RecordingStatus::Recording => Err(ApiError::new(Code::RecordingInProgress)),
        RecordingStatus::Failed | RecordingStatus::Deleted => {
            Err(ApiError::new(Code::RecordingNotFound))
        }
    }
}

async fn send(api: &Api, record: &CallRecord, headers: &HeaderMap) -> Result<Response, ApiError> {
    let id = record.id;
    let info = playable(record)?.clone();
    let length = length(&api.recordings, &info.filename).await?;
    let tag = format!("\"{id}-{length}\"");
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let known =
        |list: &str| list.split(',').any(|one| matches!(one.trim(), "*") || weak(one) == tag);
    if text(header::IF_NONE_MATCH).is_some_and(known) {
        return Ok(with_tag(StatusCode::NOT_MODIFIED.into_response(), &tag));
    }
    // A range of another version of the file would not fit what the client has (section 13.1.5).
    let stale = text(header::IF_RANGE).is_some_and(|have| have.trim() != tag);
    let wanted = text(header::RANGE).filter(|_| !stale);
    let (status, first, count) = match range::read(wanted, length) {
        Span::Whole => (StatusCode::OK, 0, length),
        Span::Part(first, last) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Span::Unsatisfiable => {
            let error = ApiError::new(Code::RangeNotSatisfiable);
            return Err(match HeaderValue::try_from(format!("bytes */{length}")) {
                Ok(value) => error.header(header::CONTENT_RANGE, value),
                Err(_) => error,
            });
        }
    };
    let body = read(api.recordings.clone(), info.filename, first, count);
    let mut response = (status, Body::from_stream(body)).into_response();
    describe(response.headers_mut(), id, count);
    if status == StatusCode::PARTIAL_CONTENT {
        let last = first + count.saturating_sub(1);
        if let Ok(value) = HeaderValue::try_from(format!("bytes {first}-{last}/{length}")) {
            response.headers_mut().insert(header::CONTENT_RANGE, value);
        }
    }
    Ok(with_tag(response, &tag))
}

/// `If-None-Match` compares weakly (RFC 9110 section 13.1.2).
fn weak(tag: &str) -> &str {
    let tag = tag.trim();
    tag.strip_prefix("W/").unwrap_or(tag)
}

fn with_tag(mut response: Response, tag: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(header::ETAG, value);
    }
    let cache = HeaderValue::from_static("private, no-cache");
    response.headers_mut().insert(header::CACHE_CONTROL, cache);
    response
}

fn describe(headers: &mut HeaderMap, id: CallId, count: u64) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("audio/wav"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, count.into());
    let disposition = format!("attachment; filename=\"{id}.wav\"");
    if let Ok(value) = HeaderValue::try_from(disposition) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
}

async fn length(recordings: &Recordings, filename: &str) -> Result<u64, ApiError> {
    let (recordings, filename) = (recordings.clone(), filename.to_owned());
    let length = tokio::task::spawn_blocking(move || recordings.len(&filename)).await;
    match length {
        Ok(Ok(length)) => Ok(length),
        Ok(Err(RecordingError::Missing)) => Err(ApiError::new(Code::RecordingNotFound)),
        Ok(Err(error)) => {
            let error = crate::telemetry::chain::chain(&error).to_string();
            tracing::error!(error, "failed to open a recording");
            Err(ApiError::new(Code::Internal))
        }
        Err(_) => Err(ApiError::new(Code::Internal)),
    }
}

/// The bytes, a piece at a time, each read when the client has taken the one before it.
fn read(
    recordings: Recordings,
    filename: String,
    first: u64,
    count: u64,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((first, count), move |(at, left)| {
        let (recordings, filename) = (recordings.clone(), filename.clone());
        async move {
            if left == 0 {
                return Ok(None);
            }
            let want = usize::try_from(left).unwrap_or(READ_MAX).min(READ_MAX);
            let piece = tokio::task::spawn_blocking(move || recordings.read(&filename, at, want));
            let piece = piece.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
            if piece.is_empty() {
                // The connection breaks, so the client sees that bytes are missing.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let got = piece.len() as u64;
            Ok(Some((Bytes::from(piece), (at + got, left.saturating_sub(got)))))
        }
    })
}
