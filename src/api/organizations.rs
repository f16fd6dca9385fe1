//! Organizations: one's own, and for the operator all of them.
//!
//! What can be changed is a resource of kind `organization`; the default organization has none until it is
//! changed first. Counters are counted when they are asked for.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::Api;
use super::access::Principal;
use super::auth::KeyPlan;
use super::checks::{check_object, check_range};
use super::error::{ApiError, Code};
use super::extract::{Json, Params, bad_field};
use super::keys::{check_name, make};
use crate::catalog::patch;
use crate::net::clock;
use crate::schema::organization::{ORGANIZATION_KIND, OrganizationCounters, OrganizationDoc};
use crate::schema::{
    CreateOrganization, ErrorBody, NewOrganization, Organization, Page, PatchOrganization, time,
};
use crate::store::{PageRequest, Resource, ResourceQuery, StoreError};
use crate::types::{OrganizationId, id::resource_id};
use crate::usage::accounts::budget_of;
use crate::webhook::keyring::OldSecret;
use crate::webhook::sign::SigningSecret;

/// Most organizations of a server.
const ORGANIZATIONS_MAX: usize = 1_000;
/// Longest retention, days.
const DAYS_MAX: u32 = 36_500;
/// Times a change is tried again that met another one.
const RETRIES: usize = 3;

async fn load(api: &Api, id: &OrganizationId) -> Result<Resource, ApiError> {
    if let Some(found) = api.store.resource(ORGANIZATION_KIND, id, id.as_str()).await? {
        return Ok(found);
    }
    let doc = OrganizationDoc { name: "default".to_owned(), ..OrganizationDoc::default() };
    Ok(fresh(id, &doc))
}

fn fresh(id: &OrganizationId, doc: &OrganizationDoc) -> Resource {
    let now = clock::wall();
    Resource {
        kind: ORGANIZATION_KIND,
        id: id.to_string(),
        organization_id: id.clone(),
        unique_key: None,
        version: 0,
        archived: false,
        created_at: now,
        updated_at: now,
        doc: serde_json::to_value(doc).unwrap_or_default(),
        sealed: None,
    }
}

fn doc_of(resource: &Resource) -> OrganizationDoc {
    serde_json::from_value(resource.doc.clone()).unwrap_or_default()
}

async fn show(api: &Api, resource: &Resource) -> Result<Organization, ApiError> {
    let doc = doc_of(resource);
    let id = OrganizationId::new(resource.id.clone());
    let now = clock::wall().to_zoned(jiff::tz::TimeZone::UTC);
    let month = now.date().first_of_month().to_zoned(jiff::tz::TimeZone::UTC);
    let since = month.map_or_else(|_| clock::wall(), |month| month.timestamp());
    let count = async |kind: &'static str| -> Result<u64, ApiError> {
        let page = PageRequest::new(None, Some(1)).map_err(|_| ApiError::new(Code::Internal))?;
        let query = ResourceQuery {
            kind,
            organization_id: id.clone(),
            archived: false,
            equal: Vec::new(),
            part: page.into(),
        };
        Ok(api.store.list_resources(&query).await?.total)
    };
    let operator = id == OrganizationId::default();
    let configured =
        if operator { api.switchboard.directory().configured_agents() as u64 } else { 0 };
    let counters = OrganizationCounters {
        active_calls: api.store.active_calls(&id).await?,
        active_agents: configured.saturating_add(count("agent").await?),
        active_numbers: count("number").await?,
        monthly_usage_minutes: api.store.duration_since(&id, since).await?.div_ceil(60_000),
    };
    Ok(Organization {
        id: resource.id.clone(),
        name: doc.name,
        metadata: doc.metadata,
        budget: doc.budget,
        has_default_webhook_secret: api.hooks.keyring.has_organization(&id).await?,
        retention_days: doc.retention_days,
        recording_retention_days: doc.recording_retention_days,
        counters,
        created_at: time(resource.created_at),
        updated_at: time(resource.updated_at),
    })
}

/// Show the organization
///
/// The one the key belongs to, with its counters.
#[utoipa::path(get, path = "/v1/organization", operation_id = "get_organization", tag = "organization", responses(
    (status = 200, description = "The organization", body = Organization),
))]
pub(super) async fn one(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<Organization>, ApiError> {
    params.only(&[])?;
    let resource = load(&api, &principal.organization).await?;
    Ok(axum::Json(show(&api, &resource).await?))
}

/// Change the organization
///
/// A JSON merge patch: what is left out stays, null clears.
#[utoipa::path(patch, path = "/v1/organization", operation_id = "patch_organization", tag = "organization",
    request_body(content = PatchOrganization, example = json!({
        "name": "Restaurant", "retention_days": 90, "recording_retention_days": 30
    })),
    responses(
        (status = 200, description = "As it is now", body = Organization),
        (status = 422, description = "A field is wrong; `param` names it", body = ErrorBody),
    ))]
