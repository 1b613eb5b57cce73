//! CGGMP24 key generation: the core share with a chain code; auxiliary data is made per group, apart from it.

use cggmp24::supported_curves::Secp256k1;
use rand_core::OsRng;

use super::CoreShare;
use super::machine::{self, Layout};
use crate::threshold::exchange::{Exchange, HASH, Round, broadcast, p2p};
use crate::threshold::fault::Fault;
use crate::threshold::keygen::{GeneratedKey, Setup};
use crate::threshold::{KeyShare, Link, PartyIndex, Protocol};

const AGREE: u16 = 0;
const RESULT: u16 = 6;

/// Library order: commitment, broadcast opening, secret evaluation, proof, reliability check.
const LAYOUT: Layout = Layout {
    wire: &[1, 3, 4, 5, 2],
    broadcast: &[true, true, false, true, true],
    order: &[1, 2, 3, 4, 5],
};

fn rounds() -> Vec<Round> {
    vec![
        broadcast(HASH),
        broadcast(1 << 10),
        broadcast(1 << 10),
        broadcast(16 << 10),
        p2p(1 << 10),
        broadcast(4 << 10),
        broadcast(HASH),
    ]
}

pub(in crate::threshold) fn keygen(
    setup: &Setup,
    link: &mut dyn Link,
) -> Result<GeneratedKey, Fault> {
    let (parameters, me) = (setup.parameters, setup.me);
    let parties: Vec<PartyIndex> = parameters.everyone().collect();
    let mut exchange = Exchange::new(link, me, parties.iter().copied(), rounds());
    exchange.agree(AGREE, &setup.tag)?;

    let execution = cggmp24::ExecutionId::new(setup.execution.as_bytes());
    let machine = cggmp24::keygen::<Secp256k1>(execution, me.0, parameters.parties())
        // Without this the key would be n-of-n.
        .set_threshold(parameters.threshold())
        .hd_wallet(true)
        .enforce_reliable_broadcast(true);
    let mut rng = OsRng;
    let core = machine::run(
        machine.into_state_machine(&mut rng),
        &mut exchange,
        &LAYOUT,
        &parties,
        |_, _| Ok(()),
    )?;

    let share = CoreShare(core);
    let public = share.group_key().map_err(Fault::local)?;
    exchange.agree_on_result(RESULT, &public.transcript())?;
    let bytes = share.encode().map_err(Fault::local)?;
    Ok(GeneratedKey {
        public,
        share: KeyShare::new(Protocol::Cggmp24, parameters, me, bytes),
    })
}
