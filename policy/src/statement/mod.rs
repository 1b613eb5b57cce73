//! Statements: what an actor says, signed.
//!
//! A [`Statement`] is canonical JSON in a DSSE envelope. It repeats its kind, names the deployment by its genesis
//! hash, has a unique id, an issuer, an issue time and an expiry. [`Directory::open`] is the only way from an
//! [`Envelope`] to a [`Verified`] statement, and a `Verified` keeps the envelope exactly as it was received.

mod approval;
mod ceremony;
mod consent;
mod directory;
mod freeze;
mod incarnation;
mod ledger;
mod observation;
mod request;
mod session;
mod signer_key;
mod succession;
#[cfg(test)]
mod tests;

pub use approval::{Approval, Verdict};
pub(crate) use ceremony::check_group;
pub use ceremony::{CeremonyTranscript, KeyCeremony, TestSignature};
pub use consent::OfflineConsent;
pub use directory::{Directory, StatementError};
pub(crate) use directory::{Signer, Signers, open_quorum_in, parse};
pub use freeze::{Freeze, FreezeTarget, Unfreeze};
pub use incarnation::IncarnationAck;
pub use ledger::{LedgerEntry, LedgerEvent, Reservation};
pub use observation::{Fate, Observation, UsedNonce};
pub use request::{
    Cancel, CancelReason, MAX_TRANSACTION, SignRequest, StatedIntent, StopAck, StopOutcome,
    TransactionHex,
};
pub use session::{Authorization, Cleared, Confirm, Receipt, SessionTerms};
pub use signer_key::SignerKey;
pub use succession::{AckStage, BundleAck, Veto};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use crate::bundle::Role;
use crate::canonical::{self, CanonicalError};
use crate::envelope::{Envelope, IdentityKey, MAX_PAYLOAD};
use crate::hash::Hash;
use crate::id::{MemberId, StatementId};
use crate::time::Timestamp;
use crate::webauthn::Assertion;

