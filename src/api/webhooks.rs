//! Webhooks over the API: endpoints, their secrets, and what was delivered.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde_json::{Map, Value};
use utoipa::IntoParams;

use super::Api;
use super::access::Principal;
use super::error::{ApiError, Code};
use super::extract::{Json, JsonObject, Params, PathId, bad_field, bad_param, from_object};
use super::paging::{PageParams, Paging};
use crate::net::clock;
use crate::schema::webhook::{
    NewWebhookEndpoint, RotateSecret, ShownSecret, WebhookDelivery, WebhookDeliveryList,
    WebhookEndpoint, WebhookEndpointInput,
};
use crate::schema::{ErrorBody, Page, time};
use crate::store::delivery::DELIVERIES_MAX;
use crate::store::{Delivery, DeliveryQuery, DeliveryStatus};
use crate::types::{CallId, OutboxKind};
use crate::webhook::EndpointError;
use crate::webhook::keyring::OldSecret;

/// Deliveries of an answer unless the request says otherwise.
const LIMIT: u32 = 50;

impl From<EndpointError> for ApiError {
    fn from(error: EndpointError) -> Self {
        match error {
            EndpointError::NotFound => Self::new(Code::WebhookEndpointNotFound).param("id"),
            EndpointError::TooMany => Self::because(Code::InvalidValue, error.to_string()),
            EndpointError::Invalid { field, message } => {
                bad_field(field, format!("`{field}`: {message}"))
            }
            EndpointError::Store(error) => error.into(),
            EndpointError::Keyring(_) | EndpointError::Decode(_) => {
                tracing::error!(
                    error = %crate::telemetry::chain::chain(&error),
                    "failed to use a webhook endpoint for a request"
                );
                Self::new(Code::Internal)
            }
        }
    }
}

/// The `{id}` of a path, as it stands there.
pub(super) struct Id(String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let unknown = || ApiError::new(Code::RouteNotFound);
        let params =
            RawPathParams::from_request_parts(parts, state).await.map_err(|_| unknown())?;
        let id = params.iter().find(|(name, _)| *name == "id").map(|(_, value)| value);
        id.map(|id| Self(id.to_owned())).ok_or_else(unknown)
    }
}

/// List webhook endpoints
///
/// Newest first, without their secrets.
#[utoipa::path(get, path = "/v1/webhook-endpoints", operation_id = "list_webhook_endpoints", tag = "webhooks",
    params(PageParams),
    responses((status = 200, description = "One page", body = Page<WebhookEndpoint>)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<Page<WebhookEndpoint>>, ApiError> {
    params.only_list(&[])?;
    let paging = Paging::read(&api, &principal, &params, "webhook-endpoint").await?;
    let part = paging.part();
    let (items, total, next) = api.hooks.endpoints.list(&principal.organization, part).await?;
    Ok(paging.answer(items, total, next))
}

/// Make a webhook endpoint
///
/// The answer is the only place that shows the signing secret.
#[utoipa::path(post, path = "/v1/webhook-endpoints", operation_id = "create_webhook_endpoint", tag = "webhooks",
    request_body(content = WebhookEndpointInput,
        example = json!({"url": "https://example.com/hooks", "enabled_events": ["call.*"]})),
    responses(
        (status = 201, description = "Made", body = NewWebhookEndpoint),
        (status = 422, description = "A field is wrong", body = ErrorBody),
    ))]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Json(body): Json<WebhookEndpointInput>,
) -> Result<(StatusCode, axum::Json<NewWebhookEndpoint>), ApiError> {
    let (endpoint, secret) = api.hooks.endpoints.create(&principal.organization, body).await?;
    let made = NewWebhookEndpoint { endpoint, signing_secret: secret.expose().to_owned() };
    Ok((StatusCode::CREATED, axum::Json(made)))
}

/// Show a webhook endpoint
#[utoipa::path(get, path = "/v1/webhook-endpoints/{id}", operation_id = "get_webhook_endpoint", tag = "webhooks",
    params(("id" = String, Path, description = "Identifier of the endpoint")),
    responses(
        (status = 200, description = "The endpoint", body = WebhookEndpoint),
        (status = 404, description = "There is no such endpoint", body = ErrorBody),
    ))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Id(id): Id,
) -> Result<axum::Json<WebhookEndpoint>, ApiError> {
    Ok(axum::Json(api.hooks.endpoints.get(&principal.organization, &id).await?.doc))
}

