//! From envelopes to verified statements.

use std::collections::{BTreeMap, BTreeSet};

use super::{Body, Kind, SignerKey, Statement, Verified};
use crate::bundle::{Role, WebAuthnPolicy};
use crate::canonical::{self, CanonicalError};
use crate::envelope::{Envelope, MAX_PAYLOAD, ReadyKey, SignatureBytes};
use crate::hash::Hash;
use crate::id::MemberId;
use crate::time::Timestamp;
use crate::webauthn::{AssertionError, ReadyCredential};

/// Why an envelope is no acceptable statement.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// The envelope's payload type is another.
    #[error("payload type {found:?} where {expected:?} was expected")]
    PayloadType {
        /// What the envelope says.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// The payload is not canonical JSON of this kind.
    #[error("the {kind} payload is not acceptable", kind = .kind.as_str())]
    Payload {
        /// The kind expected.
        kind: Kind,
        /// What is wrong with the bytes.
        #[source]
        source: CanonicalError,
    },
    /// A statement could not be written.
    #[error("cannot write the statement as canonical JSON")]
    Encode(#[from] CanonicalError),
    /// The payload repeats another kind than its type.
    #[error("the payload says kind {found}, its type says {expected}", found = .found.as_str(), expected = .expected.as_str())]
    Kind {
        /// In the payload.
        found: Kind,
        /// In the payload type.
        expected: Kind,
    },
    /// Said for another deployment.
    #[error("the statement is for genesis {found}, this deployment is {expected}")]
    Genesis {
        /// In the payload.
        found: Hash,
        /// The pinned one.
        expected: Hash,
    },
    /// The content breaks a rule of its kind.
    #[error("{reason} (in a {kind} statement)", kind = .kind.as_str())]
    Content {
        /// The kind.
        kind: Kind,
        /// What to mend.
        reason: String,
    },
    /// Expiry not after issue.
    #[error("the statement expires at {expires_at}, not after its issue at {issued_at}")]
    Lifetime {
        /// Issue time.
        issued_at: Timestamp,
        /// Expiry.
        expires_at: Timestamp,
    },
    /// The issuer is not a member.
    #[error("{0} is not a member of the policy bundle")]
    UnknownMember(MemberId),
    /// A single-issuer statement with another number of signatures.
    #[error("exactly one signature is expected, by the issuer; found {0}")]
    SignatureCount(usize),
    /// No key of the member verifies the signature.
    #[error("the signature of {0} does not verify with any key the bundle gives this member")]
    BadSignature(MemberId),
    /// A WebAuthn assertion that does not say what it must.
    #[error("the assertion of {member} is refused")]
    Assertion {
        /// Who is said to have signed.
        member: MemberId,
        /// Why it does not count.
        #[source]
        source: AssertionError,
    },
    /// A WebAuthn assertion on what only statement keys sign.
    #[error("a {kind} is signed with a statement key, not with a WebAuthn credential", kind = .0.as_str())]
    AssertionKind(Kind),
    /// A key id that names nobody, the same member twice, or another member than the issuer who alone signs.
    #[error("signature by {0:?}: not a member, not the issuer, or counted already")]
    UnexpectedSigner(String),
    /// A statement of several that its issuer did not sign.
    #[error("{0} is named as the issuer and has not signed")]
    IssuerMissing(MemberId),
    /// The issuer has no role that may say this.
    #[error("{issuer} has no role that may issue a {kind}", kind = .kind.as_str())]
    Role {
        /// The issuer.
        issuer: MemberId,
        /// The kind.
        kind: Kind,
    },
    /// Said in the future.
    #[error("the {kind} was issued at {issued_at}, after the present {now}: check the clocks", kind = .kind.as_str())]
    NotYetValid {
        /// The kind.
        kind: Kind,
        /// Issue time.
        issued_at: Timestamp,
        /// The clock of whoever checks.
        now: Timestamp,
    },
    /// No longer counts.
    #[error("the {kind} expired at {expires_at}; it is {now}", kind = .kind.as_str())]
    Expired {
        /// The kind.
        kind: Kind,
        /// Expiry.
        expires_at: Timestamp,
        /// The clock of whoever checks.
        now: Timestamp,
    },
}

/// Who may sign for whom: the genesis hash, and the members' statement keys and roles in one bundle.
#[derive(Debug, Clone)]
pub struct Directory {
    genesis: Hash,
    signers: Signers,
}

/// The members as signers, and what an assertion of theirs must say.
#[derive(Debug, Clone)]
pub(crate) struct Signers {
    pub(crate) members: BTreeMap<MemberId, Signer>,
    pub(crate) webauthn: Option<WebAuthnPolicy>,
}

/// What a directory knows of a member.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    pub(crate) keys: Vec<ReadyKey>,
    pub(crate) credentials: Vec<ReadyCredential>,
    pub(crate) roles: BTreeSet<Role>,
}

impl Directory {
    pub(crate) fn new(genesis: Hash, signers: Signers) -> Self {
        Self { genesis, signers }
    }

    /// The deployment's genesis hash.
    pub fn genesis(&self) -> Hash {
        self.genesis
    }

