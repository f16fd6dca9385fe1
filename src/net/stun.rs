//! Asks a STUN server (RFC 8489) which address it sees us at. Once at the start, from a port of its own: what it says
//! of the port is of no use to listeners, what it says of the address is the one of the way out.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rtc_stun::addr::MappedAddress;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Getter, Message, TransactionId};
use rtc_stun::xoraddr::XorMappedAddress;
use tokio::net::UdpSocket;

use crate::types::Entropy;

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
    let mut transaction = TransactionId::default();
    entropy.fill(&mut transaction.0);
    let mut request = Message::new();
    request.build(&[Box::new(transaction), Box::new(BINDING_REQUEST)]).map_err(io::Error::other)?;
    for wait in WAITS {
        socket.send(&request.raw).await?;
        let answered = tokio::time::timeout(wait, answer(&socket, transaction)).await;
        if let Ok(ip) = answered {
            return Ok(ip?);
        }
    }
    Err(StunError::NoAnswer)
}

/// The first answer that says something; what is none is passed over.
async fn answer(socket: &UdpSocket, transaction: TransactionId) -> io::Result<IpAddr> {
    let mut octets = [0; RESPONSE_BYTES_MAX];
    loop {
        let length = socket.recv(&mut octets).await?;
        if let Some(ip) = octets.get(..length).and_then(|octets| mapped(octets, transaction)) {
            return Ok(ip);
        }
    }
}

/// The address of a success response to this transaction.
fn mapped(response: &[u8], transaction: TransactionId) -> Option<IpAddr> {
    let mut message = Message::new();
    message.unmarshal_binary(response).ok()?;
    if message.transaction_id != transaction || message.typ != BINDING_SUCCESS {
        return None;
    }
    let (mut plain, mut masked) = (MappedAddress::default(), XorMappedAddress::default());
    let masked = masked.get_from(&message).is_ok().then_some(masked.ip);
    masked.or_else(|| plain.get_from(&message).is_ok().then_some(plain.ip))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
    const TRANSACTION: [u8; 12] =
        [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    /// RFC 5769 section 2.2 and 2.3, without what stands behind the address.
    fn response(attribute: &[u8]) -> Vec<u8> {
        let software = [
            0x80, 0x22, 0, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63, 0x74, 0x6f, 0x72,
            0x20,
        ];
        let length = (software.len() + attribute.len()) as u8;
        [&[1, 1, 0, length][..], &MAGIC, &TRANSACTION, &software, attribute].concat()
    }

    const V4: [u8; 12] = [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
    const V6: [u8; 24] = [
        0, 0x20, 0, 20, 0, 2, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc,
        0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
    ];

    #[test]
    fn the_vectors_of_rfc_5769() {
        let transaction = TransactionId(TRANSACTION);
        assert_eq!(mapped(&response(&V4), transaction), "192.0.2.1".parse().ok());
        assert_eq!(
            mapped(&response(&V6), transaction),
            "2001:db8:1234:5678:11:2233:4455:6677".parse().ok()
        );
        let plain = [0, 1, 0, 8, 0, 1, 0, 9, 203, 0, 113, 7];
        assert_eq!(mapped(&response(&plain), transaction), "203.0.113.7".parse().ok());
        assert_eq!(mapped(&response(&V4), TransactionId([0; 12])), None, "another transaction");
        for end in 0..response(&V4).len() {
            assert_eq!(mapped(&response(&V4)[..end], transaction), None, "cut at {end}");
        }
    }

    #[test]
    fn no_answer_does_harm() {
        let mut entropy = Entropy::seeded(3);
        let mut below = |bound: usize| entropy.u32() as usize % bound;
        for _ in 0..100_000 {
            let mut octets = response(if below(2) == 0 { &V4 } else { &V6 });
            for _ in 0..=below(4) {
                let at = below(octets.len());
                octets[at] = below(256) as u8;
            }
            octets.truncate(octets.len() - below(8));
            let _ = mapped(&octets, TransactionId(TRANSACTION));
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