/// Change a webhook endpoint
///
/// JSON merge patch (RFC 7396): a field that is left out stays, null restores its default. `status` `enabled` also
/// zeroes the count of failures; `disabled` cancels what waits.
#[utoipa::path(patch, path = "/v1/webhook-endpoints/{id}", operation_id = "update_webhook_endpoint", tag = "webhooks",
    params(("id" = String, Path, description = "Identifier of the endpoint")),
    request_body(content = Object, example = json!({"status": "enabled"})),
    responses(
        (status = 200, description = "The endpoint as it is now", body = WebhookEndpoint),
        (status = 404, description = "There is no such endpoint", body = ErrorBody),
        (status = 422, description = "A field is wrong", body = ErrorBody),
    ))]
pub(super) async fn update(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Id(id): Id,
    JsonObject(patch): JsonObject,
) -> Result<axum::Json<WebhookEndpoint>, ApiError> {
    let edit = |input: WebhookEndpointInput| -> Result<WebhookEndpointInput, ApiError> {
        let Ok(Value::Object(mut fields)) = serde_json::to_value(input) else {
            return Err(ApiError::new(Code::Internal));
        };
        merge(&mut fields, &patch);
        from_object(fields)
    };
    let changed = api.hooks.endpoints.change(&principal.organization, &id, edit).await?;
    Ok(axum::Json(changed))
}

/// JSON merge patch (RFC 7396 section 2). The depth is that of a parsed body, which is limited.
fn merge(fields: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, change) in patch {
        match (fields.get_mut(name), change) {
            (_, Value::Null) => {
                fields.remove(name);
            }
            (Some(Value::Object(present)), Value::Object(change)) => merge(present, change),
            (_, Value::Object(change)) => {
                let mut made = Map::new();
                merge(&mut made, change);
                fields.insert(name.clone(), Value::Object(made));
            }
            (_, other) => {
                fields.insert(name.clone(), other.clone());
            }
        }
    }
}

/// Remove a webhook endpoint
///
/// What waits for it is canceled.
#[utoipa::path(delete, path = "/v1/webhook-endpoints/{id}", operation_id = "delete_webhook_endpoint", tag = "webhooks",
    params(("id" = String, Path, description = "Identifier of the endpoint")),
    responses(
        (status = 204, description = "Removed"),
        (status = 404, description = "There is no such endpoint", body = ErrorBody),
    ))]
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Id(id): Id,
) -> Result<StatusCode, ApiError> {
    api.hooks.endpoints.delete(&principal.organization, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give a webhook endpoint a new secret
///
/// The old one signs beside it for 24 hours, unless `expire_old` is set. The answer is the only place that shows the
/// new one.
#[utoipa::path(post, path = "/v1/webhook-endpoints/{id}/rotate-secret", operation_id = "rotate_webhook_secret",
    tag = "webhooks",
    params(("id" = String, Path, description = "Identifier of the endpoint")),
    request_body(content = RotateSecret, example = json!({"expire_old": false})),
    responses(
        (status = 200, description = "The endpoint with its new secret", body = NewWebhookEndpoint),
        (status = 404, description = "There is no such endpoint", body = ErrorBody),
    ))]
pub(super) async fn rotate_secret(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Id(id): Id,
    Json(body): Json<RotateSecret>,
) -> Result<axum::Json<NewWebhookEndpoint>, ApiError> {
    let old = if body.expire_old { OldSecret::Expires } else { OldSecret::Overlaps };
    let (endpoint, secret) = api.hooks.endpoints.rotate(&principal.organization, &id, old).await?;
    Ok(axum::Json(NewWebhookEndpoint { endpoint, signing_secret: secret.expose().to_owned() }))
}

/// Give the organization a new default webhook secret
///
/// It signs what goes to the `webhook_url` of calls and agents, and questions. The old one signs beside it for 24 hours,
/// unless `expire_old` is set. The answer is the only place that shows the new one.
#[utoipa::path(post, path = "/v1/organization/rotate-webhook-secret", operation_id = "rotate_default_webhook_secret",
    tag = "webhooks",
    request_body(content = RotateSecret, example = json!({"expire_old": false})),
    responses((status = 200, description = "The new secret", body = ShownSecret)))]
pub(super) async fn rotate_default(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Json(body): Json<RotateSecret>,
) -> Result<axum::Json<ShownSecret>, ApiError> {
    let old = if body.expire_old { OldSecret::Expires } else { OldSecret::Overlaps };
    let rotated = api.hooks.keyring.rotate_organization(&principal.organization, old).await;
    let set = rotated.map_err(EndpointError::Keyring)?;
    Ok(axum::Json(ShownSecret { signing_secret: set.current().expose().to_owned() }))
}

