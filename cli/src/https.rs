//! HTTPS to one address, trusted through the deployment's CA, with deadlines and limits.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign_coordinator::ApiProblem;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::failure::{Exit, Failure, OrFail as _, Outcome};

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 20;
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take, besides what was asked to wait.
const ANSWER: Duration = Duration::from_secs(30);

/// A server of the deployment.
pub struct Https {
    url: Url,
    tls: TlsConnector,
    /// What is at the other end, for messages.
    whom: &'static str,
}

struct Url {
    host: String,
    port: u16,
}

/// An answer that is no problem.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

/// What is asked.
pub struct Call<'a> {
    /// The method.
    pub method: Method,
    /// The path with its query.
    pub path: &'a str,
    /// Headers besides the usual ones.
    pub headers: &'a [(&'a str, String)],
    /// JSON.
    pub body: Option<Vec<u8>>,
    /// How much longer than usual the answer may take.
    pub patience: Duration,
}

impl Https {
    /// The server at a URL whose certificate the CA in a file issued. Nothing is connected yet.
    pub fn new(url: &str, ca_file: &Path, whom: &'static str) -> Outcome<Self> {
        let ca = std::fs::read(ca_file)
            .or_fail(Exit::Usage, format!("cannot read {}", ca_file.display()))?;
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&ca) {
            let certificate = certificate.or_fail(Exit::Usage, "the CA file is no PEM")?;
            roots
                .add(certificate)
                .or_fail(Exit::Usage, "the CA certificate cannot be used")?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .or_broken("TLS 1.3 is not available")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            url: Url::parse(url, whom)?,
            tls: TlsConnector::from(Arc::new(tls)),
            whom,
        })
    }

    /// Sends one request. What is no success becomes a [`Failure`] with its problem.
    pub async fn call(&self, call: Call<'_>) -> Outcome<Answer> {
        let limit = ANSWER.saturating_add(call.patience);
        let path = call.path;
        let answer = tokio::time::timeout(limit, self.exchange(call))
            .await
            .map_err(|_| {
                let seconds = limit.as_secs();
                Failure::new(
                    Exit::Unreachable,
                    format!("{} did not answer within {seconds} s", self.url),
                )
            })??;
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(match serde_json::from_slice::<ApiProblem>(&answer.body) {
            Ok(problem) => Failure::from_problem(problem),
            Err(_) => Failure::broken(format!("{} answered {} to {path}", self.url, answer.status)),
        })
    }

    async fn exchange(&self, call: Call<'_>) -> Outcome<Answer> {
        let stream = self.connect().await?;
        let unreachable = |what: &str| format!("{what} {}", self.url);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .or_fail(Exit::Unreachable, unreachable("cannot speak HTTP with"))?;
        let driver = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(call.method)
            .uri(call.path)
            .header(header::HOST, self.url.authority())
            .header(header::ACCEPT, "application/json, application/problem+json");
        if call.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in call.headers {
            request = request.header(*name, value);
        }
        let request = request
            .body(Full::new(Bytes::from(call.body.unwrap_or_default())))
            .or_fail(Exit::Usage, format!("cannot ask for {}", call.path))?;
        let response = sender
            .send_request(request)
            .await
            .or_fail(Exit::Unreachable, unreachable("no answer from"))?;
        let status = response.status();
        let collected = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await;
        driver.abort();
        let body = collected
            .map_err(|error| {
                Failure::new(
                    Exit::Unreachable,
                    format!("the answer of {} broke off: {error}", self.url),
                )
            })?
            .to_bytes();
        Ok(Answer { status, body })
    }

    async fn connect(&self) -> Outcome<tokio_rustls::client::TlsStream<TcpStream>> {
        let unreachable = format!(
            "cannot reach the {} at {}; is it running (countersign up)",
            self.whom, self.url
        );
        let connecting = TcpStream::connect((self.url.host.as_str(), self.url.port));
        let tcp = tokio::time::timeout(CONNECT, connecting)
            .await
            .or_fail(Exit::Unreachable, &unreachable)?
            .or_fail(Exit::Unreachable, &unreachable)?;
        tcp.set_nodelay(true)
            .or_fail(Exit::Unreachable, &unreachable)?;
        let name = ServerName::try_from(self.url.host.clone())
            .or_fail(Exit::Usage, format!("{} names no host", self.url))?;
        self.tls.connect(name, tcp).await.or_fail(
            Exit::Unreachable,
            format!(
                "{} does not prove to be this deployment's {}",
                self.url, self.whom
            ),
        )
    }
}

/// Reads an answer's JSON.
pub fn read_json<T: DeserializeOwned>(body: &[u8]) -> Outcome<T> {
    serde_json::from_slice(body).or_broken("the answer is not what this version reads")
}

impl Url {
    fn parse(text: &str, whom: &str) -> Outcome<Self> {
        let wrong = || {
            Failure::usage(format!(
                "the {whom}'s URL is {text:?}; it must look like https://host:port"
            ))
        };
        let rest = text.strip_prefix("https://").ok_or_else(wrong)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            None => (rest, 443),
        };
        if host.is_empty() || host.contains(['/', '@', '?', '#']) {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }

    fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}
