//! `Idempotency-Key`: a request that is sent twice is served once.
//!
//! Routes that dial are put into [`once`]. The key belongs to the organization for a day. The same request with it
//! gets the stored answer, another one is refused, and one that comes while the first is being served is told to
//! come again. Only answers of 2xx are kept: a refused request has done nothing and may be sent again. A request
//! that was cut off keeps its key, because nobody knows what it did.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use utoipa::openapi::RefOr;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa_axum::router::OpenApiRouter;

use super::Api;
use super::access::Principal;
use super::error::{ApiError, Code};
use super::extract::bad_param;
use crate::net::clock;
use crate::store::{Claim, StoredAnswer};

/// The header.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says of an answer that it was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest key, characters.
const KEY_CHARS_MAX: usize = 255;
/// Largest answer that is kept, bytes. A larger one is given and its key stays taken without it.
const ANSWER_BYTES_MAX: usize = 4 * 1_048_576;
/// Seconds after which a request that is being served is worth another try.
const RUNNING_S: u32 = 1;

/// Routes that a key makes happen once. Put them into [`super::access::group`] afterwards.
pub(super) fn once(routes: OpenApiRouter<Arc<Api>>) -> OpenApiRouter<Arc<Api>> {
    let mut routes = routes.route_layer(axum::middleware::from_fn(serve_once));
    for item in routes.get_openapi_mut().paths.paths.values_mut() {
        let Some(operation) = &mut item.post else { continue };
        let parameter = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .description(Some(
                "Serves this request once: for 24 hours the same request with the same key gets the same answer, \
                 with `Idempotency-Replayed: true`",
            ))
            .schema(Some(
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .min_length(Some(1))
                    .max_length(Some(KEY_CHARS_MAX)),
            ))
            .build();
        operation.parameters.get_or_insert_default().push(RefOr::T(parameter));
    }
    routes
}

async fn serve_once(request: Request, next: Next) -> Result<Response, ApiError> {
    let Some(key) = request.headers().get(KEY) else { return Ok(next.run(request).await) };
    let printable = |text: &&str| text.bytes().all(|octet| octet.is_ascii_graphic());
    let key = key.to_str().ok().map(str::trim).filter(printable);
    let Some(key) = key.filter(|key| (1..=KEY_CHARS_MAX).contains(&key.len())) else {
        let message = format!("the key has 1 to {KEY_CHARS_MAX} visible ASCII characters");
        return Err(bad_param("Idempotency-Key", message));
    };
    let key = key.to_owned();
    let extensions = request.extensions();
    let api = extensions.get::<Arc<Api>>().cloned().ok_or(ApiError::new(Code::Internal))?;
    let principal = extensions.get::<Arc<Principal>>().cloned();
    let principal = principal.ok_or(ApiError::new(Code::Internal))?;
    let (request, fingerprint) = fingerprint(request).await?;
    let organization = &principal.organization;
    let claim = api.store.claim_key(organization, &key, &fingerprint, clock::wall()).await?;
    match claim {
        Claim::Mine => {}
        Claim::Full => return Err(ApiError::new(Code::TooManyKeys)),
        Claim::Running { same: true } => {
            return Err(ApiError::new(Code::IdempotencyRunning)
                .header(header::RETRY_AFTER, u64::from(RUNNING_S)));
        }
        Claim::Answered { same: true, answer } => return replay(answer),
        Claim::Running { same: false } | Claim::Answered { same: false, .. } => {
            return Err(ApiError::new(Code::IdempotencyMismatch)
                .param("Idempotency-Key")
                .hint("another request needs another key"));
        }
    }
    let response = next.run(request).await;
    if !response.status().is_success() {
        api.store.free_key(organization, &key).await?;
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let Ok(octets) = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await else {
        return Err(ApiError::new(Code::Internal));
    };
    let text = String::from_utf8_lossy(&octets).into_owned();
    let location = parts.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    let answer = StoredAnswer {
        status: parts.status.as_u16(),
        location: location.map(str::to_owned),
        subject: subject(&text),
        body: Some(text),
    };
    if let Err(error) = api.store.answer_key(organization, &key, &answer).await {
        // What was asked for has happened, so the client must hear of it.
        let error = crate::telemetry::chain::chain(&error).to_string();
        tracing::error!(error, "failed to keep an answer for its idempotency key");
    }
    Ok(Response::from_parts(parts, Body::from(octets)))
}

/// What makes two requests the same: method, path, query and body.
async fn fingerprint(request: Request) -> Result<(Request, String), ApiError> {
    let (octets, parts) = super::extract::read_octets(request).await?;
    let mut hash = Sha256::new();
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    for part in [parts.method.as_str().as_bytes(), target.as_bytes(), &octets] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let hex = digest.iter().map(|octet| format!("{octet:02x}")).collect();
    Ok((Request::from_parts(parts, Body::from(octets)), hex))
}

/// The identifier an answer is about, so that it can be erased with it.
fn subject(body: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(body).ok()?;
    value.get("id")?.as_str().map(str::to_owned)
}

fn replay(answer: StoredAnswer) -> Result<Response, ApiError> {
    let Some(body) = answer.body else { return Err(ApiError::new(Code::AnswerErased)) };
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    let mut response = (status, kind, body).into_response();
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    if let Some(Ok(location)) = answer.location.map(HeaderValue::try_from) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}