/// Send a `ping` to a webhook endpoint
///
/// One try, even if the endpoint is disabled; the delivery shows how it went.
#[utoipa::path(post, path = "/v1/webhook-endpoints/{id}/test", operation_id = "test_webhook_endpoint", tag = "webhooks",
    params(("id" = String, Path, description = "Identifier of the endpoint")),
    responses(
        (status = 202, description = "The delivery, which is under way", body = WebhookDelivery),
        (status = 404, description = "There is no such endpoint", body = ErrorBody),
    ))]
pub(super) async fn test(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Id(id): Id,
) -> Result<(StatusCode, axum::Json<WebhookDelivery>), ApiError> {
    let delivery = api.hooks.endpoints.ping(&principal.organization, &id).await?;
    let delivery = find(&api, &principal, &delivery).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(shown(delivery))))
}

/// Filters of deliveries.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the fields are read by their names, and this documents them")]
pub(super) struct DeliveryParams {
    /// Of an endpoint.
    endpoint_id: Option<String>,
    /// Of a call.
    call_id: Option<String>,
    /// Of an event, for example `call.completed`.
    event_type: Option<String>,
    /// `pending`, `delivered`, `exhausted` or `canceled`.
    status: Option<String>,
    /// Most rows.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// `next_cursor` of the answer before.
    cursor: Option<String>,
}

/// List webhook deliveries
///
/// Newest first, without what was sent.
#[utoipa::path(get, path = "/v1/webhook-deliveries", operation_id = "list_webhook_deliveries", tag = "webhooks",
    params(DeliveryParams),
    responses(
        (status = 200, description = "Deliveries", body = WebhookDeliveryList),
        (status = 400, description = "A parameter has a bad value", body = ErrorBody),
    ))]
pub(super) async fn deliveries(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<WebhookDeliveryList>, ApiError> {
    params.only(&["endpoint_id", "call_id", "event_type", "status", "limit", "cursor"])?;
    let call_id: Option<CallId> = match params.one("call_id")? {
        Some(text) => match text.parse() {
            Ok(id) => Some(id),
            // A malformed identifier is an unknown one, and an unknown call has no deliveries.
            Err(_) => return Ok(axum::Json(list_of(Vec::new(), 0))),
        },
        None => None,
    };
    let mut query = read_query(&principal, &params)?;
    query.call_id = call_id;
    query.endpoint_id = params.one("endpoint_id")?.map(str::to_owned);
    answer(&api, query).await
}

/// List a call's webhook deliveries
#[utoipa::path(get, path = "/v1/calls/{id}/webhook-deliveries", operation_id = "list_call_webhook_deliveries",
    tag = "webhooks",
    params(
        ("id" = String, Path, description = "Identifier of the call"),
        ("event_type" = Option<String>, Query, description = "Of an event, for example `call.completed`"),
        ("status" = Option<String>, Query, description = "`pending`, `delivered`, `exhausted` or `canceled`"),
        ("limit" = Option<u32>, Query, description = "Most rows, at most 200; 50 unless given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the answer before"),
    ),
    responses(
        (status = 200, description = "Deliveries, newest first", body = WebhookDeliveryList),
        (status = 404, description = "There is no such call", body = ErrorBody),
    ))]
pub(super) async fn of_call(
    State(api): State<Arc<Api>>,
    principal: Principal,
    PathId(id): PathId,
    params: Params,
) -> Result<axum::Json<WebhookDeliveryList>, ApiError> {
    params.only(&["event_type", "status", "limit", "cursor"])?;
    api.call(&principal, id).await?;
    let mut query = read_query(&principal, &params)?;
    query.call_id = Some(id);
    answer(&api, query).await
}

fn read_query(principal: &Principal, params: &Params) -> Result<DeliveryQuery, ApiError> {
    let limit = params.number("limit")?.unwrap_or(LIMIT);
    if !(1..=DELIVERIES_MAX).contains(&limit) {
        return Err(bad_param("limit", format!("`limit` is 1 to {DELIVERIES_MAX}")));
    }
    let status = match params.one("status")? {
        Some(word) => Some(DeliveryStatus::parse(word).ok_or_else(|| {
            let message = "`status` is `pending`, `delivered`, `exhausted` or `canceled`";
            bad_param("status", message)
        })?),
        None => None,
    };
    let event_type = params.one("event_type")?;
    if event_type.is_some_and(|name| OutboxKind::parse(name).is_none()) {
        return Err(bad_param("event_type", "`event_type` is the name of an event"));
    }
    Ok(DeliveryQuery {
        organization_id: principal.organization.clone(),
        event_type: event_type.map(str::to_owned),
        status,
        before: params.one("cursor")?.map(str::to_owned),
        limit,
        ..DeliveryQuery::default()
    })
}

