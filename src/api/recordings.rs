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
use super::error::{ApiError, Code};
use super::extract::{Params, PathId};
use super::range::{self, Span};
use crate::schema::ErrorBody;
use crate::store::recording::{READ_MAX, RecordingError, Recordings};
use crate::types::CallId;
use crate::types::call::RecordingStatus;

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
    PathId(id): PathId,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    let record = api.call(id).await?;
    let Some(info) = record.recording else {
        return Err(ApiError::new(Code::RecordingNotFound));
    };
    match info.status {
        RecordingStatus::Available | RecordingStatus::Partial => {}
        RecordingStatus::Recording => return Err(ApiError::new(Code::RecordingInProgress)),
        RecordingStatus::Failed => return Err(ApiError::new(Code::RecordingNotFound)),
    }
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
