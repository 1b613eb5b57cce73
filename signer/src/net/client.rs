//! Calls to one member over HTTP/2 and mutual TLS.
//!
//! One connection, kept and tested with pings; after a failure the next attempt waits a growing, jittered time, and calls in
//! between fail at once, so that a caller can turn to another member. Nothing is sent twice by this layer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rand_core::RngCore as _;
use rustls_pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use countersign_policy::{MemberId, Timestamp};

use super::bundle::BundleHandle;
use super::identity::{Credential, IdentityError, TlsIdentity};
use super::tls::{client_config, present};
use crate::wire::Problem;

/// Bounds of a [`NodeClient`].
#[derive(Debug, Clone)]
pub struct ClientLimits {
    /// For TCP connection and TLS handshake together.
    pub connect_timeout: Duration,
    /// The largest response body, in bytes.
    pub max_response_bytes: usize,
    /// How often an idle or busy connection is pinged.
    pub ping_interval: Duration,
    /// How long a ping may stay unanswered before the connection counts as lost.
    pub ping_timeout: Duration,
    /// The wait after the first failed connection; doubles with each further one.
    pub backoff_start: Duration,
    /// The longest such wait.
    pub backoff_limit: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            max_response_bytes: 8 << 20,
            ping_interval: Duration::from_secs(5),
            ping_timeout: Duration::from_secs(5),
            backoff_start: Duration::from_millis(50),
            backoff_limit: Duration::from_secs(2),
        }
    }
}

/// How a call can end without its answer.
#[derive(Debug, Error)]
pub enum CallError {
    /// No connection: the request was not sent, or the connection broke before the answer.
    #[error("{member} cannot be reached")]
    Unreachable {
        /// Who was called.
        member: MemberId,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time; the request may have had its effect.
    #[error("{member} did not answer within {} ms", .after.as_millis())]
    Timeout {
        /// Who was called.
        member: MemberId,
        /// The deadline of the call.
        after: Duration,
    },
    /// The member answered with an error of its API.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// The member answered with something that is not of its API.
    #[error("{member} answered outside the protocol: {what}")]
    Protocol {
        /// Who was called.
        member: MemberId,
        /// What was wrong.
        what: String,
    },
}

/// Why a client cannot be made.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Not `https://host:port`.
    #[error("{0:?} is not a node's address: use https://host:port")]
    Url(String),
    /// Unusable certificates.
    #[error("unusable TLS identity")]
    Identity(#[from] IdentityError),
}

/// The wait after a failed connection is not over.
#[derive(Debug, Error)]
#[error("the last connection failed; the next attempt is due in {} ms", .0.as_millis())]
struct BackingOff(Duration);

type Refusal = Box<dyn std::error::Error + Send + Sync>;
type Sender = SendRequest<Full<Bytes>>;

/// A client of one member. Clones share the connection.
#[derive(Clone)]
pub struct NodeClient(Arc<Inner>);

struct Inner {
    member: MemberId,
    authority: Authority,
    address: (String, u16),
    server_name: ServerName<'static>,
    connector: TlsConnector,
    bundle: BundleHandle,
    limits: ClientLimits,
    slot: Mutex<Slot>,
    connected: AtomicBool,
    /// Milliseconds since 1970; 0 for never.
    last_seen: AtomicI64,
    /// Set when the member called us: it is alive, so the wait can end.
    awake: AtomicBool,
}

struct Slot {
    connection: Option<(Sender, Arc<Credential>)>,
    failures: u32,
    retry_at: Instant,
}

impl NodeClient {
    /// A client that will connect to `member` at `url` (`https://host:port`) when it is first used.
    pub fn new(
        member: MemberId,
        url: &str,
        identity: &TlsIdentity,
        bundle: BundleHandle,
        limits: ClientLimits,
    ) -> Result<Self, ClientError> {
        let bad_url = || ClientError::Url(url.to_owned());
        let uri: http::Uri = url.parse().map_err(|_| bad_url())?;
        let authority = uri.authority().cloned().ok_or_else(bad_url)?;
        let bare = uri.scheme_str() == Some("https") && matches!(uri.path(), "" | "/");
        if !bare || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(bad_url());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let server_name = ServerName::try_from(host.clone()).map_err(|_| bad_url())?;
        let clock = Arc::new(rustls::time_provider::DefaultTimeProvider);
        let config = client_config(identity, bundle.clone(), member.clone(), clock)?;
        Ok(Self(Arc::new(Inner {
            member,
            address: (host, authority.port_u16().unwrap_or(443)),
            authority,
            server_name,
            connector: TlsConnector::from(Arc::new(config)),
            bundle,
            limits,
            slot: Mutex::new(Slot {
                connection: None,
                failures: 0,
                retry_at: Instant::now(),
            }),
            connected: AtomicBool::new(false),
            last_seen: AtomicI64::new(0),
            awake: AtomicBool::new(false),
        })))
    }