/// The kinds of statements, as they stand in payload types and payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A service asks for a signature.
    SignRequest,
    /// The initiator, an officer or a coordinator ends a request that is not signed yet.
    Cancel,
    /// A version of the policy.
    PolicyBundle,
    /// A coordinator's short-lived go-ahead for one request.
    Authorization,
    /// A quorum orders a key to be made.
    KeyCeremony,
    /// A node says what came out of a ceremony, and that it stored its share.
    CeremonyTranscript,
    /// A node reserved a spend.
    Receipt,
    /// A node, having seen all receipts, tells its peers the head of its ledger.
    Confirm,
    /// An entry of a node's ledger.
    LedgerEntry,
    /// A node durably stopped a request, or says that it was too late.
    StopAck,
    /// A node's identity key vouches for its TLS key.
    NodeTls,
    /// An officer approves or rejects one request.
    Approval,
    /// An officer, or for a payment service a node, stops something at once.
    Freeze,
    /// A quorum of officers ends freezes, by name.
    Unfreeze,
    /// A node durably keeps a successor of its active bundle.
    BundleAck,
    /// A policy approver stops a successor before it counts.
    Veto,
    /// A quorum of chain observers says what became of a transaction.
    Observation,
    /// A node remembers the incarnation of a peer that started.
    IncarnationAck,
    /// An operator at an offline machine agrees with what it is to sign.
    OfflineConsent,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 19] = [
        Kind::SignRequest,
        Kind::Cancel,
        Kind::PolicyBundle,
        Kind::Authorization,
        Kind::KeyCeremony,
        Kind::CeremonyTranscript,
        Kind::Receipt,
        Kind::Confirm,
        Kind::LedgerEntry,
        Kind::StopAck,
        Kind::NodeTls,
        Kind::Approval,
        Kind::Freeze,
        Kind::Unfreeze,
        Kind::BundleAck,
        Kind::Veto,
        Kind::Observation,
        Kind::IncarnationAck,
        Kind::OfflineConsent,
    ];

    /// The roles of which an issuer must have one. [`Directory::open`] demands it; for the kinds signed by a quorum the
    /// bundle chain does.
    ///
    /// Whether this payment service may cancel that request, or which node answers for which share, is for the
    /// receiver to check besides.
    pub const fn issuers(self) -> &'static [Role] {
        match self {
            // Anybody may ask; `decide` says no to whoever is no payment service, and that is a decision (I9).
            Kind::SignRequest => &Role::ALL,
            Kind::Cancel => &[
                Role::PaymentService,
                Role::SecurityOfficer,
                Role::Coordinator,
            ],
            Kind::PolicyBundle | Kind::KeyCeremony => &[Role::PolicyAuthor],
            Kind::Authorization => &[Role::Coordinator],
            // A machine with no network makes its key and keeps its journal as the others do, and tells its peers nothing.
            Kind::CeremonyTranscript | Kind::LedgerEntry => &[Role::Node, Role::OfflineNode],
            Kind::Receipt
            | Kind::Confirm
            | Kind::StopAck
            | Kind::BundleAck
            | Kind::IncarnationAck => &[Role::Node],
            Kind::Approval | Kind::Unfreeze => &[Role::SecurityOfficer],
            // What a node may freeze is decided with the content.
            Kind::Freeze => &[Role::SecurityOfficer, Role::Node],
            Kind::Veto => &[Role::PolicyApprover],
            Kind::Observation => &[Role::ChainObserver],
            Kind::OfflineConsent => &[Role::Operator],
            // Whose certificate may connect is the TLS verifier's decision.
            Kind::NodeTls => &Role::ALL,
        }
    }

    /// Whether several members sign a statement of this kind. Such a statement is never opened on its issuer's word.
    pub const fn is_quorum_signed(self) -> bool {
        matches!(
            self,
            Kind::PolicyBundle | Kind::KeyCeremony | Kind::Unfreeze | Kind::Observation
        )
    }

    /// Whether a WebAuthn assertion may stand in place of a statement key's signature: what people say in a browser.
    pub const fn accepts_assertions(self) -> bool {
        matches!(self, Kind::Approval | Kind::Freeze | Kind::Unfreeze)
    }

    /// The kind's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::SignRequest => "sign-request",
            Kind::Cancel => "cancel",
            Kind::PolicyBundle => "policy-bundle",
            Kind::Authorization => "authorization",
            Kind::KeyCeremony => "key-ceremony",
            Kind::CeremonyTranscript => "ceremony-transcript",
            Kind::Receipt => "receipt",
            Kind::Confirm => "confirm",
            Kind::LedgerEntry => "ledger-entry",
            Kind::StopAck => "stop-ack",
            Kind::NodeTls => "node-tls",
            Kind::Approval => "approval",
            Kind::Freeze => "freeze",
            Kind::Unfreeze => "unfreeze",
            Kind::BundleAck => "bundle-ack",
            Kind::Veto => "veto",
            Kind::Observation => "observation",
            Kind::IncarnationAck => "incarnation-ack",
            Kind::OfflineConsent => "offline-consent",
        }
    }

    /// The DSSE payload type.
    pub fn payload_type(self) -> String {
        format!("application/vnd.countersign.{}.v1+json", self.as_str())
    }
}

/// What a statement of one kind says.
pub trait Body: Serialize + DeserializeOwned + Clone + std::fmt::Debug {
    /// The kind that carries this body.
    const KIND: Kind;

    /// Rules on the content that types alone do not state. The text says what to mend.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// The signed content of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement<B> {
    /// The kind, repeated from the payload type.
    pub kind: Kind,
    /// Hash of the deployment's genesis bundle; [`Hash::ZERO`] in the genesis bundle itself.
    pub genesis: Hash,
    /// Unique among the issuer's statements of this kind.
    pub id: StatementId,
    /// Who says it.
    pub issuer: MemberId,
    /// When it was said.
    pub issued_at: Timestamp,
    /// From when on it no longer counts.
    pub expires_at: Timestamp,
    /// What is said.
    pub body: B,
}

impl<B: Body> Statement<B> {
    /// A statement with a random id.
    pub fn new(
        genesis: Hash,
        issuer: MemberId,
        issued_at: Timestamp,
        expires_at: Timestamp,
        body: B,
        rng: &mut (impl rand_core::RngCore + rand_core::CryptoRng),
    ) -> Self {
        Self {
            kind: B::KIND,
            genesis,
            id: StatementId::random(rng),
            issuer,
            issued_at,
            expires_at,
            body,
        }
    }

    /// Writes the canonical payload and signs it as the issuer.
    ///
    /// # Errors
    /// What [`Directory::open`] would refuse for its content or size is not signed.
    pub fn sign(&self, key: &IdentityKey) -> Result<Envelope, StatementError> {
        Ok(Envelope::sign(
            &B::KIND.payload_type(),
            self.payload()?,
            self.issuer.as_str(),
            key,
        ))
    }

