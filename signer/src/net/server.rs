//! The HTTPS server of a node: members only, with limits on everything.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;
use tracing::Instrument as _;

use countersign_policy::MemberId;

use super::bundle::BundleHandle;
use super::identity::{Credential, IdentityError, PeerIdentity, TlsIdentity};
use super::refusals::{Refusals, chain};
use super::tls::{present, server_config};
use crate::wire::{Problem, ProblemCode};

/// Bounds of a [`Server`].
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// Connections of members at once.
    pub max_connections: usize,
    /// Connections of one member at once.
    pub max_connections_per_member: usize,
    /// Handshakes under way at once.
    pub max_handshakes: usize,
    /// Handshakes under way at once from one IP address.
    pub max_handshakes_per_address: usize,
    /// For the TLS handshake.
    pub handshake_timeout: Duration,
    /// For reading a request and answering it.
    pub request_timeout: Duration,
    /// All headers of a request, in bytes.
    pub max_header_bytes: u32,
    /// The body of a request, in bytes; a route can set its own with `DefaultBodyLimit`.
    pub max_body_bytes: usize,
    /// Requests at once on one connection.
    pub max_concurrent_streams: u32,
    /// How often a connection is pinged, and how long a ping may stay unanswered.
    pub ping_interval: Duration,
    /// How long running requests may go on after a shutdown was asked for.
    pub drain_timeout: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            max_connections: 256,
            max_connections_per_member: 16,
            max_handshakes: 128,
            max_handshakes_per_address: 32,
            handshake_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(120),
            max_header_bytes: 16 << 10,
            max_body_bytes: 4 << 20,
            max_concurrent_streams: 128,
            ping_interval: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// Why a server cannot start.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The address cannot be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The socket has no address.
    #[error("the listening socket is unusable")]
    Socket(#[source] std::io::Error),
    /// Unusable certificates.
    #[error("unusable TLS identity")]
    Identity(#[from] IdentityError),
}

/// What a server counted since it started.
#[derive(Debug, Default)]
pub struct ServerCounters {
    /// Connections whose handshake succeeded.
    pub accepted: AtomicU64,
    /// Connections dropped at the handshake: no acceptable certificate, no TLS, or too slow.
    pub strangers: AtomicU64,
    /// Connections dropped because a limit was reached.
    pub over_limit: AtomicU64,
    /// Requests on connections whose member is no longer trusted.
    pub revoked: AtomicU64,
    /// Requests that took too long.
    pub timed_out: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A running server. Dropping it stops it at once; [`Server::shutdown`] lets running requests end.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    counters: Arc<ServerCounters>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl Server {
    /// Binds `address` (port 0 takes a free one) and serves `router`. Every request carries the caller's [`PeerIdentity`] as an extension.
    pub async fn bind(
        address: SocketAddr,
        identity: &TlsIdentity,
        bundle: BundleHandle,
        router: Router,
        limits: ServerLimits,
    ) -> Result<Self, ServerError> {
        let nobody = Refusals::default();
        Self::bind_telling(address, identity, bundle, router, limits, nobody).await
    }

    /// The same, and tells whom it turns away.
    pub async fn bind_telling(
        address: SocketAddr,
        identity: &TlsIdentity,
        bundle: BundleHandle,
        router: Router,
        limits: ServerLimits,
        refusals: Refusals,
    ) -> Result<Self, ServerError> {
        let bound = |source| ServerError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bound)?;
        Self::start(listener, identity, bundle, router, limits, refusals)
    }

    /// The same on a socket that is bound already.
    pub fn serve(
        listener: TcpListener,
        identity: &TlsIdentity,
        bundle: BundleHandle,
        router: Router,
        limits: ServerLimits,
    ) -> Result<Self, ServerError> {
        let nobody = Refusals::default();
        Self::start(listener, identity, bundle, router, limits, nobody)
    }

    fn start(
        listener: TcpListener,
        identity: &TlsIdentity,
        bundle: BundleHandle,
        router: Router,
        limits: ServerLimits,
        refusals: Refusals,
    ) -> Result<Self, ServerError> {
        let clock = Arc::new(rustls::time_provider::DefaultTimeProvider);
        let config = server_config(identity, bundle.clone(), clock)?;
        let address = listener.local_addr().map_err(ServerError::Socket)?;
        let counters = Arc::new(ServerCounters::default());
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            bundle,
            router: router.layer(DefaultBodyLimit::max(limits.max_body_bytes)),
            limits,
            counters: Arc::clone(&counters),
            refusals,
            occupancy: Mutex::default(),
            stopped,
        });
        let task = tokio::spawn(shared.accept_all(listener));
        Ok(Self {
            address,
            counters,
            stop,
            task: Some(task),
        })
    }

    /// The address it listens on.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// What it counted.
    pub fn counters(&self) -> &ServerCounters {
        &self.counters
    }

    /// Accepts nothing more, lets running requests end within the drain timeout, then closes every connection.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the server task failed");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

