//! FROST over Ed25519 (RFC 9591): key generation with echoed commitments, two-round signing over the message itself.
//!
//! Nonces come from the operating system afresh for every session and live in its memory only. Threshold EdDSA is randomised:
//! the same message gets different signatures, and deriving nonces from it would leak the key.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_policy::{PublicKey, Signature};
use frost_ed25519 as frost;
use frost_ed25519::keys::dkg;
use rand_core::OsRng;
use zeroize::Zeroizing;

use super::exchange::{
    Exchange, HASH, Heard, Round, broadcast, compare_heard, encode_heard, p2p, tagged, untag,
};
use super::fault::{Fault, FaultReason};
use super::keygen::{GeneratedKey, Setup};
use super::signing::{Backend, Combined, Inputs, Opened};
use super::{
    GroupKey, KeyShare, Link, Outgoing, Parameters, PartyIndex, Protocol, Recipient, ShareError,
    Signers,
};

/// A parsed share: the secret key package and everybody's verifying shares.
pub(super) struct Share {
    secret: frost::keys::KeyPackage,
    public: frost::keys::PublicKeyPackage,
}

/// Largest encoded round-1 package: 32-byte commitments, a 64-byte proof, framing.
const PACKAGE_LIMIT: usize = 1024;
const COMMITMENTS: usize = 69;
const SIGNATURE_SHARE: usize = 32;

mod keygen_round {
    pub(super) const AGREE: u16 = 0;
    pub(super) const COMMIT: u16 = 1;
    pub(super) const ECHO: u16 = 2;
    pub(super) const SHARES: u16 = 3;
    pub(super) const RESULT: u16 = 4;
}

fn keygen_rounds(parameters: Parameters) -> Vec<Round> {
    let echo = usize::from(parameters.parties()).saturating_mul(HASH);
    vec![
        broadcast(HASH),
        broadcast(PACKAGE_LIMIT),
        broadcast(echo),
        p2p(PACKAGE_LIMIT),
        broadcast(HASH),
    ]
}

pub(super) fn keygen(setup: &Setup, link: &mut dyn Link) -> Result<GeneratedKey, Fault> {
    use keygen_round::{AGREE, COMMIT, ECHO, RESULT, SHARES};
    let (parameters, me) = (setup.parameters, setup.me);
    let rounds = keygen_rounds(parameters);
    let mut exchange = Exchange::new(link, me, parameters.everyone(), rounds);
    exchange.agree(AGREE, &setup.tag)?;

    let (t, n) = (parameters.threshold(), parameters.parties());
    let (secret, package) = dkg::part1(identifier(me)?, n, t, OsRng).map_err(Fault::local)?;
    let own = package.serialize().map_err(Fault::local)?;
    let packages = exchange.broadcast_echoed(COMMIT, ECHO, own, |from, body| {
        parse_commitment(t, from, body)
    })?;
    let packages = by_identifier(packages)?;

    let (secret, shares) =
        dkg::part2(secret, &packages).map_err(|error| blame(&error, "key generation"))?;
    for peer in parameters.everyone().filter(|peer| *peer != me) {
        let share = shares
            .get(&identifier(peer)?)
            .ok_or_else(|| Fault::local("no share for a peer"))?;
        exchange.unicast(SHARES, peer, share.serialize().map_err(Fault::local)?)?;
    }
    let shares = exchange.collect(SHARES, |from, body| {
        dkg::round2::Package::deserialize(body)
            .map_err(|_| Fault::malformed(from, SHARES, "unreadable share"))
    })?;
    let (secret, public) = dkg::part3(&secret, &packages, &by_identifier(shares)?)
        .map_err(|error| blame(&error, "key generation"))?;

    let share = Share { secret, public };
    let public = share.group_key().map_err(Fault::local)?;
    exchange.agree_on_result(RESULT, &public.transcript())?;
    let bytes = share.encode().map_err(Fault::local)?;
    Ok(GeneratedKey {
        public,
        share: KeyShare::new(Protocol::FrostEd25519, parameters, me, bytes),
    })
}

