//! CGGMP24 with published primes: presignatures, the pool, signing from it, and every way of using one twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use countersign_policy::{DerivationPath, Signature};

use super::fixtures::{Key, SIZES, context, fresh, indexes, key, preimage, sign_one, signer_sets};
use super::honest::outside_verifier_accepts;
use super::network::{Delivery, Network};
use crate::threshold::{
    ExecutionId, Fault, FaultReason, HashAlgorithm, InsertError, LoadedAux, Material, PartyIndex,
    PoolKey, Preimage, Presignature, PresignatureId, PresignaturePool, Protocol, ReserveError,
    SigningContext, Watermarks, aux_info, open, presign, test_material,
};

const CHEAT: PartyIndex = PartyIndex(1);

fn aux(key: &Key, me: PartyIndex) -> Arc<LoadedAux> {
    type Slot = Arc<OnceLock<Arc<LoadedAux>>>;
    static LOADED: Mutex<BTreeMap<(u16, PartyIndex), Slot>> = Mutex::new(BTreeMap::new());
    let name = (key.parameters.parties(), me);
    let slot = Arc::clone(LOADED.lock().unwrap().entry(name).or_default());
    let load = || {
        Arc::new(
            test_material::aux_info(key.parameters, me)
                .unwrap()
                .load(false)
                .unwrap(),
        )
    };
    Arc::clone(slot.get_or_init(load))
}

fn presign_all(
    network: &Network,
    key: &Key,
    signers: &[u16],
    path: &str,
    execution: ExecutionId,
) -> BTreeMap<PartyIndex, Result<Presignature, Fault>> {
    let path: DerivationPath = path.parse().unwrap();
    let parties = indexes(signers);
    network.run(&parties, |me, link| {
        let share = &key.shares[me.position()];
        let signers = share.signers(&parties).unwrap();
        presign(share, &aux(key, me), &signers, &path, execution, link)
    })
}

/// One presignature of each signer, in a pool of each signer's own.
fn pools(
    key: &Key,
    signers: &[u16],
    path: &str,
) -> (PresignatureId, BTreeMap<PartyIndex, PresignaturePool>) {
    let execution = fresh("presign");
    let id = PresignatureId::of(&execution);
    let made = presign_all(&Network::honest(), key, signers, path, execution);
    let pools = made
        .into_iter()
        .map(|(me, presignature)| {
            let pool = PresignaturePool::new(Watermarks { low: 1, high: 2 }, 10);
            let presignature = presignature.unwrap();
            assert_eq!(presignature.id(), id);
            pool.insert(presignature).unwrap();
            (me, pool)
        })
        .collect();
    (id, pools)
}

fn sign(
    network: &Network,
    key: &Key,
    context: &SigningContext,
    id: PresignatureId,
    pools: &BTreeMap<PartyIndex, PresignaturePool>,
) -> BTreeMap<PartyIndex, Result<Signature, Fault>> {
    network.run(context.signers.as_slice(), |me, link| {
        let burnt = pools[&me].reserve(id, *context.preimage.digest()).unwrap();
        sign_one(
            key,
            context,
            me,
            Material::Presignature(Box::new(burnt)),
            link,
        )
    })
}

#[test]
fn every_signer_set_signs_from_presignatures() {
    for (t, n) in SIZES {
        let key = key(Protocol::Cggmp24, t, n);
        // A presignature of three costs 4 s of CPU: of the ten sets of 3-of-5, four in which everybody signs at some time.
        let step = if n == 5 { 3 } else { 1 };
        for signers in signer_sets(t, n).into_iter().step_by(step) {
            let (id, pools) = pools(&key, &signers, "m");
            let context = context(&key, &signers, "m", preimage(Protocol::Cggmp24));
            let signatures = sign(&Network::honest(), &key, &context, id, &pools);
            let first = signatures.values().next().unwrap().clone().unwrap();
            for signature in signatures.values() {
                assert_eq!(signature.as_ref(), Ok(&first), "{t}-of-{n} {signers:?}");
            }
            outside_verifier_accepts(&key.public.public_key, &context.preimage, &first);
        }
    }
}

#[test]
fn a_presignature_of_a_child_signs_for_the_child_alone() {
    let key = key(Protocol::Cggmp24, 2, 3);
    let (id, pools) = pools(&key, &[0, 2], "m/0/7");
    let preimage = Preimage::new(HashAlgorithm::Sha256, b"a tron transfer".to_vec());
    let context = context(&key, &[0, 2], "m/0/7", preimage);
    let child = key.public.at(&context.path).unwrap();
    for signature in sign(&Network::honest(), &key, &context, id, &pools).into_values() {
        outside_verifier_accepts(&child, &context.preimage, &signature.unwrap());
    }
}