struct Shared {
    acceptor: TlsAcceptor,
    bundle: BundleHandle,
    router: Router,
    limits: ServerLimits,
    counters: Arc<ServerCounters>,
    refusals: Refusals,
    occupancy: Mutex<Occupancy>,
    stopped: watch::Receiver<bool>,
}

/// How many connections there are, and who was complained about lately.
#[derive(Default)]
struct Occupancy {
    handshakes: HashMap<IpAddr, usize>,
    members: HashMap<MemberId, usize>,
    complaints: HashMap<IpAddr, Instant>,
}

/// Addresses remembered for the once-a-minute complaint.
const MAX_COMPLAINTS: usize = 1024;
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

impl Occupancy {
    fn admit_handshake(&mut self, address: IpAddr, limits: &ServerLimits) -> bool {
        let total: usize = self.handshakes.values().sum();
        let here = self.handshakes.get(&address).copied().unwrap_or_default();
        let admitted = total < limits.max_handshakes && here < limits.max_handshakes_per_address;
        if admitted {
            self.handshakes.insert(address, here.saturating_add(1));
        }
        admitted
    }

    fn admit_member(&mut self, member: &MemberId, limits: &ServerLimits) -> bool {
        let total: usize = self.members.values().sum();
        let here = self.members.get(member).copied().unwrap_or_default();
        let admitted = total < limits.max_connections && here < limits.max_connections_per_member;
        if admitted {
            self.members.insert(member.clone(), here.saturating_add(1));
        }
        admitted
    }

    /// Whether to log about this address: once a minute.
    fn complain(&mut self, address: IpAddr) -> bool {
        let now = Instant::now();
        self.complaints
            .retain(|_, at| now.saturating_duration_since(*at) < COMPLAINT_INTERVAL);
        let new = !self.complaints.contains_key(&address) && self.complaints.len() < MAX_COMPLAINTS;
        if new {
            self.complaints.insert(address, now);
        }
        new
    }
}

fn leave<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// Gives a handshake's place back, whatever ends it.
struct HandshakePlace(Arc<Shared>, IpAddr);

impl Drop for HandshakePlace {
    fn drop(&mut self) {
        leave(&mut self.0.occupancy().handshakes, &self.1);
    }
}

/// Gives a member's place back, whatever ends the connection.
struct MemberPlace(Arc<Shared>, MemberId);

impl Drop for MemberPlace {
    fn drop(&mut self) {
        leave(&mut self.0.occupancy().members, &self.1);
    }
}