async fn answer(
    api: &Api,
    query: DeliveryQuery,
) -> Result<axum::Json<WebhookDeliveryList>, ApiError> {
    let found = api.store.deliveries(&query).await?;
    Ok(axum::Json(list_of(found, query.limit)))
}

fn list_of(found: Vec<Delivery>, limit: u32) -> WebhookDeliveryList {
    let full = u32::try_from(found.len()).is_ok_and(|count| count >= limit);
    let next_cursor = found.last().filter(|_| full).map(|delivery| delivery.id.clone());
    WebhookDeliveryList { items: found.into_iter().map(shown).collect(), next_cursor }
}

/// Show a webhook delivery
///
/// With what is sent.
#[utoipa::path(get, path = "/v1/webhook-deliveries/{id}", operation_id = "get_webhook_delivery", tag = "webhooks",
    params(("id" = String, Path, description = "Identifier of the delivery")),
    responses(
        (status = 200, description = "The delivery", body = WebhookDelivery),
        (status = 404, description = "There is no such delivery", body = ErrorBody),
    ))]
pub(super) async fn show_delivery(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Id(id): Id,
) -> Result<axum::Json<WebhookDelivery>, ApiError> {
    let delivery = find(&api, &principal, &id).await?;
    let body = api.store.webhook_body(&delivery.event_id).await?;
    let mut shown = shown(delivery);
    shown.payload = body.and_then(|body| serde_json::from_str(&body).ok());
    Ok(axum::Json(shown))
}

/// Send a webhook again
///
/// At once and with a whole new round of retries: the same `webhook-id`, a new signature.
#[utoipa::path(post, path = "/v1/webhook-deliveries/{id}/redeliver", operation_id = "redeliver_webhook",
    tag = "webhooks",
    params(("id" = String, Path, description = "Identifier of the delivery")),
    responses(
        (status = 202, description = "The delivery, which is under way", body = WebhookDelivery),
        (status = 404, description = "There is no such delivery", body = ErrorBody),
        (status = 409, description = "Its endpoint is disabled or gone, or its payload is erased", body = ErrorBody),
    ))]
pub(super) async fn redeliver(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Id(id): Id,
) -> Result<(StatusCode, axum::Json<WebhookDelivery>), ApiError> {
    let delivery = find(&api, &principal, &id).await?;
    if let Some(endpoint) = &delivery.endpoint_id {
        let found = api.hooks.endpoints.get(&principal.organization, endpoint).await;
        let able = match found {
            Ok(endpoint) => endpoint.is_enabled(),
            Err(EndpointError::NotFound) => false,
            Err(error) => return Err(error.into()),
        };
        if !able {
            return Err(ApiError::new(Code::WebhookEndpointDisabled));
        }
    }
    if !api.store.redeliver(&principal.organization, &id, clock::wall()).await? {
        return Err(ApiError::new(Code::WebhookPayloadErased));
    }
    let delivery = find(&api, &principal, &id).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(shown(delivery))))
}

async fn find(api: &Api, principal: &Principal, id: &str) -> Result<Delivery, ApiError> {
    let found = api.store.delivery(&principal.organization, id).await?;
    found.ok_or_else(|| ApiError::new(Code::WebhookDeliveryNotFound).param("id"))
}

fn shown(delivery: Delivery) -> WebhookDelivery {
    WebhookDelivery {
        id: delivery.id,
        organization_id: delivery.organization_id.to_string(),
        event_id: delivery.event_id,
        event_type: delivery.event_type,
        endpoint_id: delivery.endpoint_id,
        call_id: delivery.call_id,
        order_id: delivery.order_id,
        url: delivery.url,
        status: delivery.status.as_str().to_owned(),
        attempt_count: delivery.attempt_count,
        manual_retry_count: delivery.manual_retry_count,
        next_attempt_at: delivery.next_attempt_at.map(time),
        last_error: delivery.last_error,
        last_response_status: delivery.last_response_status,
        delivered_at: delivery.delivered_at.map(time),
        created_at: time(delivery.created_at),
        updated_at: time(delivery.updated_at),
        payload: None,
    }
}
