//! The two range proofs of the first signing round, checked here because the library does not check both.
//!
//! `cggmp24` 0.7.0-alpha.3 (`signing.rs`, "Verify psi0, psi1 proofs") returns early when the first proof is *valid*, so that a
//! sender is caught only if both proofs are false. Whoever sends a ciphertext out of range under one false proof can learn a
//! peer's share over several signatures, so every peer's proofs are verified before the library sees the second message.
//! `a_false_proof_while_presigning_names_its_sender` fails without this.

use std::collections::BTreeMap;

use cggmp24::ExecutionId;
use cggmp24::key_share::PedersenParams;
use cggmp24::security_level::SecurityLevel;
use cggmp24::signing::msg::{Msg, MsgRound1a, MsgRound1b};
use cggmp24::supported_curves::Secp256k1;
use generic_ec::Point;
use paillier_zk::fast_paillier::{Ciphertext, EncryptionKey};
use paillier_zk::paillier_encryption_in_range_with_el_gamal as range;
use sha2::Sha256;

use super::Level;
use super::aux_info::LoadedAux;
use crate::threshold::PartyIndex;
use crate::threshold::fault::{Fault, FaultReason};

/// What the library binds each proof to; tag and fields are its own.
#[derive(udigest::Digestable)]
#[udigest(tag = "dfns.cggmp24.signing.proof_enc")]
struct Statement<'a> {
    sid: ExecutionId<'a>,
    prover: u16,
    num: u8,
}

/// Collects each peer's two messages of the first round and verifies them when both are there.
pub(super) struct RangeProofs<'a> {
    execution: ExecutionId<'a>,
    aux: &'a LoadedAux,
    me: PartyIndex,
    parties: &'a [PartyIndex],
    ciphertexts: BTreeMap<u16, MsgRound1a<Secp256k1>>,
    proofs: BTreeMap<u16, MsgRound1b<Secp256k1>>,
}

impl<'a> RangeProofs<'a> {
    pub(super) fn new(
        execution: ExecutionId<'a>,
        aux: &'a LoadedAux,
        me: PartyIndex,
        parties: &'a [PartyIndex],
    ) -> Self {
        Self {
            execution,
            aux,
            me,
            parties,
            ciphertexts: BTreeMap::new(),
            proofs: BTreeMap::new(),
        }
    }

    /// Looks at a message from the signer at `position` before the library gets it.
    pub(super) fn inspect(
        &mut self,
        position: u16,
        message: &Msg<Secp256k1, Sha256>,
    ) -> Result<(), Fault> {
        match message {
            Msg::Round1a(ciphertexts) => {
                self.ciphertexts.insert(position, ciphertexts.clone());
            }
            Msg::Round1b(proofs) => {
                self.proofs.insert(position, proofs.clone());
            }
            _ => return Ok(()),
        }
        let (Some(ciphertexts), Some(proofs)) =
            (self.ciphertexts.get(&position), self.proofs.get(&position))
        else {
            return Ok(());
        };
        let nonce = (&ciphertexts.K, &ciphertexts.A1, &ciphertexts.A2);
        let mask = (&ciphertexts.G, &ciphertexts.B1, &ciphertexts.B2);
        for (num, statement, proof) in [(0, nonce, &proofs.psi0), (1, mask, &proofs.psi1)] {
            self.verify(position, num, &ciphertexts.Y, statement, proof)?;
        }
        Ok(())
    }

    fn verify(
        &self,
        position: u16,
        num: u8,
        base: &Point<Secp256k1>,
        (ciphertext, b, x): (&Ciphertext, &Point<Secp256k1>, &Point<Secp256k1>),
        proof: &range::NiProof<Secp256k1>,
    ) -> Result<(), Fault> {
        let prover = self
            .parties
            .get(usize::from(position))
            .ok_or_else(|| Fault::local("proof of a stranger"))?;
        let aux = self.aux.inner();
        let (Some(modulus), Some(own)) = (
            aux.N.get(prover.position()),
            aux.pedersen_params.get(self.me.position()),
        ) else {
            return Err(Fault::local("auxiliary data is too short"));
        };
        range::non_interactive::verify::<Secp256k1, Sha256>(
            &Statement {
                sid: self.execution,
                prover: position,
                num,
            },
            &pedersen(own),
            range::Data {
                key: &EncryptionKey::from_n(modulus.clone()),
                ciphertext,
                a: base,
                b,
                x,
            },
            proof,
            &range::SecurityParams {
                l: <Level as SecurityLevel>::ELL,
                epsilon: <Level as SecurityLevel>::EPSILON,
            },
        )
        .map_err(|_| {
            let what = format!("range proof {num} of the first round");
            Fault::by(*prover, FaultReason::InvalidContribution { what })
        })
    }
}

fn pedersen(own: &PedersenParams) -> range::Aux {
    own.into()
}
