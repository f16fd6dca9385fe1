//! Speech and language services, their voices, and keys that an organization brings along.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::Api;
use super::access::Principal;
use super::crud;
use super::error::ApiError;
use super::extract::{Json, Params, PathName};
use super::paging::{PageParams, Paging};
use crate::catalog::{Row, voices as lists};
use crate::net::clock;
use crate::schema::provider::{CredentialTest, Provider, Voice};
use crate::schema::secret::WriteOnly;
use crate::schema::{ErrorBody, Page, ProviderCredential, View};

/// Characters of a key that are shown.
const SHOWN: usize = 4;

/// List voices
///
/// Of the providers that can be used. Providers have more: any name of theirs can be written into an agent.
#[utoipa::path(get, path = "/v1/voices", operation_id = "list_voices", tag = "providers",
    params(PageParams,
        ("provider" = Option<String>, Query, description = "Only of this provider"),
        ("language" = Option<String>, Query, description = "Only of this language; several speak all")),
    responses((status = 200, description = "Voices", body = Page<Voice>)))]
pub(super) async fn voices(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<Page<Voice>>, ApiError> {
    params.only_list(&["provider", "language"])?;
    let (provider, language) = (params.one("provider")?, params.one("language")?);
    let mut all = lists::voices(&crud::catalog(&api).snapshot(), &principal.organization);
    all.retain(|voice| {
        let speaks = |wanted: &str| {
            let primary = wanted.split('-').next().unwrap_or(wanted);
            let of_voice = voice.language.as_deref();
            of_voice.is_none_or(|tag| tag.split('-').next() == Some(primary))
        };
        provider.is_none_or(|name| voice.provider == name) && language.is_none_or(speaks)
    });
    let paging = Paging::read(&api, &principal, &params, "voice").await?;
    Ok(paging.cut_fixed(&all))
}

/// List providers
///
/// With their models, and whether there is a key for them.
#[utoipa::path(get, path = "/v1/providers", operation_id = "list_providers", tag = "providers",
    params(PageParams), responses((status = 200, description = "Providers", body = Page<Provider>)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<Page<Provider>>, ApiError> {
    params.only_list(&[])?;
    let all = lists::providers(&crud::catalog(&api).snapshot(), &principal.organization);
    let paging = Paging::read(&api, &principal, &params, "provider").await?;
    Ok(paging.cut_fixed(&all))
}

/// List provider credentials
///
/// Without the keys.
#[utoipa::path(get, path = "/v1/provider-credentials", operation_id = "list_provider_credentials",
    tag = "providers", params(PageParams), responses(
        (status = 200, description = "Newest first", body = Page<View<ProviderCredential>>),
    ))]
pub(super) async fn credentials(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<Page<View<ProviderCredential>>>, ApiError> {
    crud::list::<ProviderCredential>(&api, &principal, &params).await
}

/// Add a provider credential
///
/// Your agents use the key instead of the server's from their next call on. It is sealed and never shown again.
#[utoipa::path(post, path = "/v1/provider-credentials", operation_id = "create_provider_credential",
    tag = "providers",
    request_body(content = ProviderCredential, example = json!({
        "provider": "openai", "label": "Production", "api_key": "sk-…", "is_default": true})),
    responses(
        (status = 201, description = "Added", body = View<ProviderCredential>),
        (status = 422, description = "A field is wrong", body = ErrorBody),
    ))]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Json(body): Json<ProviderCredential>,
) -> Result<Response, ApiError> {
    crud::create(&api, &principal, "/v1/provider-credentials", masked(body)).await
}

/// What can be shown of a key, put beside it.
fn masked(mut credential: ProviderCredential) -> ProviderCredential {
    credential.masked = match &credential.api_key {
        WriteOnly::Text(key) if key.expose().chars().count() >= SHOWN * 4 => {
            let characters: Vec<char> = key.expose().chars().collect();
            let last = characters.len().saturating_sub(SHOWN);
            characters.get(last..).unwrap_or_default().iter().collect()
        }
        WriteOnly::Text(_) => "set".to_owned(),
        WriteOnly::None | WriteOnly::Env(_) | WriteOnly::File(_) => String::new(),
    };
    credential
}

/// A credential by its id or its provider's name.
fn find(
    api: &Api,
    principal: &Principal,
    name: &str,
) -> Result<Arc<Row<ProviderCredential>>, ApiError> {
    let rows = crud::catalog(api).snapshot().rows::<ProviderCredential>(&principal.organization);
    let by_id = rows.iter().find(|row| row.id == name);
    let by_name = rows.iter().find(|row| row.doc.provider == name);
    by_id.or(by_name).cloned().ok_or_else(crud::not_found::<ProviderCredential>)
}