    /// What an authenticator signs in place of [`Statement::sign`]: the challenge of the issuer's assertion.
    ///
    /// # Errors
    /// Those of [`Statement::sign`].
    pub fn challenge(&self) -> Result<Hash, StatementError> {
        Ok(Envelope::challenge(
            &B::KIND.payload_type(),
            &self.payload()?,
        ))
    }

    /// The envelope with the issuer's assertion over [`Statement::challenge`].
    ///
    /// # Errors
    /// Those of [`Statement::sign`]. The assertion is not looked at.
    pub fn assert(&self, assertion: Assertion) -> Result<Envelope, StatementError> {
        Ok(Envelope::assert(
            &B::KIND.payload_type(),
            self.payload()?,
            self.issuer.as_str(),
            assertion,
        ))
    }

    fn payload(&self) -> Result<Vec<u8>, StatementError> {
        self.body
            .check()
            .map_err(|reason| StatementError::Content {
                kind: B::KIND,
                reason,
            })?;
        let payload = canonical::to_vec(self)?;
        if payload.len() > MAX_PAYLOAD {
            let (size, max) = (payload.len(), MAX_PAYLOAD);
            return Err(CanonicalError::TooLarge { size, max }.into());
        }
        Ok(payload)
    }
}

/// A statement whose signatures were verified against the bundle. Only [`Directory`] builds it.
#[derive(Debug, Clone)]
pub struct Verified<B> {
    statement: Statement<B>,
    envelope: Envelope,
    digest: Hash,
    signers: BTreeSet<MemberId>,
    keys: BTreeMap<MemberId, SignerKey>,
}

impl<B: Body> Verified<B> {
    /// The statement.
    pub fn statement(&self) -> &Statement<B> {
        &self.statement
    }

    /// What it says.
    pub fn body(&self) -> &B {
        &self.statement.body
    }

    /// Who says it.
    pub fn issuer(&self) -> &MemberId {
        &self.statement.issuer
    }

    /// The envelope exactly as received: what is stored and forwarded.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// SHA-256 of the envelope's pre-authentication encoding.
    pub fn digest(&self) -> Hash {
        self.digest
    }

    /// The members whose signatures were verified (one, unless the kind is signed by a quorum).
    pub fn signers(&self) -> &BTreeSet<MemberId> {
        &self.signers
    }

    /// The key or credential that verified a signer's signature.
    pub fn key_of(&self, member: &MemberId) -> Option<&SignerKey> {
        self.keys.get(member)
    }

    /// Requires that `now` lies between issue and expiry, allowing clocks to differ by `skew_seconds`.
    pub fn require_current(&self, now: Timestamp, skew_seconds: u64) -> Result<(), StatementError> {
        let Statement {
            issued_at,
            expires_at,
            ..
        } = self.statement;
        if issued_at > now.plus_seconds(skew_seconds) {
            return Err(StatementError::NotYetValid {
                kind: B::KIND,
                issued_at,
                now,
            });
        }
        if now >= expires_at.plus_seconds(skew_seconds) {
            return Err(StatementError::Expired {
                kind: B::KIND,
                expires_at,
                now,
            });
        }
        Ok(())
    }

    /// Requires that `now` is before the expiry without any allowance for clocks: for whoever starts something that must
    /// be finished within the statement's life.
    pub fn require_unexpired_strictly(&self, now: Timestamp) -> Result<(), StatementError> {
        let expires_at = self.statement.expires_at;
        if now >= expires_at {
            return Err(StatementError::Expired {
                kind: B::KIND,
                expires_at,
                now,
            });
        }
        Ok(())
    }
}

/// A node's identity key vouches for the TLS key its certificate carries: the CA alone proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeTls {
    /// SHA-256 of the certificate's SubjectPublicKeyInfo (DER).
    pub public_key_sha256: Hash,
}

impl Body for NodeTls {
    const KIND: Kind = Kind::NodeTls;
}

pub(crate) fn strictly_ascending<T: Ord>(what: &str, items: &[T]) -> Result<(), String> {
    if items.is_empty() || items.iter().zip(items.iter().skip(1)).any(|(a, b)| a >= b) {
        return Err(format!(
            "{what} must be listed in ascending order, each once"
        ));
    }
    Ok(())
}
