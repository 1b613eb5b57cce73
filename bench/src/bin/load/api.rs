//! The coordinator's API as a payment service uses it: one HTTPS connection, kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request as HttpRequest, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::deployment::{Deployment, Outcome};
use crate::requests::Request;

/// A connection to the coordinator.
pub struct Api {
    address: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Api {
    pub async fn connect(deployment: &Deployment) -> Outcome<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(deployment.authority.as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let address = deployment.coordinator_address.clone();
        let host = address.rsplit_once(':').ok_or("no port")?.0.to_owned();
        let tcp = TcpStream::connect(&address).await?;
        tcp.set_nodelay(true)?;
        let tls = TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from(host)?, tcp)
            .await?;
        let (sender, connection) = handshake(TokioIo::new(tls)).await?;
        tokio::spawn(connection);
        Ok(Self { address, sender })
    }

    /// Asks for a signature and waits for it.
    pub async fn sign(&mut self, request: &Request) -> Outcome<Duration> {
        let body = serde_json::to_vec(&request.envelope)?;
        let call = HttpRequest::post("/v1/sign-requests")
            .header(header::HOST, &self.address)
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", request.envelope.digest().to_hex())
            .header("prefer", "wait=30")
            .body(Full::new(Bytes::from(body)))?;
        let started = Instant::now();
        let answer = self.sender.send_request(call).await?;
        let body = answer.into_body().collect().await?.to_bytes();
        let took = started.elapsed();
        let view: Value = serde_json::from_slice(&body)?;
        if view["state"] != "SIGNED" || !view["signed"].is_string() {
            return Err(format!("no signature: {}", String::from_utf8_lossy(&body)).into());
        }
        Ok(took)
    }
}