#[test]
fn a_presignature_is_used_once_for_one_digest_path_and_key() {
    let key = key(Protocol::Cggmp24, 2, 3);
    let (id, pools) = pools(&key, &[0, 1], "m");
    let pool = &pools[&PartyIndex(0)];
    let context = context(&key, &[0, 1], "m", preimage(Protocol::Cggmp24));
    let digest = *context.preimage.digest();

    let unknown = PresignatureId([7; 32]);
    assert_eq!(
        pool.reserve(unknown, digest).unwrap_err(),
        ReserveError::Unknown(unknown)
    );
    let burnt = pool.reserve(id, digest).unwrap();
    assert_eq!((burnt.id(), *burnt.digest()), (id, digest));
    for again in [digest, [9; 32]] {
        assert_eq!(
            pool.reserve(id, again).unwrap_err(),
            ReserveError::AlreadyUsed(id)
        );
    }

    let mut other = context.clone();
    other.preimage = Preimage::new(HashAlgorithm::Keccak256, b"something else".to_vec());
    let share = Arc::clone(&key.shares[0]);
    let material = Material::Presignature(Box::new(burnt));
    let fault = open(share, other, material).unwrap_err();
    assert!(matches!(fault.reason, FaultReason::Local { .. }));

    // The other signer's presignature, for a path that it was not made for.
    let burnt = pools[&CHEAT].reserve(id, digest).unwrap();
    let mut elsewhere = context.clone();
    elsewhere.path = "m/1".parse().unwrap();
    let share = Arc::clone(&key.shares[1]);
    let material = Material::Presignature(Box::new(burnt));
    assert!(open(share, elsewhere, material).is_err());

    // And a session without any.
    let share = Arc::clone(&key.shares[0]);
    assert!(open(share, context, Material::Fresh).is_err());
}

#[test]
fn the_pool_fills_between_its_watermarks_and_drains_on_doubt() {
    let key = key(Protocol::Cggmp24, 2, 2);
    let name = PoolKey {
        public_key: key.public.public_key,
        path: DerivationPath::master(),
        signers: key.shares[0].signers(&indexes(&[0, 1])).unwrap(),
    };
    let pool = PresignaturePool::new(Watermarks { low: 1, high: 3 }, 2);
    assert_eq!(
        pool.wanted(&name),
        2,
        "the capacity bounds the high watermark"
    );
    let executions = [fresh("presign"), fresh("presign"), fresh("presign")];
    let mut made = executions.map(|execution| {
        let mut all = presign_all(&Network::honest(), &key, &[0, 1], "m", execution);
        all.remove(&PartyIndex(0)).unwrap().unwrap()
    });
    let ids = [made[0].id(), made[1].id()];
    // The third takes the name of the first.
    made[2].rename_for_test(ids[0]);
    let [first, second, third] = made;
    pool.insert(first).unwrap();
    assert_eq!(
        pool.insert(third).unwrap_err(),
        InsertError::Repeated(ids[0])
    );
    assert_eq!(
        pool.wanted(&name),
        1,
        "filling goes on above the low watermark"
    );
    pool.insert(second).unwrap();
    assert_eq!(pool.ready(&name, 10), ids, "oldest first");
    assert_eq!(pool.wanted(&name), 0);

    pool.reserve(ids[0], [1; 32]).unwrap();
    let status = pool.status();
    assert_eq!((status.ready, status.added, status.reserved), (1, 2, 1));
    assert_eq!(pool.drain_on_doubt(|key| key.path.to_string() == "m/5"), 0);
    assert_eq!(pool.drain_on_doubt(|key| *key == name), 1);
    assert_eq!(pool.status().drained, 1);
    assert_eq!(
        pool.reserve(ids[1], [1; 32]).unwrap_err(),
        ReserveError::AlreadyUsed(ids[1])
    );
}

#[test]
fn a_wrong_partial_signature_names_its_sender() {
    let key = key(Protocol::Cggmp24, 3, 4);
    let (id, pools) = pools(&key, &[0, 1, 3], "m");
    let network = Network::sabotaged(|mut delivery| {
        if delivery.from == CHEAT {
            delivery.body[63] ^= 1;
        }
        vec![delivery]
    });
    let context = context(&key, &[0, 1, 3], "m", preimage(Protocol::Cggmp24));
    let results = sign(&network, &key, &context, id, &pools);
    for honest in [0, 3].map(PartyIndex) {
        let fault = results[&honest].as_ref().unwrap_err();
        assert_eq!(fault.proven_culprit(), Some(CHEAT), "{fault}");
        assert!(!fault.ban);
    }
}