impl Shared {
    fn occupancy(&self) -> std::sync::MutexGuard<'_, Occupancy> {
        self.occupancy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn accept_all(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        let mut stopped = self.stopped.clone();
        loop {
            tokio::select! {
                () = raised(&mut stopped) => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((tcp, address)) => self.admit(tcp, address, &mut connections),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                },
            }
        }
        drop(listener);
        let drained = async { while connections.join_next().await.is_some() {} };
        if timeout(self.limits.drain_timeout, drained).await.is_err() {
            tracing::warn!("requests were cut off at shutdown");
        }
    }

    fn admit(self: &Arc<Self>, tcp: TcpStream, address: SocketAddr, connections: &mut JoinSet<()>) {
        if !self.occupancy().admit_handshake(address.ip(), &self.limits) {
            count(&self.counters.over_limit);
            return;
        }
        let place = HandshakePlace(Arc::clone(self), address.ip());
        connections.spawn(Arc::clone(self).serve(tcp, address, place));
    }

    async fn serve(self: Arc<Self>, tcp: TcpStream, address: SocketAddr, place: HandshakePlace) {
        let handshake = timeout(self.limits.handshake_timeout, self.handshake(tcp)).await;
        let outcome = handshake.unwrap_or_else(|_| Err("the handshake took too long".into()));
        drop(place);
        let (tls, credential, peer) = match outcome {
            Ok(established) => established,
            Err(error) => {
                count(&self.counters.strangers);
                let error = crate::plain::plain(&chain(error.as_ref()));
                let subject = ("connection", &address.ip() as &dyn std::fmt::Display);
                self.refusals
                    .tell(None, subject, ProblemCode::Forbidden, error.clone());
                if self.occupancy().complain(address.ip()) {
                    tracing::warn!(%address, error, "stranger dropped at the handshake");
                }
                return;
            }
        };
        if !self.occupancy().admit_member(&peer.member, &self.limits) {
            count(&self.counters.over_limit);
            let subject = ("connection", &peer.member as &dyn std::fmt::Display);
            let detail = "too many connections";
            self.refusals
                .tell(Some(&peer.member), subject, ProblemCode::Busy, detail);
            tracing::debug!(peer = %peer.member, detail);
            return;
        }
        let place = MemberPlace(Arc::clone(&self), peer.member.clone());
        count(&self.counters.accepted);
        let span = tracing::debug_span!("connection", peer = %peer.member);
        self.run(tls, credential).instrument(span).await;
        drop(place);
    }

    async fn handshake(
        &self,
        tcp: TcpStream,
    ) -> Result<
        (TlsStream<TcpStream>, Credential, PeerIdentity),
        Box<dyn std::error::Error + Send + Sync>,
    > {
        tcp.set_nodelay(true)?;
        let tls = self.acceptor.accept(tcp).await?;
        let session = tls.get_ref().1;
        if session.alpn_protocol() != Some(b"h2") {
            return Err("the caller does not speak HTTP/2".into());
        }
        let certificate = session
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(|certificate| certificate.clone().into_owned())
            .ok_or("no certificate")?;
        let credential = Credential::new(certificate, &self.bundle, present())?;
        let peer = credential.peer(&self.bundle, present())?;
        Ok((tls, credential, peer))
    }

    async fn run(self: &Arc<Self>, tls: TlsStream<TcpStream>, credential: Credential) {
        let credential = Arc::new(credential);
        let (lost, mut distrusted) = watch::channel(false);
        let lost = Arc::new(lost);
        let service = service_fn(|request| {
            let (shared, credential) = (Arc::clone(self), Arc::clone(&credential));
            let lost = Arc::clone(&lost);
            async move {
                let response = shared.answer(request, &credential).await;
                response.map_or_else(
                    |error| {
                        tracing::warn!(%error, "connection closed: its member is no longer trusted");
                        lost.send_replace(true);
                        let detail = "this connection's certificate no longer counts";
                        Ok(ProblemCode::Forbidden.problem(detail).into_response())
                    },
                    Ok::<_, Infallible>,
                )
            }
        });
        let limits = &self.limits;
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(limits.ping_interval)
            .keep_alive_timeout(limits.ping_interval)
            .max_concurrent_streams(limits.max_concurrent_streams)
            .max_header_list_size(limits.max_header_bytes)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(8 << 20)
            .serve_connection(TokioIo::new(tls), service);
        tokio::pin!(connection);
        let mut stopped = self.stopped.clone();
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = raised(&mut stopped) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = raised(&mut distrusted) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection lost");
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        credential: &Credential,
    ) -> Result<Response, IdentityError> {
        let peer = credential
            .peer(&self.bundle, present())
            .inspect_err(|_| count(&self.counters.revoked))?;
        let member = peer.member.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        let answered = self.router.clone().oneshot(request);
        let Ok(answer) = timeout(self.limits.request_timeout, answered).await else {
            count(&self.counters.timed_out);
            let detail = "the request took too long";
            let subject = ("request", &member as &dyn std::fmt::Display);
            self.refusals
                .tell(Some(&member), subject, ProblemCode::Timeout, detail);
            return Ok(ProblemCode::Timeout.problem(detail).into_response());
        };
        Ok(answer.unwrap_or_else(|never: Infallible| match never {}))
    }
}

/// Waits until a flag is set, or nobody is left who could set it.
async fn raised(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|set| *set).await.is_ok();
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = HeaderValue::from_static("application/problem+json");
        let body = serde_json::to_vec(&self).unwrap_or_default();
        (status, [(CONTENT_TYPE, kind)], body).into_response()
    }
}
