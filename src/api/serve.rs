//! Listening: connections are limited in number and by address, and a peer that dawdles over its
//! headers is cut off.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tower::util::BoxCloneService;

use super::request::Peer;
use crate::telemetry::metrics;

/// Connections at once: each takes a descriptor and about 20 kB. Further peers wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1_024;
/// Connections of one address at once; further ones are closed. A browser opens 6.
const CONNECTIONS_PER_IP_MAX: usize = 64;
/// Longest time for the head of a request, which also ends idle connections.
const HEADER_WAIT: Duration = Duration::from_secs(10);

/// What a peer may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections of all peers at once.
    pub connections: usize,
    /// Connections of one address at once.
    pub per_ip: usize,
    /// Longest time for the head of a request.
    pub header_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS_MAX,
            per_ip: CONNECTIONS_PER_IP_MAX,
            header_wait: HEADER_WAIT,
        }
    }
}

/// Most header fields of a request.
const HEADERS_MAX: usize = 64;
/// Largest head of a request, bytes.
const HEAD_BYTES_MAX: usize = 32 * 1_024;
/// Longest time that answers under way get after the stop.
pub const STOP_WAIT: Duration = Duration::from_secs(2);
/// Pause after a failed accept: the usual cause, no free descriptor, does not pass by itself at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Service = BoxCloneService<hyper::Request<hyper::body::Incoming>, Response, Infallible>;
type ByAddress = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// One connection of an address, counted until it is dropped.
struct Seat {
    seats: ByAddress,
    ip: IpAddr,
}

impl Seat {
    fn take(seats: &ByAddress, ip: IpAddr, most: usize) -> Option<Self> {
        let mut counts = seats.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(ip).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Self { seats: Arc::clone(seats), ip })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.ip) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.ip);
            }
        }
    }
}

/// Serves until `stop`, then lets answers under way finish. Event streams end by themselves if the
/// router was made with the same token.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    serve_with(listener, router, stop, Limits::default()).await;
}

pub(super) async fn serve_with(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    limits: Limits,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let seats = ByAddress::default();
    let tasks = TaskTracker::new();
    let abort = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = stop.cancelled() => break,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let Some(seat) = Seat::take(&seats, peer.ip().to_canonical(), limits.per_ip) else {
            metrics::queue_full("api_connections");
            continue;
        };
        let service = service(router.clone(), peer);
        let connection = connection(stream, service, limits.header_wait, stop.clone());
        let abort = abort.clone();
        tasks.spawn(async move {
            let _held = (place, seat);
            tokio::select! {
                () = connection => {}
                () = abort.cancelled() => {}
            }
        });
    }
    tasks.close();
    // Whoever does not read its answer now is cut off.
    if tokio::time::timeout(STOP_WAIT, tasks.wait()).await.is_err() {
        abort.cancel();
        tasks.wait().await;
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, place)),
        Err(error) => {
            tracing::warn!(%error, "failed to accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// The router for one peer.
fn service(router: Router, peer: SocketAddr) -> Service {
    router
        .map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            request.map(Body::new)
        })
        .boxed_clone()
}

async fn connection(
    stream: TcpStream,
    service: Service,
    header_wait: Duration,
    stop: CancellationToken,
) {
    // Events are small and wanted at once; a failure only makes them later.
    let _ = stream.set_nodelay(true);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(header_wait)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let served = http
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    tokio::pin!(served);
    let done = tokio::select! {
        done = served.as_mut() => done,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = done {
        tracing::debug!(%error, "a connection ended early");
    }
}
