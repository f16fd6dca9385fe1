//! Asks a STUN server (RFC 8489) which address it sees us at. Once at the start, from a port of its own: what it says
//! of the port is of no use to listeners, what it says of the address is the one of the way out.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

use crate::types::Entropy;

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const MAPPED_ADDRESS: u16 = 0x0001;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const TRANSACTION_BYTES: usize = 12;
const HEADER_BYTES: usize = 20;
/// A response fits into the smallest MTU.
const RESPONSE_BYTES_MAX: usize = 1_280;
/// Waits for an answer, one request each (section 6.2.1): 3.5 s in all.
const WAITS: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_millis(1_000), Duration::from_millis(2_000)];

/// Why no address is known.
#[derive(Debug, thiserror::Error)]
pub enum StunError {
    /// The system gives no socket, or no way leads there.
    #[error("ask a STUN server")]
    Io(#[from] io::Error),
    /// Nothing usable came.
    #[error("no answer")]
    NoAnswer,
}

/// Our address as `server` sees it.
///
/// # Errors
/// When it does not answer, or says nothing of an address.
pub async fn external_ip(server: SocketAddr, entropy: &mut Entropy) -> Result<IpAddr, StunError> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0u16; 8], 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    // Datagrams of others do not get in.
    socket.connect(server).await?;
    let mut transaction = [0; TRANSACTION_BYTES];
    entropy.fill(&mut transaction);
    let mut request = BINDING_REQUEST.to_be_bytes().to_vec();
    request.extend([0, 0]);
    request.extend(MAGIC);
    request.extend(transaction);
    for wait in WAITS {
        socket.send(&request).await?;
        let answered = tokio::time::timeout(wait, answer(&socket, &transaction)).await;
        if let Ok(ip) = answered {
            return Ok(ip?);
        }
    }
    Err(StunError::NoAnswer)
}

/// The first answer that says something; what is none is passed over.
async fn answer(socket: &UdpSocket, transaction: &[u8]) -> io::Result<IpAddr> {
    let mut octets = [0; RESPONSE_BYTES_MAX];
    loop {
        let length = socket.recv(&mut octets).await?;
        if let Some(ip) = octets.get(..length).and_then(|octets| mapped(octets, transaction)) {
            return Ok(ip);
        }
    }
}

/// The address of a success response to this transaction.
fn mapped(response: &[u8], transaction: &[u8]) -> Option<IpAddr> {
    let (header, mut rest) = response.split_at_checked(HEADER_BYTES)?;
    let is_ours = header.get(..2)? == BINDING_SUCCESS.to_be_bytes()
        && header.get(4..8)? == MAGIC
        && header.get(8..)? == transaction;
    let mut plain = None;
    while is_ours && let Some((head, after)) = rest.split_at_checked(4) {
        let number = |at: usize| Some(u16::from_be_bytes([*head.get(at)?, *head.get(at + 1)?]));
        let (kind, length) = (number(0)?, usize::from(number(2)?));
        let value = after.get(..length)?;
        match kind {
            XOR_MAPPED_ADDRESS => return address(value, header.get(4..)?),
            MAPPED_ADDRESS => plain = address(value, &[0; 16]),
            _ => {}
        }
        rest = after.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    plain
}

/// An address, each octet with one of `mask` (section 14.2).
fn address(value: &[u8], mask: &[u8]) -> Option<IpAddr> {
    let octets: Vec<u8> = value.get(4..)?.iter().zip(mask).map(|(octet, x)| octet ^ x).collect();
    match value.get(1)? {
        1 => <[u8; 4]>::try_from(octets).ok().map(|octets| Ipv4Addr::from(octets).into()),
        2 => <[u8; 16]>::try_from(octets).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    /// RFC 5769 section 2.2 and 2.3, without what stands behind the address.
    #[test]
    fn the_vectors_of_rfc_5769() {
        let transaction = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
        let response = |attribute: &[u8]| {
            let mut octets = vec![1, 1, 0, attribute.len() as u8];
            octets.extend(MAGIC);
            octets.extend(transaction);
            octets.extend(attribute);
            octets
        };
        let software = [
            0x80, 0x22, 0, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63, 0x74, 0x6f, 0x72,
            0x20,
        ];
        let v4 = [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
        let v6 = [
            0, 0x20, 0, 20, 0, 2, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc,
            0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
        ];
        let both = |attribute: &[u8]| response(&[&software[..], attribute].concat());
        assert_eq!(mapped(&both(&v4), &transaction), "192.0.2.1".parse().ok());
        assert_eq!(
            mapped(&both(&v6), &transaction),
            "2001:db8:1234:5678:11:2233:4455:6677".parse().ok()
        );
        let plain = [0, 1, 0, 8, 0, 1, 0, 9, 203, 0, 113, 7];
        assert_eq!(mapped(&response(&plain), &transaction), "203.0.113.7".parse().ok());
        assert_eq!(mapped(&both(&v4), &[0; 12]), None, "another transaction");
        for end in 0..both(&v4).len() {
            assert_eq!(mapped(&both(&v4)[..end], &transaction), None, "cut at {end}");
        }
    }

    #[tokio::test]
    async fn a_server_that_loses_the_first_request_is_asked_again() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = server.local_addr().unwrap();
        let asked = tokio::spawn(async move { external_ip(at, &mut Entropy::seeded(1)).await });
        let mut octets = [0; 64];
        for lost in [true, false] {
            let (length, from) = server.recv_from(&mut octets).await.unwrap();
            assert_eq!((length, &octets[..2]), (20, &[0, 1][..]));
            if lost {
                server.send_to(b"junk", from).await.unwrap();
                continue;
            }
            let mut answer = vec![1, 1, 0, 12];
            answer.extend(&octets[4..20]);
            answer.extend([0, 1, 0, 8, 0, 1, 0, 9, 203, 0, 113, 7]);
            server.send_to(&answer, from).await.unwrap();
        }
        assert_eq!(asked.await.unwrap().unwrap(), "203.0.113.7".parse::<IpAddr>().unwrap());
    }
}
