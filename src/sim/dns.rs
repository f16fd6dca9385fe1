//! A name server on loopback: it answers what it is told, counts what it is asked, and can fall silent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, NAPTR, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

/// Questions remembered; a test asks a few dozen.
const ASKED_MAX: usize = 10_000;

#[derive(Default)]
struct Zone {
    records: Vec<Record>,
    asked: Vec<(String, RecordType)>,
    is_silent: bool,
}

/// A running name server.
#[derive(Clone)]
pub struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

impl NameServer {
    /// Starts one with the lines of a zone: `NAME TTL A|AAAA ADDRESS`, `NAME TTL SRV PRIORITY WEIGHT PORT TARGET`,
    /// `NAME TTL NAPTR ORDER PREFERENCE SERVICE REPLACEMENT`.
    ///
    /// # Errors
    /// When there is no socket.
    pub async fn start(zone: &str) -> std::io::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let server = Self { address: socket.local_addr()?, zone: Arc::default() };
        server.set(zone);
        let zone = Arc::downgrade(&server.zone);
        tokio::spawn(async move {
            let mut octets = [0u8; 4_096];
            while let Ok((len, from)) = socket.recv_from(&mut octets).await {
                let Some(zone) = zone.upgrade() else { return };
                let answer = octets.get(..len).and_then(|octets| answer(&zone, octets));
                if let Some(answer) = answer {
                    // Who asked may be gone.
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Ok(server)
    }

    /// Where it is asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the zone. Lines that are none are left out.
    pub fn set(&self, zone: &str) {
        lock(&self.zone).records = zone.lines().filter_map(record).collect();
    }

    /// From now on it answers nothing, or again.
    pub fn be_silent(&self, is_silent: bool) {
        lock(&self.zone).is_silent = is_silent;
    }

    /// How often it was asked for a name's records of a kind, such as `SRV`.
    pub fn asked(&self, name: &str, kind: &str) -> usize {
        let zone = lock(&self.zone);
        zone.asked.iter().filter(|(asked, of)| asked == name && of.to_string() == kind).count()
    }
}

fn lock(zone: &Mutex<Zone>) -> std::sync::MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(zone: &Mutex<Zone>, octets: &[u8]) -> Option<Vec<u8>> {
    let question = Message::from_vec(octets).ok()?;
    let query = question.queries.first()?.clone();
    let mut zone = lock(zone);
    let name = query.name().to_utf8().trim_end_matches('.').to_ascii_lowercase();
    if zone.asked.len() < ASKED_MAX {
        zone.asked.push((name.clone(), query.query_type()));
    }
    if zone.is_silent {
        return None;
    }
    let of_name =
        |record: &&Record| record.name.to_utf8().trim_end_matches('.').eq_ignore_ascii_case(&name);
    let mut message = Message::response(question.metadata.id, question.metadata.op_code);
    message.metadata.recursion_available = true;
    message.metadata.recursion_desired = question.metadata.recursion_desired;
    if !zone.records.iter().any(|record| of_name(&record)) {
        message.metadata.response_code = ResponseCode::NXDomain;
    }
    message.add_query(query.clone());
    for record in zone.records.iter().filter(of_name) {
        if record.data.record_type() == query.query_type() {
            message.add_answer(record.clone());
        }
    }
    message.to_vec().ok()
}

fn record(line: &str) -> Option<Record> {
    let mut words = line.split_whitespace();
    let mut word = || words.next();
    let name = Name::from_utf8(format!("{}.", word()?)).ok()?;
    let ttl: u32 = word()?.parse().ok()?;
    let whole = |text: &str| Name::from_utf8(format!("{}.", text.trim_end_matches('.'))).ok();
    let data = match word()? {
        "A" => RData::A(A(word()?.parse().ok()?)),
        "AAAA" => RData::AAAA(AAAA(word()?.parse().ok()?)),
        "SRV" => {
            let (priority, weight) = (word()?.parse().ok()?, word()?.parse().ok()?);
            RData::SRV(SRV::new(priority, weight, word()?.parse().ok()?, whole(word()?)?))
        }
        "NAPTR" => {
            let (order, preference) = (word()?.parse().ok()?, word()?.parse().ok()?);
            let octets = |text: &str| text.as_bytes().to_vec().into_boxed_slice();
            let (service, replacement) = (octets(word()?), whole(word()?)?);
            RData::NAPTR(NAPTR::new(
                order,
                preference,
                octets("s"),
                service,
                octets(""),
                replacement,
            ))
        }
        _ => return None,
    };
    Some(Record::from_rdata(name, ttl, data))
}
