//! Signing in two steps, so that the gate sits between.
//!
//! [`open`] prepares a session and yields the messages that may leave before release (DKLs23 phase 1, FROST commitments,
//! nothing for CGGMP24). [`OpenSession::complete`] demands the gate's [`Released`] and runs the rest. Sessions live in memory
//! only, are used once by move, and sign exactly one preimage.

use std::fmt;
use std::sync::Arc;

use countersign_policy::{DerivationPath, PublicKey, Signature};

use super::exchange::{Exchange, HASH, Round};
use super::fault::{Fault, FaultReason, contained};
use super::keys::verifies;
use super::protocol::hash_fields;
use super::share::State;
use super::{
    BurntPresignature, ExecutionId, GroupKey, Link, LoadedShare, Outgoing, PartyIndex, Preimage,
    Signers, cggmp24, dkls23, frost_ed25519,
};
use crate::gate::Released;

/// Everything all signers must agree on about one signature.
#[derive(Debug, Clone)]
pub struct SigningContext {
    /// Unique to this attempt.
    pub execution: ExecutionId,
    /// Who signs, in order.
    pub signers: Signers,
    /// Where the signing key is below the group key; always `m` for Ed25519.
    pub path: DerivationPath,
    /// The bytes to sign.
    pub preimage: Preimage,
}

/// What a session consumes besides the share.
#[derive(Debug)]
pub enum Material {
    /// DKLs23 and FROST make fresh randomness per session.
    Fresh,
    /// CGGMP24 burns a presignature that was reserved for this digest.
    Presignature(Box<BurntPresignature>),
}

/// Opens a session and returns the messages that are safe to send before the gate releases it.
///
/// # Errors
/// A blameless [`Fault`] when the inputs do not fit together.
pub fn open(
    share: Arc<LoadedShare>,
    context: SigningContext,
    material: Material,
) -> Result<(Box<OpenSession>, Vec<Outgoing>), Fault> {
    check(&share, &context)?;
    let public_key = share.public_key_at(&context.path).map_err(Fault::local)?;
    let inputs = Inputs {
        me: share.index(),
        tag: tag(&share, &context),
        context: &context,
        group: share.group_key(),
        public_key: &public_key,
    };
    let opened = contained(|| match (share.state(), material) {
        (State::Dkls23(own), Material::Fresh) => dkls23::open(own, &inputs),
        (State::FrostEd25519(own), Material::Fresh) => {
            frost_ed25519::open(Arc::clone(own), &inputs)
        }
        (State::Cggmp24(_), Material::Presignature(burnt)) => cggmp24::open(*burnt, &inputs),
        _ => Err(Fault::local("this protocol takes other signing material")),
    })?;
    let session = OpenSession {
        me: share.index(),
        context,
        public_key,
        rounds: opened.rounds,
        backend: opened.backend,
    };
    Ok((Box::new(session), opened.first_messages))
}

/// A session that waits for its release. Dropping it wipes it.
pub struct OpenSession {
    me: PartyIndex,
    context: SigningContext,
    public_key: PublicKey,
    rounds: Vec<Round>,
    backend: Box<dyn Backend>,
}

impl OpenSession {
    /// What this session signs, where and with whom.
    pub fn context(&self) -> &SigningContext {
        &self.context
    }

    /// The (child) public key that the signature verifies under.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Runs the protocol to the end; blocks on the link. Every participant ends with the verified signature.
    ///
    /// # Errors
    /// [`FaultReason::NotReleased`] before anything is sent when the release is for something else; otherwise a [`Fault`] that
    /// names who sent a wrong share or was missing.
    pub fn complete(
        self: Box<Self>,
        released: Released,
        link: &mut dyn Link,
    ) -> Result<Signature, Fault> {
        let Self {
            me,
            context,
            public_key,
            rounds,
            backend,
        } = *self;
        let same = released.digest() == context.preimage.digest()
            && *released.execution() == context.execution;
        if !same {
            return Err(Fault::blameless(FaultReason::NotReleased));
        }
        contained(|| {
            let parties = context.signers.as_slice().iter().copied();
            let mut exchange = Exchange::new(link, me, parties, rounds);
            let Combined { signature, blame } = backend.finish(&mut exchange)?;
            if verifies(&public_key, &context.preimage, &signature) {
                return Ok(signature);
            }
            if let Some(fault) = blame.and_then(|blame| blame()) {
                return Err(fault);
            }
            let what = "the signature does not verify";
            let reason = FaultReason::InvalidResult { what };
            Err(Fault::among(context.signers.others(me), reason))
        })
    }
}

impl fmt::Debug for OpenSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenSession")
            .field("me", &self.me)
            .field("context", &self.context)
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

/// A protocol's side of an open session.
pub(super) trait Backend: Send {
    /// Runs the rounds that need the release.
    fn finish(self: Box<Self>, exchange: &mut Exchange<'_>) -> Result<Combined, Fault>;
}

/// What all contributions give together. [`OpenSession::complete`] verifies it.
pub(super) struct Combined {
    pub signature: Signature,
    /// Finds who contributed what is wrong, where that costs more than verifying the result: asked when it is wrong.
    pub blame: Option<Box<dyn FnOnce() -> Option<Fault>>>,
}

impl From<Signature> for Combined {
    fn from(signature: Signature) -> Self {
        Self {
            signature,
            blame: None,
        }
    }
}

/// What a backend opens from.
pub(super) struct Inputs<'a> {
    pub me: PartyIndex,
    pub tag: [u8; HASH],
    pub context: &'a SigningContext,
    pub group: &'a GroupKey,
    pub public_key: &'a PublicKey,
}

/// What a backend returns from opening.
pub(super) struct Opened {
    pub rounds: Vec<Round>,
    pub first_messages: Vec<Outgoing>,
    pub backend: Box<dyn Backend>,
}

fn check(share: &LoadedShare, context: &SigningContext) -> Result<(), Fault> {
    let protocol = share.protocol();
    share
        .signers(context.signers.as_slice())
        .map_err(Fault::local)?;
    if !context.preimage.fits(protocol) {
        return Err(Fault::local("the preimage is for another curve"));
    }
    Ok(())
}

/// Commits to all of the context, so that parties who disagree in any of it notice before round 1 and without blame.
fn tag(share: &LoadedShare, context: &SigningContext) -> [u8; HASH] {
    hash_fields(
        "countersign/threshold/sign/v1",
        [
            share.protocol().as_str().as_bytes(),
            share.group_key().public_key.as_bytes(),
            context.execution.as_bytes(),
            &encode_signers(&context.signers),
            &encode_path(&context.path),
            context.preimage.digest(),
        ],
    )
}

pub(super) fn encode_signers(signers: &Signers) -> Vec<u8> {
    signers
        .as_slice()
        .iter()
        .flat_map(|party| party.0.to_be_bytes())
        .collect()
}

pub(super) fn encode_path(path: &DerivationPath) -> Vec<u8> {
    path.steps()
        .iter()
        .flat_map(|index| index.to_be_bytes())
        .collect()
}
