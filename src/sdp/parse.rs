//! Octets to [`Description`]. The only file that names `rtc-sdp`.
//!
//! `rtc-sdp` wants every line in its place and every field well-formed; real trunks do not. So the text
//! is first put in order ([`tidy`]): lines that cannot matter to a call are left out, the rest is grouped
//! into session and media lines, a missing `s=` or `t=` is added, an `o=` with odd numbers is replaced,
//! an unknown media name is read as `application` and put back afterwards. Limits are checked before
//! anything is parsed.

use std::io::Cursor;
use std::net::IpAddr;

use rtc_sdp::MediaDescription;
use rtc_sdp::SessionDescription;
use rtc_sdp::description::common::{Attribute, ConnectionInformation};

use super::{Connection, Description, Direction, Media, Origin, RtpMap, SdpError};

/// Octets of a body. A UDP datagram holds no more.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Lines of a body: the other limits and a margin for lines we skip.
pub const LINES_MAX: usize = 2_000;
/// m-lines: a video conference endpoint offers about 6.
pub const MEDIA_MAX: usize = 16;
/// Attributes of the whole body: a browser's offer has about 120.
pub const ATTRIBUTES_MAX: usize = 256;
/// Formats on one m-line: payload types are 7 bits.
pub const FORMATS_MAX: usize = 128;

/// Media names `rtc-sdp` knows; every other is read as `application`.
const MEDIA_NAMES: [&str; 6] = ["audio", "video", "text", "application", "message", "image"];

/// Reads a session description.
///
/// # Errors
/// [`SdpError::TooLarge`] beyond a limit of this module, [`SdpError::Malformed`] for what is not SDP.
pub fn parse(body: &[u8]) -> Result<Description, SdpError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(SdpError::TooLarge("64 kB"));
    }
    // A Latin-1 session name must not cost the call; a broken character can only matter to the parser.
    let text = String::from_utf8_lossy(body);
    let tidied = tidy(&text)?;
    let parsed = SessionDescription::unmarshal(&mut Cursor::new(tidied.text.as_bytes()))
        .map_err(|_| SdpError::Malformed("syntax"))?;
    let media = parsed
        .media_descriptions
        .iter()
        .zip(tidied.kinds)
        .map(|(media, kind)| media_of(media, kind, &parsed.attributes))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Description {
        origin: Origin {
            session_id: parsed.origin.session_id,
            version: parsed.origin.session_version,
            address: connection_from(&parsed.origin.unicast_address),
        },
        connection: parsed.connection_information.as_ref().and_then(connection_of),
        direction: direction_of(&parsed.attributes),
        ice_lite: values(&parsed.attributes, "ice-lite").next().is_some(),
        media,
    })
}

struct Tidied {
    text: String,
    /// Media names as the peer wrote them.
    kinds: Vec<String>,
}

#[derive(Default)]
struct Section<'a> {
    head: &'a str,
    connection: Option<&'a str>,
    attributes: Vec<&'a str>,
}

/// Checks the limits and puts the lines into the order of RFC 8866 section 5.
fn tidy(text: &str) -> Result<Tidied, SdpError> {
    let mut version = None;
    let mut origin = "";
    let mut session = Section::default();
    let mut media: Vec<Section<'_>> = Vec::new();
    let mut attributes = 0;
    // A lone CR ends a line for some gateways.
    for (number, line) in text.split(['\n', '\r']).filter(|l| !l.trim().is_empty()).enumerate() {
        if number >= LINES_MAX {
            return Err(SdpError::TooLarge("2,000 lines"));
        }
        let Some((name, value)) = line.trim().split_once('=') else {
            return Err(SdpError::Malformed("a line without `=`"));
        };
        let value = value.trim();
        let section = media.last_mut().unwrap_or(&mut session);
        match name.trim() {
            "v" => version = Some(value),
            "o" => origin = value,
            "c" if section.connection.is_none() => section.connection = Some(value),
            "a" => {
                attributes += 1;
                if attributes > ATTRIBUTES_MAX {
                    return Err(SdpError::TooLarge("256 attributes"));
                }
                section.attributes.push(value);
            }
            "m" if media.len() >= MEDIA_MAX => return Err(SdpError::TooLarge("16 m-lines")),
            "m" => media.push(Section { head: value, ..Section::default() }),
            // Lines without effect on a call, whatever they say.
            _ => {}
        }
    }
    if version != Some("0") {
        return Err(SdpError::Malformed("version"));
    }
    let mut out = format!("v=0\r\no={}\r\ns=-\r\n", tidy_origin(origin));
    push_connection(&mut out, session.connection);
    out.push_str("t=0 0\r\n");
    push_attributes(&mut out, &session.attributes);
    let mut kinds = Vec::with_capacity(media.len());
    for section in &media {
        kinds.push(push_media(&mut out, section)?);
    }
    Ok(Tidied { text: out, kinds })
}

