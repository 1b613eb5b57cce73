//! Certificates that carry their holder's own word, and what they prove.
//!
//! A member's TLS key is vouched for by the member's statement key: a [`NodeTls`] statement over the SHA-256 of the
//! SubjectPublicKeyInfo, issued by the member. Its DSSE envelope (JSON) is a private extension of the X.509 certificate,
//! with the object identifier [`VOUCHER_OID`]; the extension's value is a DER `UTF8String`. The deployment's CA signs the
//! certificate too, but the CA alone proves nothing: [`PeerIdentity`] is only made from a voucher that opens with the
//! statement keys of the active bundle.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use countersign_policy::bundle::{ActiveBundle, Role};
use countersign_policy::statement::{NodeTls, Statement, StatementError, Verified};
use countersign_policy::{Envelope, Hash, IdentityKey, MemberId, Timestamp};

use super::bundle::BundleHandle;

/// Object identifier of the extension that holds the voucher.
///
/// Under the arc for UUIDs, which needs no registration (ITU-T X.667, 2.25). The number is a random one of 63 bits, because
/// the certificate writer takes no larger arc; it only has to differ from every other extension in certificates of a private CA.
pub const VOUCHER_OID: [u64; 3] = [2, 25, 7_612_398_650_143_927_481];

/// The longest voucher accepted, in bytes of JSON.
const MAX_VOUCHER: usize = 8 * 1024;
const DAY_SECONDS: u64 = 86_400;

/// Why a certificate could not be made or read, or proves nothing.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The certificate library refused.
    #[error("cannot make or read a certificate")]
    Certificate(#[from] rcgen::Error),
    /// Not PEM, or not what the file should hold.
    #[error("{what} is not usable PEM")]
    Pem {
        /// What was read.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// Bytes that are no X.509 certificate.
    #[error("the certificate cannot be parsed")]
    Malformed,
    /// No voucher, or more than one.
    #[error("the certificate holds {0} vouchers of a member, not one")]
    Vouchers(usize),
    /// An extension that is no envelope.
    #[error("the voucher cannot be read")]
    VoucherForm,
    /// The voucher is not a statement that counts in this deployment.
    #[error("the voucher does not count")]
    Statement(#[from] StatementError),
    /// The voucher is for another TLS key.
    #[error("the voucher of {member} is for another TLS key")]
    OtherKey {
        /// Who vouched.
        member: MemberId,
    },
    /// The member has no part in the traffic between machines.
    #[error("{member} is neither node nor coordinator in the active bundle")]
    NoMachine {
        /// The member.
        member: MemberId,
    },
    /// The right kind of certificate, of somebody else.
    #[error("{found} answered where {expected} was expected")]
    OtherMember {
        /// Who was called.
        expected: MemberId,
        /// Who answered.
        found: MemberId,
    },
    /// The TLS library refused the certificates or the key.
    #[error("the TLS configuration is refused")]
    Tls(#[from] rustls::Error),
    /// The CA certificate cannot anchor a chain.
    #[error("the CA certificate cannot be used to verify others")]
    Anchor(#[from] rustls::server::VerifierBuilderError),
}

/// A certificate and its secret key. Not `Clone`, redacted; the key is zeroized on drop.
pub struct CertificatePair {
    /// The certificate, PEM.
    pub cert_pem: String,
    /// The secret key (PKCS #8), PEM: for a file that only its owner can read.
    pub key_pem: Zeroizing<String>,
}

impl std::fmt::Debug for CertificatePair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificatePair").finish_non_exhaustive()
    }
}

/// What a certificate is issued for.
#[derive(Debug, Clone)]
pub struct CertificateRequest<'a> {
    /// The machine: a member with the role `node` or `coordinator`.
    pub member: &'a MemberId,
    /// The member's statement key, which vouches for the fresh TLS key.
    pub identity: &'a IdentityKey,
    /// The deployment.
    pub genesis: Hash,
    /// DNS names and IP addresses besides `localhost` and `127.0.0.1`.
    pub names: &'a [String],
    /// The present.
    pub now: Timestamp,
    /// How long certificate and voucher last.
    pub valid_days: u32,
}

/// The deployment's own certificate authority. Needed to issue certificates only; no running machine has its key.
pub struct CertificateAuthority {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl CertificateAuthority {
    /// A fresh authority with an ECDSA P-256 key, valid for `valid_days`.
    pub fn create(name: &str, now: Timestamp, valid_days: u32) -> Result<Self, IdentityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, now, valid_days);
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self {
            certificate_pem,
            issuer: Issuer::new(params, key),
        })
    }

    /// The authority from its files.
    pub fn load(certificate_pem: &str, key_pem: &str) -> Result<Self, IdentityError> {
        let key = KeyPair::from_pem(key_pem)?;
        Ok(Self {
            certificate_pem: certificate_pem.to_owned(),
            issuer: Issuer::from_ca_cert_pem(certificate_pem, key)?,
        })
    }

    /// The authority's certificate, PEM: every machine has it.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's secret key (PKCS #8), PEM.
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// A certificate for a fresh ECDSA P-256 key, with the member's voucher in it, for servers and clients.
    pub fn issue(
        &self,
        request: &CertificateRequest<'_>,
    ) -> Result<CertificatePair, IdentityError> {
        let key = KeyPair::generate()?;
        let voucher = vouch(request, &key.subject_public_key_info())?;
        self.issue_with(request, &key, &[voucher])
    }

    /// The certificate itself; tests pass vouchers that prove nothing.
    pub(super) fn issue_with(
        &self,
        request: &CertificateRequest<'_>,
        key: &KeyPair,
        vouchers: &[Envelope],
    ) -> Result<CertificatePair, IdentityError> {
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        names.extend(request.names.iter().cloned());
        let mut params = CertificateParams::new(names)?;
        let common_name = request.member.as_str();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, request.now, request.valid_days);
        for voucher in vouchers {
            let json = serde_json::to_string(voucher).map_err(|_| IdentityError::VoucherForm)?;
            let extension = CustomExtension::from_oid_content(&VOUCHER_OID, utf8_string(&json)?);
            params.custom_extensions.push(extension);
        }
        Ok(CertificatePair {
            cert_pem: params.signed_by(key, &self.issuer)?.pem(),
            key_pem: Zeroizing::new(key.serialize_pem()),
        })
    }
}

