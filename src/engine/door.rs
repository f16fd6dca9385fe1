//! What crosses between a media thread and the task that exchanges keys and answers checks on a stream's port: datagrams
//! of both one way, datagrams and what came of them the other. A stream has one from its first agreement on DTLS or ICE.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rtrb::{Consumer, Producer, RingBuffer};

use super::stream::{Alarm, Shared, next_of};
use crate::types::{DtlsPlan, IceCredentials, KeyingFailure, SrtpKeys};

/// Octets of a datagram: what an Ethernet carries. A peer's flight comes in pieces of this.
const PARCEL_BYTES: usize = 1_500;
/// Datagrams that wait for the task: a flight with a long certificate is 6. What is more is dropped and counted, and
/// comes again if it matters.
const INBOX: usize = 24;
/// Orders that wait for the thread, which takes them within a millisecond.
const ORDERS: usize = 24;
/// Of these, kept for orders that may not be lost.
const RESERVED: usize = 4;

/// A datagram and whose it is.
pub(super) struct Parcel {
    address: SocketAddr,
    len: u16,
    octets: [u8; PARCEL_BYTES],
}

impl Parcel {
    /// `None`: it is too long.
    fn new(address: SocketAddr, datagram: &[u8]) -> Option<Self> {
        let mut octets = [0; PARCEL_BYTES];
        octets.get_mut(..datagram.len())?.copy_from_slice(datagram);
        Some(Self { address, len: u16::try_from(datagram.len()).ok()?, octets })
    }

    /// Where it came from or goes to.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says.
    pub(super) fn datagram(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// What the task wants of the thread.
#[expect(
    clippy::large_enum_variant,
    reason = "ring slots are allocated once; a box would be freed on the media thread"
)]
pub(super) enum Order {
    Send(Parcel),
    Keyed { plan: DtlsPlan, keys: SrtpKeys, from: SocketAddr },
    Failed { plan: DtlsPlan, why: KeyingFailure },
    Nominated { ice: IceCredentials, at: SocketAddr },
}

/// The media thread's side.
pub(super) struct SeatDoor {
    inbox: Producer<Parcel>,
    orders: Consumer<Order>,
}

impl SeatDoor {
    /// Hands a datagram to the task; whether it fitted.
    pub(super) fn deliver(&mut self, from: SocketAddr, datagram: &[u8]) -> bool {
        Parcel::new(from, datagram).is_some_and(|parcel| self.inbox.push(parcel).is_ok())
    }

    /// The next order.
    pub(super) fn next_order(&mut self) -> Option<Order> {
        self.orders.pop().ok()
    }
}

/// The task's side.
pub(super) struct Door {
    inbox: Consumer<Parcel>,
    orders: Producer<Order>,
    shared: Arc<Shared>,
    alarm: Alarm,
}

impl Door {
    /// The next datagram; `None` when the stream is gone.
    pub(super) async fn recv(&mut self) -> Option<Parcel> {
        let Self { inbox, shared, .. } = self;
        next_of(inbox, &shared.handshakes).await
    }

    /// Sends a datagram; what does not fit is lost, as on the way.
    pub(super) fn send(&mut self, to: SocketAddr, datagram: &[u8]) {
        match Parcel::new(to, datagram) {
            Some(parcel) if self.orders.slots() > RESERVED => self.order(Order::Send(parcel)),
            _ => self.lost(),
        }
    }

    /// Tells the thread.
    pub(super) fn order(&mut self, order: Order) {
        if self.orders.push(order).is_err() {
            self.lost();
        }
        self.alarm.raise();
    }

    fn lost(&self) {
        self.shared.handshakes_dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Makes both sides.
pub(super) fn pair(shared: &Arc<Shared>, alarm: &Alarm) -> (Door, SeatDoor) {
    let (inbox_in, inbox_out) = RingBuffer::new(INBOX);
    let (orders_in, orders_out) = RingBuffer::new(ORDERS);
    let (shared, alarm) = (Arc::clone(shared), alarm.clone());
    let door = Door { inbox: inbox_out, orders: orders_in, shared, alarm };
    (door, SeatDoor { inbox: inbox_in, orders: orders_out })
}
