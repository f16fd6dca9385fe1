//! What a client is told when a request cannot be served: one table of codes, one body.
//!
//! A handler returns [`ApiError`]; the response carries it as an extension, and [`super::request`]
//! writes the body, because only that layer knows the request's id. Nothing here holds a cause:
//! causes are logged where they occur, and never reach a client.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::schema::ErrorBody;
use crate::schema::service::ErrorDetail;

/// Seconds after which a refusal for load is worth another try.
const RETRY_AFTER_S: u32 = 5;

macro_rules! codes {
    ($($id:ident = $code:literal, $status:ident, $class:literal, $help:literal;)+) => {
        /// Every machine code of the API. Each is a stable name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $(#[doc = $help] $id,)+ }

        impl Code {
            /// Every code, in the order of the table in `docs/api.md`.
            pub const ALL: &[Self] = &[$(Self::$id),+];

            /// Public name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$id => $code,)+ }
            }

            /// HTTP status (RFC 9110 section 15).
            pub fn status(self) -> StatusCode {
                match self { $(Self::$id => StatusCode::$status,)+ }
            }

            /// Class of the error: the `type` of the body.
            pub fn class(self) -> &'static str {
                match self { $(Self::$id => $class,)+ }
            }

            /// What it means, for the documentation.
            pub fn help(self) -> &'static str {
                match self { $(Self::$id => $help,)+ }
            }
        }
    };
}