/// An `o=` line whose numbers fit; the identity of a peer's session is of no use to us otherwise.
fn tidy_origin(value: &str) -> String {
    let fields: Vec<&str> = value.split_whitespace().collect();
    if let [_, id, version, "IN", family @ ("IP4" | "IP6"), address] = fields.as_slice() {
        let number = |text: &str| text.parse::<u64>().unwrap_or(0);
        return format!("- {} {} IN {family} {address}", number(id), number(version));
    }
    "- 0 0 IN IP4 0.0.0.0".to_owned()
}

fn push_connection(out: &mut String, value: Option<&str>) {
    let Some(value) = value else { return };
    let fields: Vec<&str> = value.split_whitespace().collect();
    // Some phones write IP6 as IP4 and the reverse: the address tells. A TTL belongs to multicast.
    if let [_, _, address, ..] = fields.as_slice() {
        let address = address.split('/').next().unwrap_or(address);
        let family = if address.contains(':') { "IP6" } else { "IP4" };
        out.push_str(&format!("c=IN {family} {address}\r\n"));
    }
}

fn push_attributes(out: &mut String, attributes: &[&str]) {
    for attribute in attributes {
        out.push_str("a=");
        out.push_str(attribute);
        out.push_str("\r\n");
    }
}

/// Writes one m-line with its attributes and returns its media name as the peer wrote it.
fn push_media(out: &mut String, section: &Section<'_>) -> Result<String, SdpError> {
    let fields: Vec<&str> = section.head.split_whitespace().collect();
    let [kind, port, protocol, formats @ ..] = fields.as_slice() else {
        return Err(SdpError::Malformed("m-line"));
    };
    if formats.len() > FORMATS_MAX {
        return Err(SdpError::TooLarge("128 formats"));
    }
    let lower = kind.to_ascii_lowercase();
    let known = if MEDIA_NAMES.contains(&lower.as_str()) { lower.as_str() } else { "application" };
    // An m-line without formats is legal only when refused; the parser wants one all the same.
    let formats = if formats.is_empty() { "0".to_owned() } else { formats.join(" ") };
    out.push_str(&format!("m={known} {port} {protocol} {formats}\r\n"));
    push_connection(out, section.connection);
    push_attributes(out, &section.attributes);
    Ok(if known == lower { lower } else { (*kind).to_owned() })
}

fn connection_from(address: &str) -> Connection {
    address.parse::<IpAddr>().map_or_else(|_| Connection::Name(address.to_owned()), Connection::Ip)
}

fn connection_of(info: &ConnectionInformation) -> Option<Connection> {
    info.address.as_ref().map(|a| connection_from(&a.address))
}

/// The last direction wins, as in the gateways that write two.
fn direction_of(attributes: &[Attribute]) -> Option<Direction> {
    attributes.iter().rev().find_map(|a| Direction::parse(a.key.trim()))
}

