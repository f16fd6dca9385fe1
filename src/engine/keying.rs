//! The task that exchanges keys for a stream and answers the peer's checks of connectivity. A handshake costs milliseconds of arithmetic and waits for its
//! peer: it has no place on a media thread, which only passes its datagrams on ([`super::door`]).

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use futures_util::FutureExt;
use tokio::sync::watch;

use super::door::{Door, Order, Parcel};
use crate::net::clock;
use crate::rtp::Policy;
use crate::rtp::dtls::Identity;
use crate::rtp::ice::Lite;
use crate::rtp::keying::{Keying, KeyingEvent, Party};
use crate::telemetry::metrics;
use crate::types::{DtlsPlan, Entropy, IceCredentials, KeyingFailure};

/// Our certificate: made when it is first needed, the same for every stream, gone with the engine.
#[derive(Default)]
pub(super) struct OwnIdentity(OnceLock<Option<Arc<Identity>>>);

impl OwnIdentity {
    /// `None`: there is no making one.
    pub(super) fn get(&self) -> Option<Arc<Identity>> {
        let made = || match Identity::generate() {
            Ok(identity) => Some(Arc::new(identity)),
            Err(error) => {
                tracing::error!(%error, "make a certificate for DTLS: it is not offered");
                None
            }
        };
        self.0.get_or_init(made).clone()
    }
}

/// What offer and answer say of a stream's port beside its audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreement {
    /// Keys come by DTLS.
    pub(super) dtls: Option<DtlsPlan>,
    /// The peer checks whether it reaches us, and says where it is by that.
    pub(super) ice: Option<IceCredentials>,
    /// Where it is described.
    pub(super) remote: SocketAddr,
    /// Whether a client may come from elsewhere.
    pub(super) policy: Policy,
}

/// Starts the task of a stream. It ends with the stream, or with the sender.
pub(super) fn start(
    mut door: Door,
    agreements: watch::Receiver<Agreement>,
    (identity, entropy): (Arc<OwnIdentity>, Entropy),
) {
    tokio::spawn(async move {
        let plan = agreements.borrow().dtls;
        let work = AssertUnwindSafe(drive(&mut door, agreements, (identity, entropy)));
        // A defect met by a peer's datagrams ends this stream, and nothing else.
        if work.catch_unwind().await.is_err()
            && let Some(plan) = plan
        {
            tell(&mut door, Order::Failed { plan, why: KeyingFailure::Internal });
        }
    });
}

async fn drive(
    door: &mut Door,
    mut agreements: watch::Receiver<Agreement>,
    (identity, entropy): (Arc<OwnIdentity>, Entropy),
) {
    let agreement = *agreements.borrow_and_update();
    let mut work =
        Work { identity, entropy, agreement, keying: None, ice: None, at: None, told: 0 };
    work.agree(agreement);
    loop {
        work.pass_on(door);
        let wake = work.keying.as_ref().and_then(Keying::next_timeout);
        tokio::select! {
            biased;
            changed = agreements.changed() => {
                if changed.is_err() {
                    return;
                }
                work.agree(*agreements.borrow_and_update());
            }
            parcel = door.recv() => {
                let Some(parcel) = parcel else { return };
                work.take(door, &parcel);
            }
            () = sleep(wake) => {
                if let Some(keying) = &mut work.keying {
                    keying.handle_timeout(clock::now());
                }
            }
        }
    }
}

/// What goes on at one port.
struct Work {
    identity: Arc<OwnIdentity>,
    entropy: Entropy,
    agreement: Agreement,
    keying: Option<Keying>,
    ice: Option<Lite>,
    /// Where checks say that the peer is.
    at: Option<SocketAddr>,
    /// Refused datagrams that were counted.
    told: u64,
}

impl Work {
    fn agree(&mut self, agreement: Agreement) {
        if self.agreement.ice != agreement.ice || self.ice.is_none() {
            (self.ice, self.at) = (agreement.ice.map(Lite::new), None);
        }
        self.agreement = agreement;
        self.exchange();
    }

    /// Keys are exchanged with whoever is where the peer is.
    fn exchange(&mut self) {
        let Agreement { dtls, remote, policy, .. } = self.agreement;
        let (Some(plan), Some(identity)) = (dtls, dtls.and_then(|_| self.identity.get())) else {
            self.keying = None;
            return;
        };
        let is_found = self.ice.is_none() || self.at.is_some();
        let party = Party { plan, remote: self.at.unwrap_or(remote), is_found, policy };
        match &mut self.keying {
            Some(keying) => keying.change(clock::now(), party),
            None => {
                let keying = Keying::new(clock::now(), identity, party, &mut self.entropy);
                self.keying = Some(keying);
            }
        }
    }

    fn take(&mut self, door: &mut Door, parcel: &Parcel) {
        let (from, datagram) = (parcel.address(), parcel.datagram());
        let is_check = datagram.first().is_some_and(|first| *first < 4);
        match (&mut self.ice, &mut self.keying) {
            (Some(lite), _) if is_check => {
                let Some(checked) = lite.handle(from, datagram) else { return };
                door.send(from, &checked.response);
                metrics::ice_check(if checked.is_nominated { "nominated" } else { "answered" });
                if let Some(ice) = self.agreement.ice.filter(|_| checked.is_nominated) {
                    self.at = Some(from);
                    door.order(Order::Nominated { ice, at: from });
                    self.exchange();
                }
            }
            (_, Some(keying)) if !is_check => keying.handle(clock::now(), from, datagram),
            _ => {}
        }
    }

    /// Hands on what keying wants, and counts what was refused.
    fn pass_on(&mut self, door: &mut Door) {
        if let (Some(keying), Some(plan)) = (&mut self.keying, self.agreement.dtls) {
            while let Some(event) = keying.poll() {
                match event {
                    KeyingEvent::Send { to, datagram } => door.send(to, &datagram),
                    KeyingEvent::Keyed { keys, from } => {
                        tell(door, Order::Keyed { plan, keys, from });
                    }
                    KeyingEvent::Failed(why) => tell(door, Order::Failed { plan, why }),
                }
            }
        }
        let refused = self.keying.as_ref().map_or(0, Keying::refused)
            + self.ice.as_ref().map_or(0, Lite::refused);
        metrics::rtp_dropped("handshake", refused.saturating_sub(self.told));
        self.told = refused;
    }
}

fn tell(door: &mut Door, order: Order) {
    match &order {
        Order::Send(_) | Order::Nominated { .. } => {}
        Order::Keyed { .. } => metrics::dtls_handshake("keyed"),
        Order::Failed { why, .. } => {
            metrics::dtls_handshake(why.as_str());
            tracing::debug!(%why, "a stream gets no keys");
        }
    }
    door.order(order);
}

async fn sleep(until: Option<Instant>) {
    match until {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