fn parse_commitment(
    threshold: u16,
    from: PartyIndex,
    body: &[u8],
) -> Result<dkg::round1::Package, Fault> {
    let malformed = |what| Fault::malformed(from, keygen_round::COMMIT, what);
    let package =
        dkg::round1::Package::deserialize(body).map_err(|_| malformed("unreadable commitment"))?;
    if package.commitment().coefficients().len() == usize::from(threshold) {
        Ok(package)
    } else {
        Err(malformed("commitment to a polynomial of another degree"))
    }
}

impl Share {
    /// Length of the secret package (4 bytes, big endian), the secret package, the public package.
    fn encode(&self) -> Result<Zeroizing<Vec<u8>>, frost::Error> {
        let secret = Zeroizing::new(self.secret.serialize()?);
        let public = self.public.serialize()?;
        let length = u32::try_from(secret.len()).map_err(|_| frost::Error::SerializationError)?;
        Ok(Zeroizing::new(
            [&length.to_be_bytes(), secret.as_slice(), &public].concat(),
        ))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (secret, public) = rest.split_at_checked(length)?;
        let share = Self {
            secret: frost::keys::KeyPackage::deserialize(secret).ok()?,
            public: frost::keys::PublicKeyPackage::deserialize(public).ok()?,
        };
        // The library ignores trailing bytes and forgives a missing end.
        (share.encode().ok()?.as_slice() == bytes).then_some(share)
    }

    fn group_key(&self) -> Result<GroupKey, ShareError> {
        let refused = ShareError::Inconsistent("unusable public key");
        let bytes = self
            .public
            .verifying_key()
            .serialize()
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| refused.clone())?;
        Ok(GroupKey {
            public_key: PublicKey::ed25519(bytes).map_err(|_| refused)?,
            chain_code: None,
        })
    }
}

/// Parses a stored share and checks it against its header.
pub(super) fn load_share(
    parameters: Parameters,
    me: PartyIndex,
    bytes: &[u8],
) -> Result<(Share, GroupKey), ShareError> {
    let share = Share::decode(bytes).ok_or(ShareError::Malformed("unreadable FROST share"))?;
    let id = identifier(me).map_err(|_| ShareError::Inconsistent("index out of bounds"))?;
    let consistent = *share.secret.identifier() == id
        && *share.secret.min_signers() == parameters.threshold()
        && share.public.verifying_shares().len() == usize::from(parameters.parties())
        && share.secret.verifying_key() == share.public.verifying_key()
        && share.public.verifying_shares().get(&id) == Some(share.secret.verifying_share());
    if !consistent {
        return Err(ShareError::Inconsistent("FROST share and header differ"));
    }
    let group = share.group_key()?;
    Ok((share, group))
}

mod sign_round {
    pub(super) const COMMIT: u16 = 0;
    pub(super) const SHARE: u16 = 1;
}

/// A session between its commitment and its release. The nonces are wiped on drop and used by move.
struct Session {
    share: Arc<Share>,
    nonces: FrostNonces,
    commitments: frost::round1::SigningCommitments,
    first_message: Vec<u8>,
    tag: [u8; HASH],
    signers: Signers,
    message: Vec<u8>,
}

/// The secret nonces of one session: not `Clone`, not serializable, consumed by the one signature share made from them.
struct FrostNonces(frost::round1::SigningNonces);

impl FrostNonces {
    fn sign(
        self,
        package: &frost::SigningPackage,
        secret: &frost::keys::KeyPackage,
    ) -> Result<frost::round2::SignatureShare, frost::Error> {
        frost::round2::sign(package, &self.0, secret)
    }
}

