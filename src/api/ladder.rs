//! The SIP messages of a call, as JSON and as a capture file.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::access::Principal;
use super::error::ApiError;
use super::extract::{Params, PathId, bad_param};
use super::{Api, pcap};
use crate::schema::ErrorBody;
use crate::schema::ladder::SipMessages;

/// Show a call's SIP messages
///
/// Every message of the call's dialogs as it crossed the wire, oldest first, also while the call lives. Credentials
/// and keys are written over. A capture file for Wireshark comes with `format=pcap`, or where the request accepts
/// `application/vnd.tcpdump.pcap`; its packets hold the real addresses, ports and times. A call that never sent or
/// got a message has none.
#[utoipa::path(get, path = "/v1/calls/{id}/sip", operation_id = "get_sip_messages", tag = "calls",
    params(
        ("id" = String, Path, description = "Identifier of the call"),
        ("format" = Option<String>, Query, description = "`json` (default) or `pcap`"),
    ),
    responses(
        (status = 200, description = "The messages in order",
            content((SipMessages = "application/json"), (String = "application/vnd.tcpdump.pcap"))),
        (status = 400, description = "Unknown format", body = ErrorBody),
        (status = 404, description = "There is no such call", body = ErrorBody),
    ))]
pub(super) async fn sip(
    State(api): State<Arc<Api>>,
    principal: Principal,
    PathId(id): PathId,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    params.only(&["format"])?;
    let wants_file = |accept: &str| accept.to_ascii_lowercase().contains(pcap::MEDIA_TYPE);
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let as_file = match params.one("format")? {
        Some("pcap") => true,
        Some("json") => false,
        Some(_) => return Err(bad_param("format", "`format` is `json` or `pcap`")),
        None => accepted.is_some_and(wants_file),
    };
    api.call(&principal, id).await?;
    let ladder = api.switchboard.ladder(id).await?.unwrap_or_default();
    if !as_file {
        return Ok(axum::Json(SipMessages::new(id, &ladder)).into_response());
    }
    let name = format!("attachment; filename=\"{id}.pcap\"");
    let head =
        [(header::CONTENT_TYPE, pcap::MEDIA_TYPE.to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((head, pcap::write(&ladder)).into_response())
}
