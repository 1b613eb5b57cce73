//! Calls to a node's emergency port: one connection for each, trusted through the deployment's CA.
//!
//! The CA proves nothing about who the node is; the node's signed ledger entry in the answer does, for whoever has the bundle.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::uri::Authority;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::tls::emergency_client_config;
use crate::wire::Problem;

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 8 << 20;
/// For a whole call.
const DEADLINE: Duration = Duration::from_secs(15);

/// Why a call to an emergency port has no answer.
#[derive(Debug, thiserror::Error)]
pub enum EmergencyError {
    /// Not `https://host:port`.
    #[error("{0:?} is not a node's address: use https://host:port")]
    Url(String),
    /// The CA's certificates cannot be used.
    #[error("the certificates of the CA cannot be used: {0}")]
    Authority(String),
    /// No connection, or it broke.
    #[error("{url} cannot be reached: {source}")]
    Unreachable {
        /// Who was called.
        url: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time; the call may have had its effect, and can be repeated.
    #[error("{url} did not answer within {} s", DEADLINE.as_secs())]
    Timeout {
        /// Who was called.
        url: String,
    },
    /// The node refused.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// The answer is not of the API.
    #[error("{url} answered outside the protocol: {what}")]
    Protocol {
        /// Who was called.
        url: String,
        /// What was wrong.
        what: String,
    },
}

/// A client of one node's emergency port.
pub struct EmergencyClient {
    authority: Authority,
    host: String,
    server_name: ServerName<'static>,
    connector: TlsConnector,
}

impl std::fmt::Debug for EmergencyClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EmergencyClient({})", self.authority)
    }
}

impl EmergencyClient {
    /// A client of `url` (`https://host:port`) that trusts the certificates of the CA, given as PEM.
    ///
    /// # Errors
    /// [`EmergencyError::Url`], [`EmergencyError::Authority`].
    pub fn new(url: &str, ca_pem: &str) -> Result<Self, EmergencyError> {
        let bad_url = || EmergencyError::Url(url.to_owned());
        let uri: http::Uri = url.parse().map_err(|_| bad_url())?;
        let authority = uri.authority().cloned().ok_or_else(bad_url)?;
        let bare = uri.scheme_str() == Some("https") && matches!(uri.path(), "" | "/");
        if !bare || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(bad_url());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let server_name = ServerName::try_from(host.clone()).map_err(|_| bad_url())?;
        let unusable = |e: &dyn std::fmt::Display| EmergencyError::Authority(e.to_string());
        let authorities: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(ca_pem.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|e| unusable(&e))?;
        let config = emergency_client_config(&authorities).map_err(|e| unusable(&e))?;
        Ok(Self {
            authority,
            host,
            server_name,
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    /// GET, and reads the answer's JSON.
    ///
    /// # Errors
    /// [`EmergencyError`].
    pub async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, EmergencyError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// POST of JSON, and reads the answer's JSON.
    ///
    /// # Errors
    /// [`EmergencyError`].
    pub async fn post_json<B: Serialize + Sync + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, EmergencyError> {
        let json = serde_json::to_vec(body).map_err(|e| self.protocol(e.to_string()))?;
        self.call(Method::POST, path, Bytes::from(json)).await
    }

    fn url(&self) -> String {
        format!("https://{}", self.authority)
    }

    fn protocol(&self, what: String) -> EmergencyError {
        EmergencyError::Protocol {
            url: self.url(),
            what,
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, EmergencyError> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url()))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Full::new(body))
            .map_err(|e| self.protocol(e.to_string()))?;
        let (status, bytes) = match timeout(DEADLINE, self.exchange(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(source)) => {
                return Err(EmergencyError::Unreachable {
                    url: self.url(),
                    source,
                });
            }
            Err(_) => return Err(EmergencyError::Timeout { url: self.url() }),
        };
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|e| self.protocol(e.to_string()));
        }
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) if problem.status == status.as_u16() => {
                Err(EmergencyError::Problem(Box::new(problem)))
            }
            _ => Err(self.protocol(format!("status {status} without a problem document"))),
        }
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(http::StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let port = self.authority.port_u16().unwrap_or(443);
        let tcp = TcpStream::connect((self.host.as_str(), port)).await?;
        let tls = self
            .connector
            .connect(self.server_name.clone(), tcp)
            .await?;
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await?;
        let driving = tokio::spawn(connection);
        let response = sender.send_request(request).await?;
        let (parts, body) = response.into_parts();
        let bytes = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
        driving.abort();
        Ok((parts.status, bytes))
    }
}