pub(super) fn open(share: Arc<Share>, inputs: &Inputs<'_>) -> Result<Opened, Fault> {
    let (nonces, commitments) = frost::round1::commit(share.secret.signing_share(), &mut OsRng);
    let body = commitments.serialize().map_err(Fault::local)?;
    let first_message = tagged(&inputs.tag, &body);
    let signers = inputs.context.signers.clone();
    let echo = signers.as_slice().len().saturating_mul(HASH);
    Ok(Opened {
        rounds: vec![
            broadcast(HASH.saturating_add(COMMITMENTS)),
            broadcast(echo.saturating_add(SIGNATURE_SHARE)),
        ],
        first_messages: vec![Outgoing {
            round: sign_round::COMMIT,
            recipient: Recipient::All,
            body: first_message.clone(),
        }],
        backend: Box::new(Session {
            share,
            nonces: FrostNonces(nonces),
            commitments,
            first_message,
            tag: inputs.tag,
            signers,
            message: inputs.context.preimage.bytes().to_vec(),
        }),
    })
}

impl Backend for Session {
    fn finish(self: Box<Self>, exchange: &mut Exchange<'_>) -> Result<Combined, Fault> {
        let session = *self;
        let me = exchange.me();
        let mut commitments = exchange.collect(sign_round::COMMIT, |from, body| {
            let body = untag(&session.tag, from, sign_round::COMMIT, body)?;
            frost::round1::SigningCommitments::deserialize(body)
                .map_err(|_| Fault::malformed(from, sign_round::COMMIT, "unreadable commitments"))
        })?;
        commitments.insert(me, session.commitments);
        let package = frost::SigningPackage::new(by_identifier(commitments)?, &session.message);

        // The echo rides on the share: with two views of the commitments, honest shares would look wrong.
        let heard = exchange.heard(sign_round::COMMIT, &session.first_message);
        let own = session
            .nonces
            .sign(&package, &session.share.secret)
            .map_err(|error| blame(&error, "signing"))?;
        let body = [encode_heard(&heard), own.serialize()].concat();
        exchange.broadcast(sign_round::SHARE, body)?;

        let mut shares = exchange.collect(sign_round::SHARE, |from, body| {
            parse_signature_share(me, &heard, from, body)
        })?;
        shares.insert(me, own);
        debug_assert_eq!(shares.len(), session.signers.as_slice().len());
        let signature = frost::aggregate(&package, &by_identifier(shares)?, &session.share.public)
            .map_err(|error| blame(&error, "signature share"))?;
        let bytes = signature.serialize().map_err(Fault::local)?;
        let bytes = bytes
            .try_into()
            .map_err(|_| Fault::local("signature is not 64 bytes"))?;
        Ok(Signature::Ed25519(bytes).into())
    }
}

fn parse_signature_share(
    me: PartyIndex,
    heard: &Heard,
    from: PartyIndex,
    body: &[u8],
) -> Result<frost::round2::SignatureShare, Fault> {
    let malformed = |what| Fault::malformed(from, sign_round::SHARE, what);
    let echo_length = body.len().saturating_sub(SIGNATURE_SHARE);
    let (echo, share) = body
        .split_at_checked(echo_length)
        .ok_or_else(|| malformed("too short"))?;
    compare_heard(me, sign_round::COMMIT, heard, from, echo)?;
    frost::round2::SignatureShare::deserialize(share)
        .map_err(|_| malformed("unreadable signature share"))
}

/// FROST identifiers are the party index plus one.
fn identifier(party: PartyIndex) -> Result<frost::Identifier, Fault> {
    party
        .0
        .saturating_add(1)
        .try_into()
        .map_err(|_| Fault::local("party index out of bounds"))
}

fn by_identifier<T>(
    values: BTreeMap<PartyIndex, T>,
) -> Result<BTreeMap<frost::Identifier, T>, Fault> {
    values
        .into_iter()
        .map(|(party, value)| Ok((identifier(party)?, value)))
        .collect()
}

/// Names whom the library names; identifiers are small integers, found again by comparison.
fn blame(error: &frost::Error, what: &str) -> Fault {
    let culprits = error.culprits();
    let parties = (0..Parameters::MAX_PARTIES)
        .map(PartyIndex)
        .filter(|party| identifier(*party).is_ok_and(|id| culprits.contains(&id)));
    let reason = FaultReason::InvalidContribution {
        what: format!("{what}: {error}"),
    };
    Fault::among(parties, reason)
}
