//! The emergency port: TLS without client certificates, for people who stop something with a statement that proves itself.
//!
//! Officers and approvers have no machine certificates, and a coordinator that was taken over would not pass on what stops
//! it. Whoever reaches the port can make the node verify signatures, so everything is bounded: connections, connections of an
//! address, handshakes, bodies, time, and calls of an address in a minute.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::IntoResponse as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::ServerError;
use super::identity::TlsIdentity;
use super::tls::emergency_config;
use crate::wire::ProblemCode;

/// Connections at once.
const CONNECTIONS: usize = 64;
/// Connections at once from one address.
const PER_ADDRESS: usize = 4;
/// Calls that an address has at once, and gets back one a second.
const BURST: u32 = 30;
/// Addresses remembered; beyond them new ones wait until others were silent for a while.
const ADDRESSES: usize = 4096;
/// For the handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A connection that is older is closed, whatever it does.
const CONNECTION: Duration = Duration::from_secs(60);
/// For the headers of a request.
const HEADERS: Duration = Duration::from_secs(5);

/// A running emergency port. It ends when it is dropped.
#[derive(Debug)]
pub struct EmergencyServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for EmergencyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl EmergencyServer {
    /// Closes the port: when this returns, another process can listen there.
    pub async fn shutdown(mut self) {
        self.task.abort();
        // It ends by being aborted; there is nothing else to hear from it.
        let _aborted = (&mut self.task).await;
    }

    /// Binds `address` (port 0 takes a free one) and serves `router` to everybody.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn bind(
        address: SocketAddr,
        identity: &TlsIdentity,
        router: Router,
    ) -> Result<Self, ServerError> {
        let acceptor = TlsAcceptor::from(Arc::new(emergency_config(identity)?));
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ServerError::Bind { address, source })?;
        let address = listener.local_addr().map_err(ServerError::Socket)?;
        let guests = Arc::new(Guests::default());
        let task = tokio::spawn(accept_all(listener, acceptor, router, guests));
        Ok(Self { address, task })
    }

    /// The address it listens on.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }
}

/// Who is here, and how much each may still ask.
#[derive(Default)]
struct Guests(Mutex<HashMap<IpAddr, Guest>>);

struct Guest {
    connections: usize,
    credit: u32,
    since: Instant,
}

impl Guest {
    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since).as_secs();
        if passed > 0 {
            let earned = u32::try_from(passed).unwrap_or(u32::MAX);
            self.credit = self.credit.saturating_add(earned).min(BURST);
            self.since = now;
        }
    }
}

impl Guests {
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<GuestPlace> {
        let now = Instant::now();
        let mut guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if guests.len() >= ADDRESSES && !guests.contains_key(&address) {
            guests.retain(|_, guest| {
                guest.refill(now);
                guest.connections > 0 || guest.credit < BURST
            });
            if guests.len() >= ADDRESSES {
                return None;
            }
        }
        let guest = guests.entry(address).or_insert(Guest {
            connections: 0,
            credit: BURST,
            since: now,
        });
        if guest.connections >= PER_ADDRESS {
            return None;
        }
        guest.connections = guest.connections.saturating_add(1);
        Some(GuestPlace(Arc::clone(self), address))
    }

    /// Whether an address may make one more call.
    fn spend(&self, address: IpAddr) -> bool {
        let mut guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(guest) = guests.get_mut(&address) else {
            return false;
        };
        guest.refill(Instant::now());
        match guest.credit.checked_sub(1) {
            Some(left) => {
                guest.credit = left;
                true
            }
            None => false,
        }
    }
}

/// Gives a connection's place back, whatever ends it.
struct GuestPlace(Arc<Guests>, IpAddr);

impl Drop for GuestPlace {
    fn drop(&mut self) {
        let mut guests = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(guest) = guests.get_mut(&self.1) {
            guest.connections = guest.connections.saturating_sub(1);
        }
    }
}

async fn accept_all(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    router: Router,
    guests: Arc<Guests>,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((tcp, address)) => {
                    // Over a limit the connection is dropped at once.
                    if let Ok(slot) = Arc::clone(&slots).try_acquire_owned()
                        && let Some(place) = guests.enter(address.ip())
                    {
                        let serving = serve(tcp, acceptor.clone(), router.clone(), place, slot);
                        connections.spawn(serving);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection at the emergency port");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
        }
    }
}

async fn serve(
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    router: Router,
    place: GuestPlace,
    slot: OwnedSemaphorePermit,
) {
    // Without it answers wait for acknowledgements; a failure only costs time.
    let _ = tcp.set_nodelay(true);
    let Ok(Ok(tls)) = timeout(HANDSHAKE, acceptor.accept(tcp)).await else {
        return;
    };
    let (guests, address) = (Arc::clone(&place.0), place.1);
    let router = router.layer(axum::middleware::from_fn(
        move |request, next: axum::middleware::Next| {
            let allowed = guests.spend(address);
            async move {
                match allowed {
                    true => next.run(request).await,
                    false => ProblemCode::Busy
                        .problem("too many calls from this address; wait some seconds")
                        .into_response(),
                }
            }
        },
    ));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_headers(64);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(4)
        .max_header_list_size(16 << 10);
    let connection = builder.serve_connection(TokioIo::new(tls), TowerToHyperService::new(router));
    if let Ok(Err(error)) = timeout(CONNECTION, connection).await {
        tracing::debug!(%error, "connection to the emergency port lost");
    }
    drop((place, slot));
}
