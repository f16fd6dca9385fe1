//! A session description as text (RFC 8866 section 9). Every line ends with CRLF.

use std::fmt;

use super::{Description, Media};

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let o = &self.origin;
        write!(f, "v=0\r\no=- {} {} {}\r\ns=-\r\n", o.session_id, o.version, o.address)?;
        if let Some(connection) = &self.connection {
            write!(f, "c={connection}\r\n")?;
        }
        f.write_str("t=0 0\r\n")?;
        if let Some(direction) = self.direction {
            write!(f, "a={}\r\n", direction.as_str())?;
        }
        if self.ice_lite {
            f.write_str("a=ice-lite\r\n")?;
        }
        self.media.iter().try_for_each(|media| print_media(media, f))
    }
}

fn print_media(media: &Media, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "m={} {} {}", media.kind, media.port, media.protocol)?;
    for format in &media.formats {
        write!(f, " {format}")?;
    }
    f.write_str("\r\n")?;
    if let Some(connection) = &media.connection {
        write!(f, "c={connection}\r\n")?;
    }
    if let Some(mid) = &media.mid {
        write!(f, "a=mid:{mid}\r\n")?;
    }
    for map in &media.rtpmaps {
        write!(f, "a=rtpmap:{} {}/{}", map.payload_type, map.encoding, map.clock_rate)?;
        if let Some(channels) = map.channels {
            write!(f, "/{channels}")?;
        }
        f.write_str("\r\n")?;
    }
    for (payload_type, parameters) in &media.fmtps {
        write!(f, "a=fmtp:{payload_type} {parameters}\r\n")?;
    }
    if let Some(ptime) = media.ptime_ms {
        write!(f, "a=ptime:{ptime}\r\n")?;
    }
    if let Some(maxptime) = media.maxptime_ms {
        write!(f, "a=maxptime:{maxptime}\r\n")?;
    }
    if let Some(direction) = media.direction {
        write!(f, "a={}\r\n", direction.as_str())?;
    }
    if let Some((port, address)) = media.rtcp {
        write!(f, "a=rtcp:{port}")?;
        if let Some(ip) = address {
            write!(f, " {}", super::Connection::Ip(ip))?;
        }
        f.write_str("\r\n")?;
    }
    if media.rtcp_mux {
        f.write_str("a=rtcp-mux\r\n")?;
    }
    for crypto in &media.crypto {
        write!(f, "a=crypto:{crypto}\r\n")?;
    }
    if let Some(dtls) = &media.dtls {
        write!(f, "{dtls}")?;
    }
    if let Some(ice) = &media.ice {
        write!(f, "{ice}")?;
    }
    Ok(())
}