fn media_of(
    parsed: &MediaDescription,
    kind: String,
    session: &[Attribute],
) -> Result<Media, SdpError> {
    let name = &parsed.media_name;
    let mut media = Media {
        kind,
        port: u16::try_from(name.port.value).map_err(|_| SdpError::Malformed("port"))?,
        protocol: name.protos.join("/"),
        formats: name.formats.clone(),
        connection: parsed.connection_information.as_ref().and_then(connection_of),
        direction: direction_of(&parsed.attributes),
        ..Media::default()
    };
    let crypto = parsed.attributes.iter().filter(|a| a.key.trim().eq_ignore_ascii_case("crypto"));
    media.crypto = super::crypto::usable(crypto.map(|a| a.value.as_deref().unwrap_or("").trim()));
    media.dtls = dtls_of(&parsed.attributes, session);
    let ice = |key| first(&parsed.attributes, key).or_else(|| first(session, key));
    media.ice = super::Ice::new(ice("ice-ufrag"), ice("ice-pwd"));
    for attribute in &parsed.attributes {
        let value = attribute.value.as_deref().unwrap_or("").trim();
        // An attribute we cannot read is as good as absent: refusing the call would help nobody.
        match attribute.key.trim().to_ascii_lowercase().as_str() {
            "rtpmap" => media.rtpmaps.extend(rtpmap(value)),
            "fmtp" => media.fmtps.extend(fmtp(value)),
            "ptime" => media.ptime_ms = milliseconds(value),
            "maxptime" => media.maxptime_ms = milliseconds(value),
            "mid" if !value.is_empty() => media.mid = Some(value.to_owned()),
            "rtcp" => media.rtcp = rtcp(value),
            "rtcp-mux" => media.rtcp_mux = true,
            _ => {}
        }
    }
    Ok(media)
}

/// Values of an attribute; empty where it has none.
fn values<'a>(of: &'a [Attribute], key: &'a str) -> impl Iterator<Item = &'a str> {
    of.iter()
        .filter(move |attribute| attribute.key.trim().eq_ignore_ascii_case(key))
        .map(|attribute| attribute.value.as_deref().unwrap_or_default())
}

fn first<'a>(of: &'a [Attribute], key: &'a str) -> Option<&'a str> {
    values(of, key).next()
}

/// What stands for the whole session stands for an m-line that says nothing of its own.
fn dtls_of(media: &[Attribute], session: &[Attribute]) -> Option<super::Dtls> {
    let has_own = values(media, "fingerprint").next().is_some();
    let fingerprints = values(if has_own { media } else { session }, "fingerprint");
    let setup = first(media, "setup").or_else(|| first(session, "setup"));
    super::Dtls::new(fingerprints, setup)
}

fn rtpmap(value: &str) -> Option<RtpMap> {
    let (payload_type, rest) = value.split_once(char::is_whitespace)?;
    let mut parts = rest.trim().split('/');
    Some(RtpMap {
        payload_type: payload_type.parse().ok().filter(|pt| *pt < 128)?,
        encoding: parts.next().filter(|e| !e.is_empty())?.to_owned(),
        clock_rate: parts.next()?.trim().parse().ok().filter(|hz| *hz > 0)?,
        channels: parts.next().and_then(|c| c.trim().parse().ok()),
    })
}

fn fmtp(value: &str) -> Option<(u8, String)> {
    let (payload_type, parameters) = value.split_once(char::is_whitespace)?;
    Some((payload_type.parse().ok().filter(|pt| *pt < 128)?, parameters.trim().to_owned()))
}

/// A duration from 1 to 1,000 ms; fractions (`a=ptime:20.0`) are cut off.
fn milliseconds(value: &str) -> Option<u16> {
    value.split('.').next()?.parse().ok().filter(|ms| (1..=1_000).contains(ms))
}

fn rtcp(value: &str) -> Option<(u16, Option<IpAddr>)> {
    let mut fields = value.split_whitespace();
    let port = fields.next()?.parse().ok().filter(|port| *port != 0)?;
    Some((port, fields.nth(2).and_then(|address| address.parse().ok())))
}
