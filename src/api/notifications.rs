//! Notifications by e-mail: whether they leave.

use std::sync::Arc;

use axum::extract::State;

use super::Api;
use super::error::{ApiError, Code};
use super::extract::{Json, bad_field};
use crate::net::clock;
use crate::schema::ErrorBody;
use crate::schema::webhook::{NotificationTest, TestNotification};

/// Test e-mail
///
/// Sends a message through the relay of `notifications.smtp` and tells what the relay said. Who takes it into the
/// mailbox is the relay's business.
#[utoipa::path(post, path = "/v1/notifications/test", operation_id = "test_notification", tag = "webhooks",
    request_body(content = TestNotification, example = json!({"to": "ops@example.com"})),
    responses(
        (status = 200, description = "What the relay said", body = NotificationTest),
        (status = 409, description = "No relay is configured", body = ErrorBody),
        (status = 422, description = "A field is wrong", body = ErrorBody),
    ))]
pub(super) async fn test(
    State(api): State<Arc<Api>>,
    Json(body): Json<TestNotification>,
) -> Result<axum::Json<NotificationTest>, ApiError> {
    if !crate::webhook::is_address(&body.to) {
        let error = bad_field("to", "`to` is one e-mail address");
        return Err(error.hint("for example ops@example.com"));
    }
    let Some(post) = &api.hooks.post else {
        return Err(ApiError::new(Code::SmtpNotConfigured)
            .hint("set `notifications.smtp.host` and `from`, then start the server again"));
    };
    let start = clock::now();
    let sent = post.test(&body.to).await;
    let took = clock::now().saturating_duration_since(start).as_millis();
    let duration_ms = u64::try_from(took).unwrap_or(u64::MAX);
    let (status, error) = match sent {
        Ok(()) => (None, None),
        Err((status, error)) => (status, Some(error)),
    };
    Ok(axum::Json(NotificationTest { ok: error.is_none(), status, error, duration_ms }))
}
