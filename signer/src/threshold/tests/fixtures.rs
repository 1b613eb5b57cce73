//! Keys made once per process, and the steps that every test repeats.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use countersign_policy::{DerivationPath, Signature};

use super::network::{Network, SimulatedLink};
use crate::gate::Released;
use crate::threshold::{
    ExecutionId, Fault, GroupKey, HashAlgorithm, KeyShare, Link, LoadedShare, Material, Parameters,
    PartyIndex, Preimage, Protocol, SigningContext, keygen, open,
};

pub(super) const SIZES: [(u16, u16); 4] = [(2, 2), (2, 3), (3, 4), (3, 5)];

pub(super) struct Key {
    pub parameters: Parameters,
    pub public: GroupKey,
    pub shares: Vec<Arc<LoadedShare>>,
    /// Party 0's share as it would be stored.
    pub sealed: Vec<u8>,
}

/// A stored share of a protocol.
pub(super) fn sealed(protocol: Protocol) -> Vec<u8> {
    key(protocol, 2, 3).sealed.clone()
}

/// The key of a protocol and size, made by a real key generation the first time it is asked for.
pub(super) fn key(protocol: Protocol, t: u16, n: u16) -> Arc<Key> {
    type Slot = Arc<OnceLock<Arc<Key>>>;
    static KEYS: Mutex<BTreeMap<(Protocol, u16, u16), Slot>> = Mutex::new(BTreeMap::new());
    let slot = Arc::clone(KEYS.lock().unwrap().entry((protocol, t, n)).or_default());
    Arc::clone(slot.get_or_init(|| Arc::new(make(protocol, t, n))))
}

fn make(protocol: Protocol, t: u16, n: u16) -> Key {
    let parameters = Parameters::new(t, n).unwrap();
    let parties: Vec<PartyIndex> = parameters.everyone().collect();
    let execution = fresh("keygen");
    let made = Network::honest().run(&parties, |me, link| {
        keygen(protocol, parameters, me, execution, link).unwrap()
    });
    let public = made[&PartyIndex(0)].public.clone();
    let sealed = made[&PartyIndex(0)].share.to_sealed_bytes().to_vec();
    let shares = made
        .into_iter()
        .map(|(me, key)| {
            assert_eq!(key.public, public, "party {me} has another key");
            let sealed = key.share.to_sealed_bytes();
            let share = KeyShare::from_bytes(protocol, &sealed).unwrap();
            assert_eq!((share.index(), share.parameters()), (me, parameters));
            let loaded = share.load().unwrap();
            assert_eq!(*loaded.group_key(), public);
            Arc::new(loaded)
        })
        .collect();
    Key {
        parameters,
        public,
        shares,
        sealed,
    }
}

/// An execution id that no other call of this process returns.
pub(super) fn fresh(what: &str) -> ExecutionId {
    static COUNTER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    ExecutionId::derive(what, [number.to_be_bytes().as_slice()])
}

pub(super) fn preimage(protocol: Protocol) -> Preimage {
    let algorithm = match protocol {
        Protocol::FrostEd25519 => HashAlgorithm::Ed25519Message,
        _ => HashAlgorithm::Keccak256,
    };
    Preimage::new(algorithm, b"a transfer of nothing to nobody".to_vec())
}

pub(super) fn indexes(list: &[u16]) -> Vec<PartyIndex> {
    list.iter().copied().map(PartyIndex).collect()
}

pub(super) fn context(
    key: &Key,
    signers: &[u16],
    path: &str,
    preimage: Preimage,
) -> SigningContext {
    let share = &key.shares[usize::from(signers[0])];
    SigningContext {
        execution: fresh("sign"),
        signers: share.signers(&indexes(signers)).unwrap(),
        path: path.parse::<DerivationPath>().unwrap(),
        preimage,
    }
}

/// What the gate does for a session that passed all of its checks.
pub(super) fn released(context: &SigningContext) -> Released {
    Released::for_driver_tests(*context.preimage.digest(), context.execution)
}

/// One party's signing, from open to signature, with material that needs no pool.
pub(super) fn sign_one(
    key: &Key,
    context: &SigningContext,
    me: PartyIndex,
    material: Material,
    link: &mut SimulatedLink,
) -> Result<Signature, Fault> {
    let share = Arc::clone(&key.shares[me.position()]);
    let (session, first) = open(share, context.clone(), material)?;
    for message in first {
        link.send(message).unwrap();
    }
    session.complete(released(context), link)
}

pub(super) fn sign(
    network: &Network,
    key: &Key,
    context: &SigningContext,
) -> BTreeMap<PartyIndex, Result<Signature, Fault>> {
    network.run(context.signers.as_slice(), |me, link| {
        sign_one(key, context, me, Material::Fresh, link)
    })
}

/// Every set of t of n parties.
pub(super) fn signer_sets(t: u16, n: u16) -> Vec<Vec<u16>> {
    (0_u32..1 << n)
        .filter(|bits| bits.count_ones() == u32::from(t))
        .map(|bits| (0..n).filter(|party| bits >> party & 1 == 1).collect())
        .collect()
}
