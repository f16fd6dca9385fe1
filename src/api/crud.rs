//! What every resource's handlers share: pages, merge patches, versions, refusals.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::Api;
use super::access::Principal;
use super::error::{ApiError, Code};
use super::extract::{Params, from_object};
use super::paging::Paging;
use crate::catalog::{Catalog, CatalogError, Kind, Row, SecretChange, patch, secret_name};
use crate::schema::{Page, View};
use crate::store::Place;

impl From<CatalogError> for ApiError {
    fn from(error: CatalogError) -> Self {
        let message = error.to_string();
        match error {
            CatalogError::NotFound => Self::new(Code::ResourceNotFound).param("id"),
            CatalogError::FromConfig => Self::new(Code::ManagedByConfig),
            CatalogError::Taken => Self::because(Code::AlreadyExists, message).param("number"),
            CatalogError::Stale => Self::new(Code::VersionConflict)
                .hint("read it again, then repeat the change with its new version"),
            CatalogError::Invalid(wrong) => {
                Self::because(Code::InvalidValue, format!("`{}`: {}", wrong.field, wrong.message))
                    .param(wrong.field)
            }
            CatalogError::TooMany => Self::because(Code::InvalidValue, message),
            CatalogError::ReadOnly => Self::because(Code::StoreUnavailable, message),
            CatalogError::Store(error) => error.into(),
            CatalogError::Seal(error) => {
                tracing::error!(
                    error = %crate::telemetry::chain::chain(&error),
                    "failed to keep a secret"
                );
                Self::new(Code::Internal)
            }
        }
    }
}

/// A list: what was made over the API newest first, then what stands in the configuration by its key.
pub(super) async fn list<T: Kind>(
    api: &Api,
    principal: &Principal,
    params: &Params,
) -> Result<axum::Json<Page<View<T>>>, ApiError> {
    params.only_list(&[])?;
    let paging = Paging::read(api, principal, params, T::KIND).await?;
    let rows = catalog(api).snapshot().rows::<T>(&principal.organization);
    let place =
        |_, row: &Arc<Row<T>>| Place { sort_us: i64::from(row.from_config), id: row.id.clone() };
    let is_after =
        |_, row: &Arc<Row<T>>, place: &Place<String>| match (row.from_config, place.sort_us != 0) {
            (false, false) => row.id < place.id,
            (true, true) => row.id > place.id,
            (from_config, _) => from_config,
        };
    Ok(paging.cut(&rows, place, is_after, |row| row.view()))
}

/// One resource, with its version as ETag.
pub(super) async fn show<T: Kind>(
    api: &Api,
    principal: &Principal,
    id: &str,
) -> Result<Response, ApiError> {
    let row = catalog(api).find::<T>(&principal.organization, id).await?;
    Ok(answer(StatusCode::OK, &*row.ok_or_else(|| not_found::<T>())?))
}

/// The refusal of an id that leads nowhere.
pub(super) fn not_found<T: Kind>() -> ApiError {
    ApiError::because(Code::ResourceNotFound, format!("there is no such {}", T::NAME)).param("id")
}

/// A new resource.
pub(super) async fn create<T: Kind>(
    api: &Api,
    principal: &Principal,
    path: &str,
    doc: T,
) -> Result<Response, ApiError> {
    let row = catalog(api).create(&principal.organization, doc).await?;
    Ok(located(answer(StatusCode::CREATED, &*row), &format!("{path}/{}", row.id)))
}

/// An answer with the path of what it is about.
pub(super) fn located(mut response: Response, path: &str) -> Response {
    if let Ok(location) = HeaderValue::try_from(path) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// A change: a JSON merge patch (RFC 7396). `If-Match`, or `version` in the body, guards against lost updates.
pub(super) async fn update<T: Kind>(
    api: &Api,
    principal: &Principal,
    id: &str,
    headers: &HeaderMap,
    mut change: Map<String, Value>,
) -> Result<Response, ApiError> {
    let expected = expected(headers, &mut change)?;
    let name = secret_name::<T>();
    let secret = if !name.is_empty() && change.contains_key(name) {
        SecretChange::Set
    } else {
        SecretChange::Keep
    };
    let merge = |doc: &T| -> Result<(T, SecretChange), ApiError> {
        let mut target = patch::object(doc);
        patch::merge(&mut target, change);
        Ok((from_object(target)?, secret))
    };
    let row = catalog(api).update(&principal.organization, id, expected, merge).await?;
    Ok(answer(StatusCode::OK, &*row))
}

fn expected(headers: &HeaderMap, change: &mut Map<String, Value>) -> Result<Option<u32>, ApiError> {
    let in_body = match change.remove("version") {
        None => None,
        Some(value) => {
            let version = value.as_u64().and_then(|version| u32::try_from(version).ok());
            let wrong = "`version` is the whole number that the resource showed";
            Some(version.ok_or_else(|| super::extract::bad_field("version", wrong))?)
        }
    };
    let Some(tag) = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok()) else {
        return Ok(in_body);
    };
    if tag.trim() == "*" {
        return Ok(in_body);
    }
    // A tag of ours is a version; any other cannot match.
    let version = tag.trim().trim_start_matches("W/").trim_matches('"').parse().unwrap_or(0);
    Ok(Some(version))
}

/// A resource with its ETag.
pub(super) fn answer<T: Kind>(status: StatusCode, row: &Row<T>) -> Response {
    let mut response = (status, axum::Json(row.view())).into_response();
    if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", row.version)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Every resource.
pub(super) fn catalog(api: &Api) -> &Catalog {
    api.switchboard.directory()
}