impl std::fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateAuthority")
            .finish_non_exhaustive()
    }
}

/// The statement with which a member vouches for a TLS key, given as its SubjectPublicKeyInfo (DER).
pub(super) fn vouch(
    request: &CertificateRequest<'_>,
    public_key_info: &[u8],
) -> Result<Envelope, IdentityError> {
    let lasts = u64::from(request.valid_days).saturating_mul(DAY_SECONDS);
    let body = NodeTls {
        public_key_sha256: Hash::sha256(public_key_info),
    };
    let statement = Statement::new(
        request.genesis,
        request.member.clone(),
        request.now,
        request.now.plus_seconds(lasts),
        body,
        &mut rand_core::OsRng,
    );
    Ok(statement.sign(request.identity)?)
}

/// One machine's TLS key and certificate, and the CA it trusts to name candidates.
pub struct TlsIdentity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) authorities: Vec<CertificateDer<'static>>,
}

impl TlsIdentity {
    /// Reads the three PEM texts: own certificate, own secret key, the CA's certificate.
    pub fn from_pem(
        certificate_pem: &str,
        key_pem: &str,
        authority_pem: &str,
    ) -> Result<Self, IdentityError> {
        Ok(Self {
            chain: certificates("the certificate", certificate_pem)?,
            key: PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|source| {
                IdentityError::Pem {
                    what: "the TLS key",
                    source,
                }
            })?,
            authorities: certificates("the CA certificate", authority_pem)?,
        })
    }

    /// The member that vouches for this certificate, if the active bundle agrees that it does.
    pub fn member(
        &self,
        bundle: &ActiveBundle,
        now: Timestamp,
    ) -> Result<PeerIdentity, IdentityError> {
        let own = self.chain.first().ok_or(IdentityError::Malformed)?;
        PeerIdentity::establish(own, bundle, now)
    }
}

impl Clone for TlsIdentity {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            authorities: self.authorities.clone(),
        }
    }
}

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}

fn certificates(
    what: &'static str,
    pem: &str,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let read = read.map_err(|source| IdentityError::Pem { what, source })?;
    if read.is_empty() {
        let source = rustls_pki_types::pem::Error::NoItemsFound;
        return Err(IdentityError::Pem { what, source });
    }
    Ok(read)
}

/// Who is at the other end of a connection, as the active bundle says. A request extension of every request served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The member.
    pub member: MemberId,
    /// The member's roles in the bundle by which it was judged.
    pub roles: BTreeSet<Role>,
}

impl PeerIdentity {
    /// Whether the member has a role.
    pub fn has_role(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Judges a certificate (DER) whose chain was verified already, and whose key the other side has shown to hold.
    pub(super) fn establish(
        certificate: &[u8],
        bundle: &ActiveBundle,
        now: Timestamp,
    ) -> Result<Self, IdentityError> {
        judge(certificate, bundle, now).map(|judgement| judgement.peer)
    }
}

/// Who holds a certificate, by which bundle, and until when that counts.
#[derive(Debug, Clone)]
struct Judgement {
    peer: PeerIdentity,
    bundle: Hash,
    until: Timestamp,
}

/// The certificate of an established connection. Asked at each request: when the bundle changed or the voucher ran out since,
/// the connection has to prove itself again.
#[derive(Debug)]
pub(super) struct Credential {
    certificate: CertificateDer<'static>,
    judgement: Mutex<Judgement>,
}

impl Credential {
    /// Judges the certificate that a handshake has just verified.
    pub(super) fn new(
        certificate: CertificateDer<'static>,
        bundle: &BundleHandle,
        now: Timestamp,
    ) -> Result<Self, IdentityError> {
        let judgement = Mutex::new(judge(&certificate, &bundle.current(), now)?);
        Ok(Self {
            certificate,
            judgement,
        })
    }

