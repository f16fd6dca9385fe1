//! What every resource's handlers share: pages, merge patches, versions, refusals.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::Api;
use super::access::Principal;
use super::error::{ApiError, Code};
use super::extract::{Params, bad_param, from_object};
use crate::catalog::{Catalog, CatalogError, Kind, Row, SecretChange, patch, secret_name};
use crate::schema::{Page, View};
use crate::store::PageRequest;

/// Query parameters of every list.
pub(super) const PAGE_PARAMS: &[&str] = &["page", "page_size"];

/// `page` and `page_size`, for the OpenAPI document.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the fields are read by their names, and this documents them")]
pub(super) struct PageParams {
    /// Which page, from 1.
    #[param(minimum = 1, default = 1)]
    page: Option<u32>,
    /// Rows of a page. More than 100 is an error, not cut down.
    #[param(minimum = 1, maximum = 100, default = 20)]
    page_size: Option<u32>,
}

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

/// Which page a request wants.
pub(super) fn page(params: &Params) -> Result<PageRequest, ApiError> {
    PageRequest::new(params.number("page")?, params.number("page_size")?)
        .map_err(|_| bad_param("page_size", "`page` is from 1, `page_size` 1 to 100"))
}

/// A page of rows that are all in memory.
pub(super) fn paged<R, T>(rows: &[R], page: PageRequest, show: impl Fn(&R) -> T) -> Page<T> {
    let skip = usize::try_from(page.offset()).unwrap_or(usize::MAX);
    let take = page.page_size() as usize;
    Page {
        items: rows.iter().skip(skip).take(take).map(show).collect(),
        total: rows.len() as u64,
        page: page.page(),
        page_size: page.page_size(),
    }
}

/// A list.
pub(super) fn list<T: Kind>(
    api: &Api,
    principal: &Principal,
    params: &Params,
    wanted: impl Fn(&Row<T>) -> bool,
) -> Result<axum::Json<Page<View<T>>>, ApiError> {
    let mut rows = catalog(api).snapshot().rows::<T>(&principal.organization);
    rows.retain(|row| wanted(row));
    Ok(axum::Json(paged(&rows, page(params)?, |row| row.view())))
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
    let mut response = answer(StatusCode::CREATED, &*row);
    if let Ok(location) = HeaderValue::try_from(format!("{path}/{}", row.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
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
