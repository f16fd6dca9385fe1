//! API keys over the API: list and make. A key is shown once, when it is made.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::Api;
use super::auth::{KeyError, Keys};
use super::error::{ApiError, Code};
use super::extract::{Json, Params, bad_field};
use crate::schema::{ApiKey, CreateApiKey, ErrorBody, NewApiKey, Page};
use crate::store::ApiKeyRecord;

/// Longest name, characters.
const NAME_CHARS_MAX: usize = 64;

fn show(record: ApiKeyRecord) -> ApiKey {
    ApiKey::new(record.id, record.name, record.prefix, record.created_at)
}

/// List API keys
///
/// Without the keys themselves, and without the one from the environment.
#[utoipa::path(get, path = "/v1/api-keys", operation_id = "list_api_keys", tag = "service", responses(
    (status = 200, description = "All keys on one page", body = Page<ApiKey>),
))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    params: Params,
) -> Result<axum::Json<Page<ApiKey>>, ApiError> {
    params.only(&[])?;
    let items: Vec<ApiKey> = api.store.keys().await?.into_iter().map(show).collect();
    let total = items.len() as u64;
    let page_size = u32::try_from(super::auth::KEYS_MAX).unwrap_or(u32::MAX);
    Ok(axum::Json(Page { items, total, page: 1, page_size }))
}

/// Make an API key
///
/// The answer is the only place that shows the key.
#[utoipa::path(post, path = "/v1/api-keys", operation_id = "create_api_key", tag = "service",
    request_body(content = CreateApiKey, example = json!({"name": "dashboard"})),
    responses(
        (status = 201, description = "Made", body = NewApiKey),
        (status = 422, description = "The name is wrong", body = ErrorBody),
    ))]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Json(body): Json<CreateApiKey>,
) -> Result<(StatusCode, axum::Json<NewApiKey>), ApiError> {
    let name = body.name.trim();
    let length = name.chars().count();
    if length == 0 || length > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        let message = format!("`name` has 1 to {NAME_CHARS_MAX} printable characters");
        return Err(bad_field("name", message));
    }
    let random = api.entropy(|entropy| entropy.hex(Keys::random_bytes()));
    let (record, key) = api.keys.create(name, random).await.map_err(|error| match error {
        KeyError::Store(error) => error.into(),
        KeyError::TooMany => ApiError::because(Code::InvalidValue, KeyError::TooMany.to_string()),
        KeyError::Weak => ApiError::new(Code::Internal),
    })?;
    let made = NewApiKey { api_key: show(record), key: key.expose().to_owned() };
    Ok((StatusCode::CREATED, axum::Json(made)))
}
