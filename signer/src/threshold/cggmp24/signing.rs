//! Signing from a presignature: one round of partial signatures, nothing before release.

use cggmp24::signing::PresignaturePublicData;
use cggmp24::supported_curves::Secp256k1;
use cggmp24::{DataToSign, PartialSignature};
use countersign_policy::Signature;
use generic_ec::{NonZero, Scalar};
use sha2::Sha256;
use sha3::Keccak256;

use super::pool::{BurntPresignature, PoolKey};
use crate::threshold::exchange::{Exchange, HASH, broadcast, tagged, untag};
use crate::threshold::fault::{Fault, FaultReason};
use crate::threshold::signing::{Backend, Combined, Inputs, Opened};
use crate::threshold::{HashAlgorithm, PartyIndex, Preimage, Signers};

const PARTIAL: u16 = 0;
const SCALAR: usize = 32;

/// A session between reservation and release. The presignature's secret is consumed by the one partial signature.
struct Session {
    secret: cggmp24::Presignature<Secp256k1>,
    public: PresignaturePublicData<Secp256k1>,
    data: DataToSign<Secp256k1>,
    tag: [u8; HASH],
    signers: Signers,
}

pub(in crate::threshold) fn open(
    burnt: BurntPresignature,
    inputs: &Inputs<'_>,
) -> Result<Opened, Fault> {
    if burnt.digest() != inputs.context.preimage.digest() {
        return Err(Fault::local("the presignature is bound to another digest"));
    }
    let (key, secret, public) = burnt.into_presignature().into_parts();
    let wanted = PoolKey {
        public_key: inputs.group.public_key,
        path: inputs.context.path.clone(),
        signers: inputs.context.signers.clone(),
    };
    if key != wanted {
        return Err(Fault::local(
            "the presignature is for another key, path or signer set",
        ));
    }
    Ok(Opened {
        rounds: vec![broadcast(HASH.saturating_add(SCALAR))],
        first_messages: Vec::new(),
        backend: Box::new(Session {
            secret,
            public,
            data: hash(&inputs.context.preimage)?,
            tag: inputs.tag,
            signers: wanted.signers,
        }),
    })
}

/// The library hashes the preimage itself: signing a bare hash with a presignature permits forgery.
fn hash(preimage: &Preimage) -> Result<DataToSign<Secp256k1>, Fault> {
    match preimage.algorithm() {
        HashAlgorithm::Keccak256 => Ok(DataToSign::digest::<Keccak256>(preimage.bytes())),
        HashAlgorithm::Sha256 => Ok(DataToSign::digest::<Sha256>(preimage.bytes())),
        HashAlgorithm::Ed25519Message => Err(Fault::local("the preimage is for another curve")),
    }
}

impl Backend for Session {
    fn finish(self: Box<Self>, exchange: &mut Exchange<'_>) -> Result<Combined, Fault> {
        let session = *self;
        let own = session.secret.issue_partial_signature(session.data);
        let body = tagged(&session.tag, &own.sigma.to_be_bytes());
        exchange.broadcast(PARTIAL, body)?;
        let mut partials = exchange.collect(PARTIAL, |from, body| {
            let sigma = untag(&session.tag, from, PARTIAL, body)?;
            Scalar::from_be_bytes(sigma)
                .map(|sigma| PartialSignature { sigma })
                .map_err(|_| Fault::malformed(from, PARTIAL, "unreadable partial signature"))
        })?;
        partials.insert(exchange.me(), own);
        let partials: Vec<PartialSignature<Secp256k1>> = partials.into_values().collect();
        let (public, data, signers) = (session.public, session.data, session.signers);
        match sum(&partials, &public)? {
            Some(signature) => Ok(Combined {
                signature,
                blame: Some(Box::new(move || {
                    Some(blame(&partials, &public, data, &signers))
                        .filter(|fault| !fault.culprits.is_empty())
                })),
            }),
            None => Err(blame(&partials, &public, data, &signers)),
        }
    }
}

/// The signature that the partial ones add up to, with its low s; nothing when there is none.
///
/// The library's `combine` checks each partial signature first, three multiplications each. A signature that verifies
/// needs none of that, and [`blame`] does it when it does not.
fn sum(
    partials: &[PartialSignature<Secp256k1>],
    public: &PresignaturePublicData<Secp256k1>,
) -> Result<Option<Signature>, Fault> {
    let s: Scalar<Secp256k1> = partials.iter().map(|partial| partial.sigma).sum();
    let (Some(r), Some(s)) = (NonZero::from_scalar(r_of(public)), NonZero::from_scalar(s)) else {
        return Ok(None);
    };
    let mut bytes = [0; 2 * SCALAR];
    cggmp24::Signature::from_raw_parts(r, s)
        .normalize_s()
        .write_to_slice(&mut bytes);
    let (r, s) = bytes.split_at(SCALAR);
    match (r.try_into(), s.try_into()) {
        (Ok(r), Ok(s)) => Ok(Some(Signature::Secp256k1 { r, s })),
        _ => Err(Fault::local("signature is not 64 bytes")),
    }
}

/// A valid partial satisfies sigma * Gamma == m * Delta + r * S with its signer's public commitments.
fn blame(
    partials: &[PartialSignature<Secp256k1>],
    public: &PresignaturePublicData<Secp256k1>,
    data: DataToSign<Secp256k1>,
    signers: &Signers,
) -> Fault {
    let (m, r) = (data.to_scalar(), r_of(public));
    let wrong = |partial: &PartialSignature<Secp256k1>, position: usize| {
        public.commitments.get(position).is_none_or(|commitment| {
            // Group arithmetic: it cannot overflow.
            #[allow(clippy::arithmetic_side_effects)]
            let valid =
                partial.sigma * public.Gamma == m * commitment.tilde_Delta + r * commitment.tilde_S;
            !valid
        })
    };
    let culprits: Vec<PartyIndex> = signers
        .as_slice()
        .iter()
        .zip(partials)
        .enumerate()
        .filter(|(position, (_, partial))| wrong(partial, *position))
        .map(|(_, (party, _))| *party)
        .collect();
    let what = "wrong partial signature".to_owned();
    Fault::among(culprits, FaultReason::InvalidContribution { what })
}

fn r_of(public: &PresignaturePublicData<Secp256k1>) -> Scalar<Secp256k1> {
    use generic_ec::coords::HasAffineX;
    public
        .Gamma
        .x()
        .map_or_else(Scalar::zero, |x| x.to_scalar())
}
