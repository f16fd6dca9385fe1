//! The task that exchanges keys for a stream. A handshake costs milliseconds of arithmetic and waits for its
//! peer: it has no place on a media thread, which only passes its datagrams on ([`super::door`]).

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use futures_util::FutureExt;
use tokio::sync::watch;

use super::door::{Door, Order};
use crate::net::clock;
use crate::rtp::dtls::Identity;
use crate::rtp::keying::{Keying, KeyingEvent, Party};
use crate::telemetry::metrics;
use crate::types::{Entropy, KeyingFailure};

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

/// Starts the task of a stream. It ends with the stream, or with the sender.
pub(super) fn start(
    mut door: Door,
    parties: watch::Receiver<Party>,
    (identity, entropy): (Arc<Identity>, Entropy),
) {
    tokio::spawn(async move {
        let plan = parties.borrow().plan;
        let work = AssertUnwindSafe(drive(&mut door, parties, (identity, entropy)));
        // A defect met by a peer's datagrams ends this stream, and nothing else.
        if work.catch_unwind().await.is_err() {
            tell(&mut door, Order::Failed { plan, why: KeyingFailure::Internal });
        }
    });
}

async fn drive(
    door: &mut Door,
    mut parties: watch::Receiver<Party>,
    (identity, mut entropy): (Arc<Identity>, Entropy),
) {
    let mut party = *parties.borrow_and_update();
    let mut keying = Keying::new(clock::now(), identity, party, &mut entropy);
    let mut told = 0;
    loop {
        while let Some(event) = keying.poll() {
            let plan = party.plan;
            match event {
                KeyingEvent::Send { to, datagram } => door.send(to, &datagram),
                KeyingEvent::Keyed { keys, from } => tell(door, Order::Keyed { plan, keys, from }),
                KeyingEvent::Failed(why) => tell(door, Order::Failed { plan, why }),
            }
        }
        let refused = keying.refused();
        metrics::rtp_dropped("handshake", refused - told);
        told = refused;
        let wake = keying.next_timeout();
        tokio::select! {
            biased;
            changed = parties.changed() => {
                if changed.is_err() {
                    return;
                }
                party = *parties.borrow_and_update();
                keying.change(clock::now(), party);
            }
            parcel = door.recv() => {
                let Some(parcel) = parcel else { return };
                keying.handle(clock::now(), parcel.address(), parcel.datagram());
            }
            () = sleep(wake) => keying.handle_timeout(clock::now()),
        }
    }
}

fn tell(door: &mut Door, order: Order) {
    match &order {
        Order::Send(_) => {}
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