codes! {
    MalformedBody = "malformed_body", BAD_REQUEST, "invalid_request",
        "The body is not JSON, not UTF-8, or ended early.";
    InvalidParameter = "invalid_parameter", BAD_REQUEST, "invalid_request",
        "A query parameter has a value it cannot have, or comes twice.";
    InvalidCursor = "invalid_cursor", BAD_REQUEST, "invalid_request",
        "The cursor is not one this server gave out for this list.";
    Unauthorized = "unauthorized", UNAUTHORIZED, "authentication",
        "The API key is missing or unknown.";
    BudgetExceeded = "budget_exceeded", PAYMENT_REQUIRED, "budget",
        "The organization's budget of this month does not allow another call.";
    InsufficientScope = "insufficient_scope", FORBIDDEN, "permission",
        "The API key is known, but has not the scope that the route needs.";
    DestinationForbidden = "destination_forbidden", FORBIDDEN, "permission",
        "The dial limits do not allow calls or transfers to this destination.";
    NotOperator = "not_operator", FORBIDDEN, "permission",
        "Only keys of the default organization may do this.";
    SignatureInvalid = "signature_invalid", FORBIDDEN, "permission",
        "The link is not one this server signed.";
    SignatureExpired = "signature_expired", FORBIDDEN, "permission",
        "The link was good once; ask for a new one.";
    RouteNotFound = "route_not_found", NOT_FOUND, "not_found",
        "There is no such path.";
    CallNotFound = "call_not_found", NOT_FOUND, "not_found",
        "There is no such call.";
    ResourceNotFound = "not_found", NOT_FOUND, "not_found",
        "There is no such resource, or it belongs to another organization.";
    RecordingNotFound = "recording_not_found", NOT_FOUND, "not_found",
        "The call has no recording.";
    WebhookEndpointNotFound = "webhook_endpoint_not_found", NOT_FOUND, "not_found",
        "There is no such webhook endpoint.";
    WebhookDeliveryNotFound = "webhook_delivery_not_found", NOT_FOUND, "not_found",
        "There is no such webhook delivery.";
    OrderNotFound = "order_not_found", NOT_FOUND, "not_found",
        "There is no such call order.";
    BatchNotFound = "batch_not_found", NOT_FOUND, "not_found",
        "There is no such batch.";
    CampaignNotFound = "campaign_not_found", NOT_FOUND, "not_found",
        "There is no such campaign.";
    LeadNotFound = "lead_not_found", NOT_FOUND, "not_found",
        "The campaign has no such lead.";
    NumberNotListed = "number_not_listed", NOT_FOUND, "not_found",
        "The number is not on the do-not-call list.";
    ApiKeyNotFound = "api_key_not_found", NOT_FOUND, "not_found",
        "There is no such API key.";
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "invalid_request",
        "The path exists, but not with this method; `Allow` lists those it has.";
    BodyTimeout = "body_timeout", REQUEST_TIMEOUT, "invalid_request",
        "The body did not arrive in time.";
    CallNotActive = "call_not_active", CONFLICT, "conflict",
        "The call is not answered yet, or over.";
    CallNotOver = "call_not_over", CONFLICT, "conflict",
        "The call is not over yet.";
    NoConversation = "no_conversation", CONFLICT, "conflict",
        "Nobody said anything on this call; there is nothing to make of it.";
    AnalysisPending = "analysis_pending", CONFLICT, "conflict",
        "Something is being made of this call already; ask again when it is done.";
    CallActive = "call_active", CONFLICT, "conflict",
        "The call is still live, or something is still made of it; it can be erased afterwards.";
    CannotListen = "cannot_listen", CONFLICT, "conflict",
        "Nothing of the call is recorded, so there is nothing to hear, or too many listen to it already.";
    CallAnswered = "call_answered", CONFLICT, "conflict",
        "The call was answered, so it can be ended and no longer be canceled.";
    IdempotencyRunning = "idempotency_running", CONFLICT, "conflict",
        "The first request with this `Idempotency-Key` is still being served.";
    AnswerErased = "answer_erased", CONFLICT, "conflict",
        "The request with this `Idempotency-Key` was served, and what it made was erased since.";
    AlreadySupervised = "already_supervised", CONFLICT, "conflict",
        "A supervisor is on the line of this call already.";
    TransferPending = "transfer_pending", CONFLICT, "conflict",
        "A transfer of this call is already under way.";
    NotRecorded = "not_recorded", CONFLICT, "conflict",
        "The call is not recorded, or its recording was stopped.";
    RecordingInProgress = "recording_in_progress", CONFLICT, "conflict",
        "The recording is still being written; it can be had when the call is over.";
    ManagedByConfig = "managed_by_config", CONFLICT, "conflict",
        "The resource stands in the configuration file; it can only be changed there.";
    AlreadyExists = "already_exists", CONFLICT, "conflict",
        "Another resource has the name that may exist once, such as a phone number.";
    VersionConflict = "version_conflict", CONFLICT, "conflict",
        "The resource was changed since it was read.";
    WebhookEndpointDisabled = "webhook_endpoint_disabled", CONFLICT, "conflict",
        "The webhook endpoint is disabled or removed, so nothing can be sent to it.";
    WebhookPayloadErased = "webhook_payload_erased", CONFLICT, "conflict",
        "What the delivery said is erased, so it cannot be sent again.";
    SmtpNotConfigured = "smtp_not_configured", CONFLICT, "conflict",
        "No SMTP relay is configured, so no e-mail can be sent.";
    WrongState = "wrong_state", CONFLICT, "conflict",
        "The order, batch or campaign is not in the state for this.";
    DuplicateLead = "duplicate_lead", CONFLICT, "conflict",
        "The number is in the campaign already; `allow_duplicates=true` adds it all the same.";
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "invalid_request",
        "The body is larger than the server takes.";
    UpgradeRequired = "upgrade_required", UPGRADE_REQUIRED, "invalid_request",
        "The path is a WebSocket, and the request asks for none.";
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "invalid_request",
        "A body is `application/json`; where recipients are uploaded, also `text/csv`.";
    RangeNotSatisfiable = "range_not_satisfiable", RANGE_NOT_SATISFIABLE, "invalid_request",
        "The range lies past the end of the recording.";
    IdempotencyMismatch = "idempotency_mismatch", UNPROCESSABLE_ENTITY, "validation",
        "Another request was made with this `Idempotency-Key`.";
    UnknownField = "unknown_field", UNPROCESSABLE_ENTITY, "validation",
        "A field or query parameter has a name the server does not know.";
    MissingField = "missing_field", UNPROCESSABLE_ENTITY, "validation",
        "A required field is missing.";
    InvalidValue = "invalid_value", UNPROCESSABLE_ENTITY, "validation",
        "A field has the wrong type, is too long or out of range.";
    InvalidNumber = "invalid_number", UNPROCESSABLE_ENTITY, "validation",
        "A field is neither an E.164 number nor a SIP URI.";
    UnknownAgent = "unknown_agent", UNPROCESSABLE_ENTITY, "validation",
        "There is no such agent, or none is configured for the trunk.";
    UnknownTrunk = "unknown_trunk", UNPROCESSABLE_ENTITY, "validation",
        "There is no such trunk, it only receives calls, or none was named and there is no single one.";
    TooManyAttempts = "too_many_attempts", TOO_MANY_REQUESTS, "rate_limit",
        "Too many requests with a wrong API key came from this address.";
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "rate_limit",
        "The API key has made as many requests as it may; `Retry-After` says how long to wait.";
    DialLimitReached = "dial_limit_reached", TOO_MANY_REQUESTS, "rate_limit",
        "The dial limits of this day (UTC) are used up, or the number was called as often as it may be.";
    TooManyKeys = "too_many_keys", TOO_MANY_REQUESTS, "rate_limit",
        "There are as many API keys, organizations or idempotency keys as the server keeps.";
    TooManyCommands = "too_many_commands", TOO_MANY_REQUESTS, "rate_limit",
        "Too many commands wait for this call.";
    Internal = "internal_error", INTERNAL_SERVER_ERROR, "server_error",
        "The server failed; the log has the details under the request's id.";
    StoreUnavailable = "store_unavailable", SERVICE_UNAVAILABLE, "unavailable",
        "The database cannot be used right now.";
    Draining = "draining", SERVICE_UNAVAILABLE, "unavailable",
        "The server finishes its calls and takes no more.";
    QueueFull = "queue_full", SERVICE_UNAVAILABLE, "unavailable",
        "Too many calls wait to be dialled.";
    TooManyStreams = "too_many_streams", SERVICE_UNAVAILABLE, "unavailable",
        "Too many event streams are open.";
    Timeout = "timeout", SERVICE_UNAVAILABLE, "unavailable",
        "The server did not finish the request in time.";
}