    /// Who it is, by the bundle of this moment.
    pub(super) fn peer(
        &self,
        bundle: &BundleHandle,
        now: Timestamp,
    ) -> Result<PeerIdentity, IdentityError> {
        let mut judgement = self
            .judgement
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let active = bundle.current();
        if judgement.bundle != active.digest() || now >= judgement.until {
            *judgement = judge(&self.certificate, &active, now)?;
        }
        Ok(judgement.peer.clone())
    }
}

fn judge(
    certificate: &[u8],
    bundle: &ActiveBundle,
    now: Timestamp,
) -> Result<Judgement, IdentityError> {
    let (public_key_sha256, voucher) = read_voucher(certificate)?;
    let verified: Verified<NodeTls> = bundle.directory().open(&voucher)?;
    verified.require_current(now, bundle.skew_seconds())?;
    let member = verified.issuer().clone();
    if verified.body().public_key_sha256 != public_key_sha256 {
        return Err(IdentityError::OtherKey { member });
    }
    let roles = bundle
        .member(&member)
        .map(|record| record.roles.clone())
        .unwrap_or_default();
    if !roles.contains(&Role::Node) && !roles.contains(&Role::Coordinator) {
        return Err(IdentityError::NoMachine { member });
    }
    Ok(Judgement {
        peer: PeerIdentity { member, roles },
        bundle: bundle.digest(),
        until: verified.statement().expires_at,
    })
}

/// The hash of a certificate's public key, and the voucher in it, unchecked.
fn read_voucher(certificate: &[u8]) -> Result<(Hash, Envelope), IdentityError> {
    let (rest, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| IdentityError::Malformed)?;
    if !rest.is_empty() {
        return Err(IdentityError::Malformed);
    }
    let is_voucher = |oid: &x509_parser::oid_registry::Oid<'_>| {
        oid.iter().is_some_and(|arcs| arcs.eq(VOUCHER_OID))
    };
    let found: Vec<_> = parsed
        .extensions()
        .iter()
        .filter(|extension| is_voucher(&extension.oid))
        .collect();
    let [extension] = found.as_slice() else {
        return Err(IdentityError::Vouchers(found.len()));
    };
    let json = read_utf8_string(extension.value).ok_or(IdentityError::VoucherForm)?;
    let envelope = serde_json::from_slice(json).map_err(|_| IdentityError::VoucherForm)?;
    Ok((Hash::sha256(parsed.public_key().raw), envelope))
}

const UTF8_STRING: u8 = 0x0c;
/// DER: the length follows in two bytes.
const TWO_BYTE_LENGTH: u8 = 0x82;
/// What a two-byte length is the shortest form for.
const SHORTEST: usize = 256;

/// DER `UTF8String` of 256 to [`MAX_VOUCHER`] bytes; a voucher is never shorter.
fn utf8_string(text: &str) -> Result<Vec<u8>, IdentityError> {
    let length = u16::try_from(text.len()).map_err(|_| IdentityError::VoucherForm)?;
    if !(SHORTEST..=MAX_VOUCHER).contains(&text.len()) {
        return Err(IdentityError::VoucherForm);
    }
    let mut der = vec![UTF8_STRING, TWO_BYTE_LENGTH];
    der.extend_from_slice(&length.to_be_bytes());
    der.extend_from_slice(text.as_bytes());
    Ok(der)
}

fn read_utf8_string(der: &[u8]) -> Option<&[u8]> {
    let ([UTF8_STRING, TWO_BYTE_LENGTH, high, low], content) = der.split_first_chunk::<4>()? else {
        return None;
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let fits = content.len() == length && (SHORTEST..=MAX_VOUCHER).contains(&length);
    fits.then_some(content)
}

/// From a day before `now`, because clocks differ, to `valid_days` after it.
fn set_validity(params: &mut CertificateParams, now: Timestamp, valid_days: u32) {
    let lasts = u64::from(valid_days).saturating_mul(DAY_SECONDS);
    params.not_before = date(now.minus_seconds(DAY_SECONDS));
    params.not_after = date(now.plus_seconds(lasts));
}

fn date(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.as_millis() / 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
