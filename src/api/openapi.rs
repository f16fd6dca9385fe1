//! The OpenAPI document, made from the handlers, and its page. Both come out of this binary: the
//! page asks no other server for anything.

use std::collections::BTreeMap;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::routing::get;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::openapi::schema::{ArrayItems, Object, Schema};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::schema::ErrorBody;
use crate::schema::webhook::{CallEventData, CallReportData, EndpointData, Envelope, JobData};

/// What the page may load: itself. Its style is partly inline.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Trunkline",
        description = "Answers and places SIP calls and lets an AI agent talk on them.\n\n\
            Send `Authorization: Bearer <key>` or `X-API-Key: <key>`. Times are RFC 3339 in UTC. \
            Every error has the body `ErrorBody`; its codes are listed in `docs/api.md`.",
    ),
    components(schemas(ErrorBody, Envelope, CallEventData, CallReportData, EndpointData, JobData)),
    modifiers(&Security),
    security(("bearer" = []), ("api_key" = [])),
    tags(
        (name = "calls", description = "Calls, live and past"),
        (name = "control", description = "Commands to a live call"),
        (name = "events", description = "What happens on calls"),
        (name = "agents", description = "Who talks, and how"),
        (name = "telephony", description = "Numbers and SIP trunks"),
        (name = "templates", description = "Tools and analyses that several agents share"),
        (name = "providers", description = "Speech and language services, their voices, your keys"),
        (name = "webhooks", description = "What other servers are told"),
        (name = "orders", description = "Requests that may take several calls: orders and batches"),
        (name = "campaigns", description = "Lists of people to call, and numbers nobody is to call"),
        (name = "usage", description = "What calls used and cost"),
        (name = "organization", description = "Organizations and their keys"),
        (name = "service", description = "The server itself"),
    ),
)]
pub(super) struct ApiDoc;

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_with(Default::default);
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let header = ApiKey::Header(ApiKeyValue::new("X-API-Key"));
        components.add_security_scheme("api_key", SecurityScheme::ApiKey(header));
    }
}

/// Says in every operation what an error looks like: any of them may meet one.
pub(super) fn add_errors(document: &mut Document) {
    for item in document.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let content = ContentBuilder::new()
                .schema(Some(RefOr::Ref(Ref::from_schema_name("ErrorBody"))))
                .build();
            let response = ResponseBuilder::new()
                .description("Any error")
                .content("application/json", content)
                .build();
            let responses = &mut operation.responses.responses;
            responses.entry("default".to_owned()).or_insert(RefOr::T(response));
        }
    }
}

/// `/v1/openapi.json` and `/docs`.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(document: &Document) -> Router<S> {
    let text = document.to_json().unwrap_or_else(|_| "{}".to_owned());
    let json = get(move || {
        let text = text.clone();
        async move { ([(header::CONTENT_TYPE, "application/json")], text) }
    });
    let page: Router<S> =
        SwaggerUi::new("/docs").config(Config::from("/v1/openapi.json").use_base_layout()).into();
    let policy = SetResponseHeaderLayer::overriding(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(DOCS_POLICY),
    );
    Router::new().route("/v1/openapi.json", json).merge(page.layer(policy))
}

/// Puts each object that is made of parts into one piece. The generator joins a tag to its kind's own schema, and a
/// resource's identity to its fields, with `allOf`; where one part allows no other member, nothing would satisfy both.
pub(super) fn join_parts(document: &mut Document) {
    let Some(components) = &mut document.components else { return };
    let known = components.schemas.clone();
    for schema in components.schemas.values_mut() {
        join_within(schema, &known);
    }
}

fn join_within(schema: &mut RefOr<Schema>, known: &BTreeMap<String, RefOr<Schema>>) {
    let RefOr::T(within) = schema else { return };
    match within {
        Schema::AllOf(all) => {
            if let Some(mut joined) = join(&all.items, known) {
                joined.description = all.description.clone().or(joined.description);
                *schema = RefOr::T(Schema::Object(joined));
            }
        }
        Schema::OneOf(one) => one.items.iter_mut().for_each(|item| join_within(item, known)),
        Schema::Object(object) => {
            object.properties.values_mut().for_each(|member| join_within(member, known));
        }
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                join_within(items, known);
            }
        }
        _ => {}
    }
}

fn join(parts: &[RefOr<Schema>], known: &BTreeMap<String, RefOr<Schema>>) -> Option<Object> {
    let mut whole = Object::new();
    for part in parts {
        let part = match part {
            RefOr::T(part) => part,
            RefOr::Ref(named) => match known.get(named.ref_location.rsplit('/').next()?)? {
                RefOr::T(part) => part,
                RefOr::Ref(_) => return None,
            },
        };
        let Schema::Object(part) = part else { return None };
        whole.schema_type = part.schema_type.clone();
        whole.properties.extend(part.properties.clone());
        whole.required.extend(part.required.clone());
        whole.description = whole.description.or_else(|| part.description.clone());
        whole.additional_properties =
            whole.additional_properties.or_else(|| part.additional_properties.clone());
    }
    Some(whole)
}