pub(super) async fn patch(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Json(body): Json<PatchOrganization>,
) -> Result<axum::Json<Organization>, ApiError> {
    let secret = match &body.default_webhook_secret {
        Some(Some(secret)) => Some(Some(check_secret(secret)?)),
        Some(None) => Some(None),
        None => None,
    };
    for _ in 0..RETRIES {
        let mut resource = load(&api, &principal.organization).await?;
        let mut doc = doc_of(&resource);
        apply(&mut doc, &body)?;
        resource.doc = serde_json::to_value(&doc).map_err(StoreError::Decode)?;
        resource.version = resource.version.saturating_add(1);
        resource.updated_at = clock::wall();
        let written = match resource.version {
            1 => api.store.insert_resource(&resource).await,
            _ => api.store.update_resource(&resource).await,
        };
        match written {
            Ok(()) => {
                set_secret(&api, &principal.organization, secret).await?;
                api.accounts.set_budget(&principal.organization, budget_of(&doc));
                return Ok(axum::Json(show(&api, &resource).await?));
            }
            Err(StoreError::Stale | StoreError::Taken) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::new(Code::StoreUnavailable))
}

/// A secret as webhooks sign with it.
fn check_secret(secret: &str) -> Result<SigningSecret, ApiError> {
    SigningSecret::parse(secret).map_err(|_| {
        let message = "`default_webhook_secret` is `whsec_` and 24 to 64 octets in Base64";
        bad_field("default_webhook_secret", message)
    })
}

/// The keyring keeps secrets sealed; a former one signs beside a new one for a day.
async fn set_secret(
    api: &Api,
    organization: &OrganizationId,
    change: Option<Option<SigningSecret>>,
) -> Result<(), ApiError> {
    let keyring = &api.hooks.keyring;
    match change {
        Some(Some(secret)) => {
            keyring.set_organization(organization, secret, OldSecret::Overlaps).await?;
        }
        Some(None) => keyring.clear_organization(organization).await?,
        None => {}
    }
    Ok(())
}

fn apply(doc: &mut OrganizationDoc, body: &PatchOrganization) -> Result<(), ApiError> {
    if let Some(name) = &body.name {
        doc.name = check_name(name)?;
    }
    if let Some(change) = &body.metadata {
        patch::merge(&mut doc.metadata, change.clone());
        check_object("metadata", &doc.metadata)?;
    }
    if let Some(budget) = &body.budget {
        let code = budget.as_ref().and_then(|budget| budget.currency.as_deref());
        if code.is_some_and(|code| {
            code.len() != 3 || !code.bytes().all(|octet| octet.is_ascii_uppercase())
        }) {
            return Err(bad_field("budget.currency", "`budget.currency` is an ISO 4217 code"));
        }
        doc.budget = budget.clone();
    }
    if let Some(days) = body.retention_days {
        check_range("retention_days", days, 1, DAYS_MAX)?;
        doc.retention_days = days;
    }
    if let Some(days) = body.recording_retention_days {
        check_range("recording_retention_days", days, 1, DAYS_MAX)?;
        doc.recording_retention_days = days;
    }
    Ok(())
}

fn operator(principal: &Principal) -> Result<(), ApiError> {
    if principal.organization == OrganizationId::default() {
        return Ok(());
    }
    Err(ApiError::new(Code::NotOperator))
}

/// Make an organization
///
/// For the operator: a key of the default organization. The answer is the only place that shows the first key.
#[utoipa::path(post, path = "/v1/organizations", operation_id = "create_organization", tag = "organization",
    request_body(content = CreateOrganization, example = json!({"name": "Second Restaurant"})),
    responses(
        (status = 201, description = "Made", body = NewOrganization),
        (status = 403, description = "The key is not the operator's", body = ErrorBody),
        (status = 422, description = "A field is wrong; `param` names it", body = ErrorBody),
    ))]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Json(body): Json<CreateOrganization>,
) -> Result<(StatusCode, axum::Json<NewOrganization>), ApiError> {
    operator(&principal)?;
    let name = check_name(&body.name)?;
    check_object("metadata", &body.metadata)?;
    if api.store.all_resources(ORGANIZATION_KIND).await?.len() >= ORGANIZATIONS_MAX {
        let message = format!("there are {ORGANIZATIONS_MAX} organizations already");
        return Err(ApiError::because(Code::TooManyKeys, message));
    }
    let id = api.entropy(|entropy| resource_id(clock::unix_ms(), entropy));
    let id = OrganizationId::new(id);
    let doc = OrganizationDoc { name, metadata: body.metadata, ..OrganizationDoc::default() };
    let mut resource = fresh(&id, &doc);
    resource.version = 1;
    api.store.insert_resource(&resource).await?;
    let api_key = make(&api, KeyPlan::whole("first key", id)).await?;
    let organization = show(&api, &resource).await?;
    Ok((StatusCode::CREATED, axum::Json(NewOrganization { organization, api_key })))
}

/// List organizations
///
/// For the operator: a key of the default organization.
#[utoipa::path(get, path = "/v1/organizations", operation_id = "list_organizations", tag = "organization", responses(
    (status = 200, description = "All of them on one page", body = Page<Organization>),
    (status = 403, description = "The key is not the operator's", body = ErrorBody),
))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<Page<Organization>>, ApiError> {
    params.only(&[])?;
    operator(&principal)?;
    let mut stored = api.store.all_resources(ORGANIZATION_KIND).await?;
    if !stored.iter().any(|one| one.id == OrganizationId::DEFAULT) {
        stored.insert(0, load(&api, &OrganizationId::default()).await?);
    }
    let mut items = Vec::with_capacity(stored.len());
    for resource in &stored {
        items.push(show(&api, resource).await?);
    }
    let total = items.len() as u64;
    let page_size = u32::try_from(ORGANIZATIONS_MAX).unwrap_or(u32::MAX);
    Ok(axum::Json(Page { items, total, page: 1, page_size, next_cursor: None }))
}
