//! Who asks, and whether they may: the organization and the scopes of an API key.
//!
//! Routes are put into groups, one for each scope, so that none can be without one: the group checks the scope and
//! writes it into the OpenAPI document.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use utoipa::openapi::SecurityRequirement;
use utoipa::openapi::path::Operation;
use utoipa_axum::router::OpenApiRouter;

use super::Api;
use super::error::{ApiError, Code};
use crate::types::{OrganizationId, Scope};

/// Who sent a request. The middleware around the private routes puts it into the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Principal {
    /// Whose things the request may see and change. Everything else does not exist for it: 404.
    pub organization: OrganizationId,
    /// Key that was shown; `None` for the one of the environment.
    pub key_id: Option<String>,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Arc<Self>>().map(|principal| (**principal).clone()).ok_or_else(
            || {
                tracing::error!("a private route was reached without a key");
                ApiError::new(Code::Internal)
            },
        )
    }
}

/// Routes that need a scope.
pub(super) fn group(scope: Scope, routes: OpenApiRouter<Arc<Api>>) -> OpenApiRouter<Arc<Api>> {
    let mut routes = routes
        .route_layer(axum::middleware::from_fn(move |request, next| check(scope, request, next)));
    for item in routes.get_openapi_mut().paths.paths.values_mut() {
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.delete,
            &mut item.patch,
            &mut item.head,
        ];
        for operation in operations.into_iter().flatten() {
            mark(operation, scope);
        }
    }
    routes
}

/// OpenAPI 3.1 lets a bearer requirement name the roles it takes (section 4.8.30).
fn mark(operation: &mut Operation, scope: Scope) {
    let needs = |scheme: &str| SecurityRequirement::new(scheme, [scope.as_str()]);
    operation.security = Some(vec![needs("bearer"), needs("api_key")]);
}

async fn check(scope: Scope, request: Request, next: Next) -> Result<Response, ApiError> {
    let granted = request
        .extensions()
        .get::<Arc<Principal>>()
        .is_some_and(|principal| principal.scopes.contains(&scope));
    if !granted {
        let message = format!("the API key has not the scope `{}`", scope.as_str());
        return Err(ApiError::because(Code::InsufficientScope, message));
    }
    Ok(next.run(request).await)
}