    /// Who is called.
    pub fn member(&self) -> &MemberId {
        &self.0.member
    }

    /// Whether a connection stands.
    pub fn is_connected(&self) -> bool {
        self.0.connected.load(Ordering::Relaxed)
    }

    /// When the member last answered anything.
    pub fn last_seen(&self) -> Option<Timestamp> {
        let millis = self.0.last_seen.load(Ordering::Relaxed);
        (millis > 0).then(|| Timestamp::from_millis(millis))
    }

    /// Ends the wait after a failed connection: the member has just shown that it is alive.
    pub fn wake(&self) {
        self.0.awake.store(true, Ordering::Relaxed);
    }

    /// GET, and reads the answer's JSON.
    pub async fn get_json<T: DeserializeOwned>(
        &self,
        path: &str,
        deadline: Duration,
    ) -> Result<T, CallError> {
        let answer = self
            .call(Method::GET, path, None, Bytes::new(), deadline)
            .await?;
        self.parse(&answer)
    }

    /// POST of JSON, and reads the answer's JSON.
    pub async fn post_json<B: Serialize + Sync + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        deadline: Duration,
    ) -> Result<T, CallError> {
        let json = serde_json::to_vec(body)
            .map_err(|error| self.protocol(format!("own request has no JSON form: {error}")))?;
        let kind = HeaderValue::from_static("application/json");
        let answer = self
            .call(Method::POST, path, Some(kind), Bytes::from(json), deadline)
            .await?;
        self.parse(&answer)
    }

    /// POST of bytes, and returns the answer's bytes.
    pub async fn post_bytes(
        &self,
        path: &str,
        body: impl Into<Bytes>,
        deadline: Duration,
    ) -> Result<Bytes, CallError> {
        let kind = HeaderValue::from_static("application/octet-stream");
        self.call(Method::POST, path, Some(kind), body.into(), deadline)
            .await
    }

    fn parse<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, CallError> {
        serde_json::from_slice(answer)
            .map_err(|error| self.protocol(format!("the answer is not the expected JSON: {error}")))
    }

    fn protocol(&self, what: impl Into<String>) -> CallError {
        CallError::Protocol {
            member: self.0.member.clone(),
            what: what.into(),
        }
    }