fn presign_faults(round: u16, corrupt: fn(&mut Vec<u8>)) -> Vec<Fault> {
    let network = Network::sabotaged(move |mut delivery: Delivery| {
        if delivery.from == CHEAT && delivery.round == round {
            corrupt(&mut delivery.body);
        }
        vec![delivery]
    });
    let key = key(Protocol::Cggmp24, 2, 3);
    presign_all(&network, &key, &[0, 1], "m", fresh("presign"))
        .into_iter()
        .filter(|(party, _)| *party != CHEAT)
        .map(|(_, result)| result.expect_err(&format!("round {round}")))
        .collect()
}

/// Changes the last byte of a field's value: of its big number (hexadecimal text) or scalar.
fn alter(body: &mut [u8], field: &str, occurrence: usize) {
    let starts: Vec<usize> = body
        .windows(field.len())
        .enumerate()
        .filter(|(_, window)| *window == field.as_bytes())
        .map(|(start, _)| start)
        .collect();
    // A number is written as its radix, then 384 or more digits: change one in the middle.
    let place = starts[occurrence] + field.len() + 120;
    assert!(body[place].is_ascii_hexdigit(), "{field}: not a number");
    body[place] = if body[place] == b'1' { b'2' } else { b'1' };
}

#[test]
fn a_false_proof_while_presigning_names_its_sender() {
    // Of the two range proofs of round 2 the library overlooks either one, if the other holds.
    let first: fn(&mut Vec<u8>) = |body| alter(body, "z3", 0);
    let second: fn(&mut Vec<u8>) = |body| alter(body, "z3", 1);
    for (round, corrupt) in [(2, first), (2, second), (4, first), (4, second)] {
        for fault in presign_faults(round, corrupt) {
            assert_eq!(
                fault.proven_culprit(),
                Some(CHEAT),
                "round {round}: {fault}"
            );
            let expected = matches!(fault.reason, FaultReason::InvalidContribution { .. });
            assert!(expected, "round {round}: {fault}");
        }
    }
}

#[test]
fn damaged_messages_while_presigning_name_their_sender() {
    for round in [1, 2, 4, 5] {
        let truncated = presign_faults(round, |body| body.truncate(20));
        let huge = presign_faults(round, |body| body.resize(1 << 20, 0));
        for fault in [truncated, huge].concat() {
            assert_eq!(
                fault.proven_culprit(),
                Some(CHEAT),
                "round {round}: {fault}"
            );
        }
    }
}

#[test]
fn presigning_in_different_executions_ends_without_blame() {
    let key = key(Protocol::Cggmp24, 2, 3);
    let parties = indexes(&[0, 1]);
    let results = Network::honest().run(&parties, |me, link| {
        let share = &key.shares[me.position()];
        let signers = share.signers(&parties).unwrap();
        let path = DerivationPath::master();
        presign(share, &aux(&key, me), &signers, &path, fresh("own"), link)
    });
    for result in results.into_values() {
        let fault = result.unwrap_err();
        assert_eq!(fault.reason, FaultReason::ExecutionMismatch);
        assert!(fault.culprits.is_empty());
    }
}

#[test]
fn auxiliary_data_is_made_and_serves_a_key() {
    let key = key(Protocol::Cggmp24, 2, 2);
    let parties = indexes(&[0, 1]);
    let execution = fresh("aux");
    let made = Network::honest().run(&parties, |me, link| {
        let primes = test_material::primes(me).unwrap();
        let made = aux_info(key.parameters, me, execution, &primes, link).unwrap();
        let sealed = made.to_sealed_bytes();
        assert!(crate::threshold::AuxInfo::from_bytes(&sealed[..sealed.len() - 1]).is_err());
        let read = crate::threshold::AuxInfo::from_bytes(&sealed).unwrap();
        assert_eq!((read.parties(), read.index()), (2, me));
        read.load(false).unwrap()
    });
    let execution = fresh("presign");
    let made = Network::honest().run(&parties, |me, link| {
        let share = &key.shares[me.position()];
        let signers = share.signers(&parties).unwrap();
        let path = DerivationPath::master();
        presign(share, &made[&me], &signers, &path, execution, link).map(|p| p.id())
    });
    for id in made.into_values() {
        assert_eq!(id, Ok(PresignatureId::of(&execution)));
    }
}
