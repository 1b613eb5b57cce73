//! TLS 1.3 with certificates on both sides, judged by the active bundle.
//!
//! The provider is AWS-LC with its hybrid post-quantum key exchange (X25519MLKEM768) preferred; nothing depends on a
//! process-wide default. Sessions are never resumed: a resumed one would skip the certificate of the other side.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    RootCertStore, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use countersign_policy::{MemberId, Timestamp};

use super::bundle::BundleHandle;
use super::identity::{IdentityError, PeerIdentity, TlsIdentity};

/// HTTP/2 and nothing else (RFC 7301, RFC 9113).
const ALPN: &[u8] = b"h2";

/// The present, for those who judge certificates.
pub(super) fn present() -> Timestamp {
    DefaultTimeProvider
        .current_time()
        .map_or(Timestamp::from_millis(i64::MAX), timestamp)
}

/// A clock that cannot be read is as good as one in the far future: everything has expired.
fn timestamp(now: UnixTime) -> Timestamp {
    let millis = i64::try_from(now.as_secs())
        .unwrap_or(i64::MAX)
        .saturating_mul(1000);
    Timestamp::from_millis(millis)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn roots(identity: &TlsIdentity) -> Result<Arc<RootCertStore>, IdentityError> {
    let mut roots = RootCertStore::empty();
    for authority in &identity.authorities {
        roots.add(authority.clone())?;
    }
    Ok(Arc::new(roots))
}

/// For a machine that is called: the caller must be a node or a coordinator.
pub(super) fn server_config(
    identity: &TlsIdentity,
    bundle: BundleHandle,
    clock: Arc<dyn TimeProvider>,
) -> Result<ServerConfig, IdentityError> {
    let provider = provider();
    let verifier = MachineClientVerifier {
        chain: WebPkiClientVerifier::builder_with_provider(roots(identity)?, Arc::clone(&provider))
            .build()?,
        bundle,
    };
    let mut config = ServerConfig::builder_with_details(provider, clock)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// For a machine that calls `expected`.
pub(super) fn client_config(
    identity: &TlsIdentity,
    bundle: BundleHandle,
    expected: MemberId,
    clock: Arc<dyn TimeProvider>,
) -> Result<ClientConfig, IdentityError> {
    let provider = provider();
    let verifier = MachineServerVerifier {
        chain: WebPkiServerVerifier::builder_with_provider(roots(identity)?, Arc::clone(&provider))
            .build()?,
        bundle,
        expected,
    };
    let mut config = ClientConfig::builder_with_details(provider, clock)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// For the emergency port: the node shows its certificate, and asks for none.
pub(super) fn emergency_config(identity: &TlsIdentity) -> Result<ServerConfig, IdentityError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())?;
    config.alpn_protocols = vec![ALPN.to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// For whoever calls an emergency port: the deployment's CA vouches for the host.
pub(super) fn emergency_client_config(
    authorities: &[CertificateDer<'static>],
) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone())?;
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn refuse(error: IdentityError) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

/// The CA's chain, then the voucher.
#[derive(Debug)]
struct MachineClientVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    bundle: BundleHandle,
}

impl ClientCertVerifier for MachineClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)?;
        PeerIdentity::establish(end_entity, &self.bundle.current(), timestamp(now))
            .map_err(refuse)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// The CA's chain and the host's name, then the voucher of the member that was called.
#[derive(Debug)]
struct MachineServerVerifier {
    chain: Arc<WebPkiServerVerifier>,
    bundle: BundleHandle,
    expected: MemberId,
}

impl ServerCertVerifier for MachineServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.chain.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        let peer = PeerIdentity::establish(end_entity, &self.bundle.current(), timestamp(now))
            .map_err(refuse)?;
        if peer.member != self.expected {
            return Err(refuse(IdentityError::OtherMember {
                expected: self.expected.clone(),
                found: peer.member,
            }));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