    fn unreachable(&self, source: impl Into<Refusal>) -> CallError {
        CallError::Unreachable {
            member: self.0.member.clone(),
            source: source.into(),
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        kind: Option<HeaderValue>,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, CallError> {
        let request = self.request(method, path, kind, body)?;
        match timeout(deadline, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(CallError::Timeout {
                member: self.0.member.clone(),
                after: deadline,
            }),
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        kind: Option<HeaderValue>,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, CallError> {
        let uri = http::Uri::builder()
            .scheme("https")
            .authority(self.0.authority.clone())
            .path_and_query(path)
            .build()
            .map_err(|error| self.protocol(format!("own path {path:?}: {error}")))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        if let Some(kind) = kind {
            request.headers_mut().insert(CONTENT_TYPE, kind);
        }
        Ok(request)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Bytes, CallError> {
        let mut request = request;
        // A connection can turn out to be gone when it is used; what was certainly not sent goes over the next one.
        for _ in 0..2 {
            let mut sender = self
                .sender()
                .await
                .map_err(|error| self.unreachable(error))?;
            match sender.try_send_request(request).await {
                Ok(response) => return self.read(response).await,
                Err(mut refused) => match refused.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(self.unreachable(refused.into_error())),
                },
            }
        }
        Err(self.unreachable("connections break before the request is sent"))
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Bytes, CallError> {
        self.0
            .last_seen
            .store(present().as_millis(), Ordering::Relaxed);
        let (parts, body) = response.into_parts();
        let limit = self.0.limits.max_response_bytes;
        let bytes = match Limited::new(body, limit).collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(self.protocol(format!("the answer exceeds {limit} bytes")));
            }
            Err(error) => return Err(self.unreachable(error)),
        };
        if parts.status.is_success() {
            return Ok(bytes);
        }
        Err(self.refusal(parts.status, &bytes))
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> CallError {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) if problem.status == status.as_u16() => {
                CallError::Problem(Box::new(problem))
            }
            _ => self.protocol(format!("status {status} without a problem document")),
        }
    }

    /// The standing connection, or a new one.
    async fn sender(&self) -> Result<Sender, Refusal> {
        let mut slot = self.0.slot.lock().await;
        if let Some((sender, credential)) = &slot.connection {
            let usable = !sender.is_closed() && self.still_trusted(credential);
            if usable {
                return Ok(sender.clone());
            }
            slot.connection = None;
        }
        let wait = slot.retry_at.saturating_duration_since(Instant::now());
        if !wait.is_zero() && !self.0.awake.load(Ordering::Relaxed) {
            return Err(BackingOff(wait).into());
        }
        self.0.awake.store(false, Ordering::Relaxed);
        let attempt = timeout(self.0.limits.connect_timeout, self.connect()).await;
        match attempt.unwrap_or_else(|_| Err("no connection in time".into())) {
            Ok((sender, credential)) => {
                slot.failures = 0;
                slot.connection = Some((sender.clone(), Arc::new(credential)));
                Ok(sender)
            }
            Err(error) => {
                slot.retry_at = Instant::now()
                    .checked_add(self.backoff(slot.failures))
                    .unwrap_or_else(Instant::now);
                slot.failures = slot.failures.saturating_add(1);
                tracing::debug!(peer = %self.0.member, failures = slot.failures, %error, "no connection");
                Err(error)
            }
        }
    }

    fn still_trusted(&self, credential: &Credential) -> bool {
        match credential.peer(&self.0.bundle, present()) {
            Ok(peer) => peer.member == self.0.member,
            Err(error) => {
                tracing::warn!(peer = %self.0.member, %error, "connection dropped: no longer trusted");
                false
            }
        }
    }

    /// Between half and all of the doubled wait.
    fn backoff(&self, failures: u32) -> Duration {
        let limits = &self.0.limits;
        let full = limits
            .backoff_start
            .saturating_mul(2u32.saturating_pow(failures.min(16)))
            .min(limits.backoff_limit);
        let half = full.checked_div(2).unwrap_or_default();
        let spread = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
        let jitter = rand_core::OsRng
            .next_u64()
            .checked_rem(spread)
            .unwrap_or_default();
        half.saturating_add(Duration::from_micros(jitter))
    }

    async fn connect(&self) -> Result<(Sender, Credential), Refusal> {
        let inner = &self.0;
        let (host, port) = (inner.address.0.as_str(), inner.address.1);
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        let tls = inner
            .connector
            .connect(inner.server_name.clone(), tcp)
            .await?;
        let certificate = tls
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(|certificate| certificate.clone().into_owned())
            .ok_or("no certificate")?;
        let credential = Credential::new(certificate, &inner.bundle, present())?;
        let limits = &inner.limits;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(limits.ping_interval)
            .keep_alive_timeout(limits.ping_timeout)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(8 << 20)
            .max_header_list_size(16 << 10)
            .handshake(TokioIo::new(tls))
            .await?;
        inner.connected.store(true, Ordering::Relaxed);
        let watched = Arc::downgrade(inner);
        let member = inner.member.clone();
        tokio::spawn(async move {
            let end = connection.await;
            if let Some(inner) = watched.upgrade() {
                inner.connected.store(false, Ordering::Relaxed);
            }
            match end {
                Ok(()) => tracing::debug!(peer = %member, "connection closed"),
                Err(error) => tracing::info!(peer = %member, %error, "connection lost"),
            }
        });
        Ok((sender, credential))
    }
}

impl std::fmt::Debug for NodeClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeClient({} at {})", self.0.member, self.0.authority)
    }
}