    /// Opens a statement signed by its issuer alone, who must have a role that may issue the kind ([`Kind::issuers`]).
    ///
    /// The time is not looked at: see [`Verified::require_current`].
    ///
    /// # Errors
    /// [`StatementError`]: the first check that failed.
    pub fn open<B: Body>(&self, envelope: &Envelope) -> Result<Verified<B>, StatementError> {
        // A kind that needs a quorum cannot be opened on one signature: such a call does not compile.
        const { assert!(!B::KIND.is_quorum_signed()) };
        let statement = parse::<B>(envelope, self.genesis)?;
        let [signature] = envelope.signatures() else {
            return Err(StatementError::SignatureCount(envelope.signatures().len()));
        };
        let signer = self
            .signers
            .members
            .get(&statement.issuer)
            .ok_or_else(|| StatementError::UnknownMember(statement.issuer.clone()))?;
        // The key id proves nothing; that it is the issuer leaves one form of the envelope for one signature.
        if signature.keyid != statement.issuer.as_str() {
            return Err(StatementError::UnexpectedSigner(signature.keyid.clone()));
        }
        let message = envelope.pre_authentication_encoding();
        let issuer = &statement.issuer;
        let key = self
            .signers
            .verify(B::KIND, (issuer, signer), &message, &signature.sig)?;
        if !B::KIND.issuers().iter().any(|r| signer.roles.contains(r)) {
            return Err(StatementError::Role {
                issuer: statement.issuer,
                kind: B::KIND,
            });
        }
        let signers = BTreeSet::from([statement.issuer.clone()]);
        let keys = BTreeMap::from([(statement.issuer.clone(), key)]);
        Ok(Verified {
            digest: Hash::sha256(&message),
            envelope: envelope.clone(),
            statement,
            signers,
            keys,
        })
    }

    /// Opens a statement signed by several members; whether they are a quorum is for the caller to say.
    /// Every signature must verify and be by another member, and the issuer's must be among them.
    ///
    /// # Errors
    /// [`StatementError`]: the first check that failed.
    pub fn open_quorum<B: Body>(&self, envelope: &Envelope) -> Result<Verified<B>, StatementError> {
        const { assert!(B::KIND.is_quorum_signed()) };
        open_quorum_in(envelope, self.genesis, &self.signers)
    }
}

impl Signers {
    /// The key or credential of the member with which the signature was made. What is looked for follows from the
    /// member's record and the kind; the envelope only says which of the two forms it carries.
    fn verify(
        &self,
        kind: Kind,
        (member, signer): (&MemberId, &Signer),
        message: &[u8],
        signature: &SignatureBytes,
    ) -> Result<SignerKey, StatementError> {
        match signature {
            SignatureBytes::Ed25519(signature) => signer
                .keys
                .iter()
                .find(|key| key.verify(message, signature))
                .map(|key| SignerKey::Statement(key.public()))
                .ok_or_else(|| StatementError::BadSignature(member.clone())),
            SignatureBytes::Assertion(_) if !kind.accepts_assertions() => {
                Err(StatementError::AssertionKind(kind))
            }
            SignatureBytes::Assertion(assertion) => {
                let policy = self.webauthn.as_ref();
                let challenge = Hash::sha256(message);
                assertion
                    .verify(policy, &signer.credentials, &challenge)
                    .map_err(|source| StatementError::Assertion {
                        member: member.clone(),
                        source,
                    })
            }
        }
    }
}

pub(crate) fn open_quorum_in<B: Body>(
    envelope: &Envelope,
    genesis: Hash,
    directory: &Signers,
) -> Result<Verified<B>, StatementError> {
    let statement = parse::<B>(envelope, genesis)?;
    let message = envelope.pre_authentication_encoding();
    let mut signers = BTreeSet::new();
    let mut keys = BTreeMap::new();
    for signature in envelope.signatures() {
        let unexpected = || StatementError::UnexpectedSigner(signature.keyid.clone());
        let member = MemberId::new(signature.keyid.as_str()).map_err(|_| unexpected())?;
        let signer = directory.members.get(&member).ok_or_else(unexpected)?;
        let key = directory.verify(B::KIND, (&member, signer), &message, &signature.sig)?;
        if !signers.insert(member.clone()) {
            return Err(unexpected());
        }
        keys.insert(member, key);
    }
    if !signers.contains(&statement.issuer) {
        return Err(StatementError::IssuerMissing(statement.issuer));
    }
    Ok(Verified {
        digest: Hash::sha256(&message),
        envelope: envelope.clone(),
        statement,
        signers,
        keys,
    })
}

/// Reads the payload without trusting it: canonical form, kind, genesis, lifetime and content rules.
pub(crate) fn parse<B: Body>(
    envelope: &Envelope,
    genesis: Hash,
) -> Result<Statement<B>, StatementError> {
    let expected = B::KIND.payload_type();
    if envelope.payload_type() != expected {
        return Err(StatementError::PayloadType {
            found: envelope.payload_type().to_owned(),
            expected,
        });
    }
    let statement: Statement<B> =
        canonical::from_slice(envelope.payload(), MAX_PAYLOAD).map_err(|source| {
            StatementError::Payload {
                kind: B::KIND,
                source,
            }
        })?;
    if statement.kind != B::KIND {
        return Err(StatementError::Kind {
            found: statement.kind,
            expected: B::KIND,
        });
    }
    if statement.genesis != genesis {
        return Err(StatementError::Genesis {
            found: statement.genesis,
            expected: genesis,
        });
    }
    if statement.expires_at <= statement.issued_at {
        return Err(StatementError::Lifetime {
            issued_at: statement.issued_at,
            expires_at: statement.expires_at,
        });
    }
    statement
        .body
        .check()
        .map_err(|reason| StatementError::Content {
            kind: B::KIND,
            reason,
        })?;
    Ok(statement)
}