/// A refused request.
#[derive(Clone, Debug)]
pub struct ApiError {
    code: Code,
    message: String,
    param: Option<String>,
    hint: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    /// An error with the table's own sentence.
    pub fn new(code: Code) -> Self {
        Self::because(code, code.help())
    }

    /// An error with a sentence of its own: without secrets, and without data of other clients.
    pub fn because(code: Code, message: impl Into<String>) -> Self {
        let mut headers = Vec::new();
        match code {
            Code::Unauthorized => headers.push((
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"trunkline\""),
            )),
            Code::Draining
            | Code::QueueFull
            | Code::TooManyStreams
            | Code::TooManyCommands
            | Code::StoreUnavailable
            | Code::Timeout => headers.push((header::RETRY_AFTER, RETRY_AFTER_S.into())),
            _ => {}
        }
        Self { code, message: message.into(), param: None, hint: None, headers }
    }

    /// Names the field or parameter that is wrong.
    #[must_use]
    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Machine code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The body, for a request with this id.
    pub fn body(&self, request_id: &str) -> ErrorBody {
        ErrorBody {
            error: ErrorDetail {
                code: self.code.as_str().to_owned(),
                message: self.message.clone(),
                param: self.param.clone(),
                r#type: self.code.class().to_owned(),
                hint: self.hint.clone(),
                request_id: request_id.to_owned(),
            },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        for (name, value) in &self.headers {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<crate::store::StoreError> for ApiError {
    fn from(error: crate::store::StoreError) -> Self {
        crate::telemetry::metrics::store_failed("read");
        tracing::error!(
            error = %crate::telemetry::chain::chain(&error),
            "failed to use the store for a request"
        );
        Self::new(Code::StoreUnavailable)
    }
}

impl From<crate::webhook::KeyringError> for ApiError {
    fn from(error: crate::webhook::KeyringError) -> Self {
        tracing::error!(
            error = %crate::telemetry::chain::chain(&error),
            "failed to use the secrets of webhooks for a request"
        );
        Self::new(Code::StoreUnavailable)
    }
}

/// The answer to a path that does not exist.
pub(super) async fn no_route() -> ApiError {
    ApiError::new(Code::RouteNotFound).hint("the paths are listed in /v1/openapi.json")
}

/// The answer to a path that exists with other methods.
pub(super) async fn no_method() -> ApiError {
    ApiError::new(Code::MethodNotAllowed)
}