/// Get a provider credential
#[utoipa::path(get, path = "/v1/provider-credentials/{provider}",
    operation_id = "get_provider_credential", tag = "providers",
    params(("provider" = String, Path, description = "Its id, or the provider's name")),
    responses(
        (status = 200, description = "The credential, without the key", body = View<ProviderCredential>),
        (status = 404, description = "There is none", body = ErrorBody),
    ))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    principal: Principal,
    path: PathName,
) -> Result<Response, ApiError> {
    Ok(crud::answer(StatusCode::OK, &*find(&api, &principal, &path.id)?))
}

/// Delete a provider credential
///
/// By the provider's name: the newest of its credentials.
#[utoipa::path(delete, path = "/v1/provider-credentials/{provider}",
    operation_id = "delete_provider_credential", tag = "providers",
    params(("provider" = String, Path, description = "Its id, or the provider's name")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "There is none", body = ErrorBody),
    ))]
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    principal: Principal,
    path: PathName,
) -> Result<StatusCode, ApiError> {
    let row = find(&api, &principal, &path.id)?;
    crud::catalog(&api).remove::<ProviderCredential>(&principal.organization, &row.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Test a provider credential
///
/// Asks the provider something that costs nothing and needs the key.
#[utoipa::path(post, path = "/v1/provider-credentials/{provider}/test",
    operation_id = "test_provider_credential", tag = "providers",
    params(("provider" = String, Path, description = "Its id, or the provider's name")),
    responses(
        (status = 200, description = "What the provider said", body = CredentialTest),
        (status = 404, description = "There is none", body = ErrorBody),
    ))]
pub(super) async fn test(
    State(api): State<Arc<Api>>,
    principal: Principal,
    path: PathName,
) -> Result<axum::Json<CredentialTest>, ApiError> {
    let row = find(&api, &principal, &path.id)?;
    let service = crud::catalog(&api).service_of(&row);
    let service = service.ok_or_else(crud::not_found::<ProviderCredential>)?;
    let start = clock::now();
    let answer = crate::providers::probe::probe(&service.config, &service.key).await;
    let took = clock::now().saturating_duration_since(start).as_millis();
    let duration_ms = u64::try_from(took).unwrap_or(u64::MAX);
    let (status, error) = match answer {
        Ok(status) if (200..300).contains(&status) => (Some(status), None),
        Ok(401 | 403) => (None, Some("the provider refuses the key".to_owned())),
        Ok(status) => (Some(status), Some(format!("the provider answered {status}"))),
        Err(error) => (None, Some(error)),
    };
    Ok(axum::Json(CredentialTest { ok: error.is_none(), status, error, duration_ms }))
}

/// List provider credentials (former path)
#[utoipa::path(get, path = "/v1/byok", operation_id = "list_byok", tag = "providers",
    params(PageParams), responses(
        (status = 200, description = "As `/v1/provider-credentials`", body = Page<View<ProviderCredential>>),
    ))]
#[deprecated = "the path is `/v1/provider-credentials`"]
pub(super) async fn byok(
    state: State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<Page<View<ProviderCredential>>>, ApiError> {
    credentials(state, principal, params).await
}

/// Add a provider credential (former path)
#[utoipa::path(post, path = "/v1/byok", operation_id = "create_byok", tag = "providers",
    request_body(content = ProviderCredential, example = json!({"provider": "openai", "api_key": "sk-…"})),
    responses((status = 201, description = "Added", body = View<ProviderCredential>)))]
#[deprecated = "the path is `/v1/provider-credentials`"]
pub(super) async fn byok_create(
    state: State<Arc<Api>>,
    principal: Principal,
    body: Json<ProviderCredential>,
) -> Result<Response, ApiError> {
    create(state, principal, body).await
}

/// Delete a provider credential (former path)
#[utoipa::path(delete, path = "/v1/byok/{provider}", operation_id = "delete_byok", tag = "providers",
    params(("provider" = String, Path, description = "Its id, or the provider's name")),
    responses((status = 204, description = "Deleted")))]
#[deprecated = "the path is `/v1/provider-credentials/{provider}`"]
pub(super) async fn byok_delete(
    state: State<Arc<Api>>,
    principal: Principal,
    path: PathName,
) -> Result<StatusCode, ApiError> {
    delete(state, principal, path).await
}

/// List providers (former path)
#[utoipa::path(get, path = "/v1/byok/config", operation_id = "list_byok_config", tag = "providers",
    params(PageParams),
    responses((status = 200, description = "As `/v1/providers`", body = Page<Provider>)))]
#[deprecated = "the path is `/v1/providers`"]
pub(super) async fn byok_config(
    state: State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<Page<Provider>>, ApiError> {
    list(state, principal, params).await
}
