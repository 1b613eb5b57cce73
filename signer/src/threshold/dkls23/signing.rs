//! DKLs23 signing (protocol 3.6 of ePrint 2023/765): phase 1 may leave before release, phases 2 and 3 after it.

use std::collections::BTreeMap;

use countersign_policy::{DerivationPath, Signature};
use dkls23::protocols::PartyIndex as LibraryIndex;
use dkls23::protocols::signing::{
    Broadcast3to4, KeepPhase1to2, SignData, TransmitPhase1to2, TransmitPhase2to3, UniqueKeep1to2,
};
use dkls23::secp256k1::Party;

use super::keygen::check_parties;
use super::{Curve, Share, blame, decode, encode, index, public_key};
use crate::threshold::exchange::{Exchange, HASH, broadcast, p2p, tagged, untag};
use crate::threshold::fault::Fault;
use crate::threshold::signing::{Backend, Combined, Inputs, Opened};
use crate::threshold::{Outgoing, PartyIndex, Recipient, Signers};

mod round {
    pub(super) const EXTEND: u16 = 0;
    pub(super) const MULTIPLY: u16 = 1;
    pub(super) const COMBINE: u16 = 2;
}

/// A session between its phase 1 and its release. What it keeps is used by move and wiped on drop.
struct Session {
    party: Party,
    data: SignData,
    unique: UniqueKeep1to2<Curve>,
    kept: BTreeMap<LibraryIndex, KeepPhase1to2<Curve>>,
    tag: [u8; HASH],
    signers: Signers,
}

pub(in crate::threshold) fn open(share: &Share, inputs: &Inputs<'_>) -> Result<Opened, Fault> {
    let me = inputs.me;
    let signers = inputs.context.signers.clone();
    let party = derive(share, &inputs.context.path)?;
    if public_key(&party.pk).ok() != Some(*inputs.public_key) {
        return Err(Fault::local("derived key differs from the pinned one"));
    }
    let data = SignData {
        sign_id: inputs.tag.to_vec(),
        counterparties: signers.others(me).map(index).collect::<Result<_, _>>()?,
        message_hash: *inputs.context.preimage.digest(),
    };
    let (unique, kept, messages) = party
        .sign_phase1(&data)
        .map_err(|abort| blame(&abort, me, []))?;
    let first_messages = messages
        .iter()
        .map(|message| {
            Ok(Outgoing {
                round: round::EXTEND,
                recipient: Recipient::One(super::party(message.parties.receiver)),
                body: tagged(&inputs.tag, &encode(message)?),
            })
        })
        .collect::<Result<_, Fault>>()?;
    Ok(Opened {
        rounds: vec![p2p(128 << 10), p2p(128 << 10), broadcast(256)],
        first_messages,
        backend: Box::new(Session {
            party,
            data,
            unique,
            kept,
            tag: inputs.tag,
            signers,
        }),
    })
}

impl Backend for Session {
    fn finish(self: Box<Self>, exchange: &mut Exchange<'_>) -> Result<Combined, Fault> {
        let Self {
            party,
            data,
            unique,
            kept,
            tag,
            signers,
        } = *self;
        let me = exchange.me();
        let fault = |abort| blame(&abort, me, signers.others(me));

        let received = exchange.collect(round::EXTEND, |from, body| {
            let body = untag(&tag, from, round::EXTEND, body)?;
            let message: TransmitPhase1to2 = decode(from, round::EXTEND, body)?;
            check_parties(&message.parties, from, me, round::EXTEND)?;
            Ok(message)
        })?;
        let (unique, kept, messages) = party
            .sign_phase2(&data, unique, kept, &in_order(received))
            .map_err(fault)?;
        for message in &messages {
            let to: PartyIndex = super::party(message.parties.receiver);
            exchange.unicast(round::MULTIPLY, to, encode(message)?)?;
        }

        let received = exchange.collect(round::MULTIPLY, |from, body| {
            let message: TransmitPhase2to3<Curve> = decode(from, round::MULTIPLY, body)?;
            check_parties(&message.parties, from, me, round::MULTIPLY)?;
            Ok(message)
        })?;
        let (x_coordinate, own) = party
            .sign_phase3(&data, unique, kept, &in_order(received))
            .map_err(fault)?;
        exchange.broadcast(round::COMBINE, encode(&own)?)?;

        let mut shares = in_order(exchange.collect(round::COMBINE, |from, body| {
            decode::<Broadcast3to4<Curve>>(from, round::COMBINE, body)
        })?);
        shares.push(own);
        let (s, _) = party
            .sign_phase4(&data, &x_coordinate, &shares, true)
            .map_err(fault)?;
        let signature = Signature::Secp256k1 {
            r: scalar_bytes(&x_coordinate)?,
            s: scalar_bytes(&s)?,
        };
        Ok(signature.into())
    }
}

fn derive(share: &Share, path: &DerivationPath) -> Result<Party, Fault> {
    if path.is_master() {
        return Ok(share.party.clone());
    }
    share
        .party
        .derive_from_path(&path.to_string(), |_| String::new())
        .map_err(|error| Fault::local(error.description))
}

fn in_order<T>(messages: BTreeMap<PartyIndex, T>) -> Vec<T> {
    messages.into_values().collect()
}

fn scalar_bytes(text: &str) -> Result<[u8; 32], Fault> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(Fault::local)?;
    Ok(bytes)
}
