//! API keys over the API: list, make, take back. A key is shown once, when it is made.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::Api;
use super::access::Principal;
use super::auth::{KeyError, KeyPlan, Keys};
use super::error::{ApiError, Code};
use super::extract::{Json, Name, Params, bad_field};
use crate::net::clock;
use crate::schema::{ApiKey, CreateApiKey, ErrorBody, NewApiKey, Page, time};
use crate::store::ApiKeyRecord;
use crate::types::{Scope, Secret};

/// Longest name, characters.
pub(super) const NAME_CHARS_MAX: usize = 64;
/// Most requests a minute that can be set.
const RPM_MAX: u32 = 1_000_000;
/// Most requests a day that can be set.
const RPD_MAX: u32 = 100_000_000;

pub(super) fn show(record: ApiKeyRecord, used: Option<jiff::Timestamp>) -> ApiKey {
    ApiKey {
        id: record.id,
        name: record.name,
        prefix: record.prefix,
        organization_id: record.organization_id.to_string(),
        scopes: record.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
        rate_limit_rpm: record.rate_limit_rpm,
        rate_limit_rpd: record.rate_limit_rpd,
        last_used_at: used.map(time),
        expires_at: record.expires_at.map(time),
        revoked_at: record.revoked_at.map(time),
        created_at: time(record.created_at),
    }
}

/// List API keys
///
/// Those of the organization, without the keys themselves, and without the one from the environment.
#[utoipa::path(get, path = "/v1/api-keys", operation_id = "list_api_keys", tag = "organization", responses(
    (status = 200, description = "All keys on one page", body = Page<ApiKey>),
))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<Page<ApiKey>>, ApiError> {
    params.only(&[])?;
    let uses: HashMap<String, jiff::Timestamp> = api.store.key_uses().await?.into_iter().collect();
    let keys = api.store.keys().await?;
    let ours = keys.into_iter().filter(|key| key.organization_id == principal.organization);
    let items: Vec<ApiKey> = ours
        .map(|key| {
            let used = uses.get(&key.id).copied();
            show(key, used)
        })
        .collect();
    let total = items.len() as u64;
    let page_size = u32::try_from(super::auth::KEYS_MAX).unwrap_or(u32::MAX);
    Ok(axum::Json(Page { items, total, page: 1, page_size, next_cursor: None }))
}

/// Make an API key
///
/// The answer is the only place that shows the key. A key cannot make one that may do more than itself.
#[utoipa::path(post, path = "/v1/api-keys", operation_id = "create_api_key", tag = "organization",
    request_body(content = CreateApiKey, example = json!({
        "name": "dashboard", "scopes": ["calls:read", "media"], "rate_limit_rpm": 600
    })),
    responses(
        (status = 201, description = "Made", body = NewApiKey),
        (status = 403, description = "It would have a scope that the key used here has not", body = ErrorBody),
        (status = 422, description = "A field is wrong; `param` names it", body = ErrorBody),
        (status = 429, description = "There are too many keys", body = ErrorBody),
    ))]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Json(body): Json<CreateApiKey>,
) -> Result<(StatusCode, axum::Json<NewApiKey>), ApiError> {
    let name = check_name(&body.name)?;
    let scopes = match &body.scopes {
        None => principal.scopes.clone(),
        Some(words) => read_scopes(words)?,
    };
    if let Some(scope) = scopes.iter().find(|scope| !principal.scopes.contains(scope)) {
        let message = format!("the key used here has not the scope `{}`", scope.as_str());
        return Err(ApiError::because(Code::InsufficientScope, message).param("scopes"));
    }
    super::checks::check_range("rate_limit_rpm", body.rate_limit_rpm, 1, RPM_MAX)?;
    super::checks::check_range("rate_limit_rpd", body.rate_limit_rpd, 1, RPD_MAX)?;
    let plan = KeyPlan {
        name,
        organization: principal.organization,
        scopes,
        expires_at: body.expires_at.as_deref().map(future).transpose()?,
        rate_limit_rpm: body.rate_limit_rpm,
        rate_limit_rpd: body.rate_limit_rpd,
    };
    let made = make(&api, plan).await?;
    Ok((StatusCode::CREATED, axum::Json(made)))
}

/// Take an API key back
///
/// It works no more from the moment of the answer, and event streams opened with it end. The key stays in the
/// list, with `revoked_at`.
#[utoipa::path(delete, path = "/v1/api-keys/{id}", operation_id = "revoke_api_key", tag = "organization",
    params(("id" = String, Path, description = "Identifier of the key")),
    responses(
        (status = 200, description = "Taken back", body = ApiKey),
        (status = 404, description = "There is no such key", body = ErrorBody),
    ))]
pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Name(id): Name,
    params: Params,
) -> Result<axum::Json<ApiKey>, ApiError> {
    params.only(&[])?;
    let revoked = api.keys.revoke(&principal.organization, &id).await.map_err(refusal)?;
    let Some(record) = revoked else {
        return Err(ApiError::new(Code::ApiKeyNotFound).param("id"));
    };
    tracing::info!(key.id = %record.id, "an API key was taken back");
    Ok(axum::Json(show(record, None)))
}

/// Makes a key and shows it, once.
pub(super) async fn make(api: &Api, plan: KeyPlan) -> Result<NewApiKey, ApiError> {
    let random = api.entropy(|entropy| entropy.hex(Keys::random_bytes()));
    let (record, key): (_, Secret) = api.keys.create(plan, random).await.map_err(refusal)?;
    Ok(NewApiKey { api_key: show(record, None), key: key.expose().to_owned() })
}

fn refusal(error: KeyError) -> ApiError {
    match error {
        KeyError::Store(error) => error.into(),
        KeyError::TooMany => ApiError::because(Code::TooManyKeys, KeyError::TooMany.to_string()),
        KeyError::Weak => ApiError::new(Code::Internal),
    }
}

/// A name that a person can read.
pub(super) fn check_name(name: &str) -> Result<String, ApiError> {
    let name = name.trim();
    let length = name.chars().count();
    if length == 0 || length > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        let message = format!("`name` has 1 to {NAME_CHARS_MAX} printable characters");
        return Err(bad_field("name", message));
    }
    Ok(name.to_owned())
}

fn read_scopes(words: &[String]) -> Result<Vec<Scope>, ApiError> {
    let known: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    let wrong = || bad_field("scopes", format!("the scopes are `{}`", known.join("`, `")));
    if words.is_empty() {
        return Err(wrong());
    }
    let mut scopes = Vec::new();
    for word in words {
        let found = Scope::ALL.into_iter().find(|scope| scope.as_str() == word);
        let scope = found.ok_or_else(wrong)?;
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    Ok(scopes)
}

fn future(text: &str) -> Result<jiff::Timestamp, ApiError> {
    let at: Option<jiff::Timestamp> = text.parse().ok();
    at.filter(|at| *at > clock::wall())
        .ok_or_else(|| bad_field("expires_at", "`expires_at` is an RFC 3339 time in the future"))
}
