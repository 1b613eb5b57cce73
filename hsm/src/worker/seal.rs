//! Sealing a data key with an AES key of the token.
//!
//! Tokens accept a zero or empty initialization vector and a tag of 32 bits or none: so vector and tag are fixed here, and what
//! comes back is measured, and opened once, before it is believed.

use cryptoki::context::Function;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::ObjectHandle;
use rand_core::{OsRng, RngCore as _};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::keys::{Use, find};
use super::seat::{At, stale};
use super::token::Wrong;
use crate::config::GcmIv;
use crate::error::Failure;
use crate::protocol::{Reply, Sealed};
use crate::secret::Secret32;

const TAG_BITS: u64 = 128;
/// A data key and its tag.
const SEALED: usize = 32 + 16;

pub(super) fn wrap(at: &At<'_>, id: &[u8], aad: &[u8], key: &Secret32) -> Result<Reply, Wrong> {
    let kek = find(at, Use::Seal, id)?;
    let sealed = encrypt(at, kek, aad, key)?;
    let opened = decrypt(at, kek, aad, &sealed)?;
    if !bool::from(opened.expose().ct_eq(key.expose())) {
        return Err(Wrong::Odd(
            "what was sealed opens to something else".to_owned(),
        ));
    }
    Ok(Reply::Sealed(sealed))
}

pub(super) fn unwrap(at: &At<'_>, id: &[u8], aad: &[u8], sealed: &Sealed) -> Result<Reply, Wrong> {
    if sealed.sealed.len() != SEALED {
        return Err(Wrong::Final(Failure::SealRefused));
    }
    let kek = find(at, Use::Seal, id)?;
    let wrong = match decrypt(at, kek, aad, sealed) {
        Ok(opened) => return Ok(Reply::Opened(opened)),
        Err(wrong) => wrong,
    };
    // SoftHSM 2.6 says "general error" to changed bytes, and so does a device that is unwell. A sealing of its own that the
    // token opens shows which: on another session, since the failed operation may still be open on this one.
    let Wrong::Token(_, Function::Decrypt) = wrong else {
        return Err(wrong);
    };
    match works(at, kek, aad) {
        true => Err(Wrong::Final(Failure::SealRefused)),
        false => Err(wrong),
    }
}

fn works(at: &At<'_>, kek: ObjectHandle, aad: &[u8]) -> bool {
    let Ok(slot) = at.session.get_session_info().map(|info| info.slot_id()) else {
        return false;
    };
    let Ok(session) = at.token.open(slot, false) else {
        return false;
    };
    let other = At {
        session: &session,
        ..*at
    };
    let mut random = Zeroizing::new([0u8; 32]);
    OsRng.fill_bytes(random.as_mut_slice());
    let probe = Secret32::new(&random);
    let opened =
        encrypt(&other, kek, aad, &probe).and_then(|sealed| decrypt(&other, kek, aad, &sealed));
    let good = opened.is_ok_and(|opened| bool::from(opened.expose().ct_eq(probe.expose())));
    let _ = session.close();
    good
}

fn encrypt(at: &At<'_>, kek: ObjectHandle, aad: &[u8], key: &Secret32) -> Result<Sealed, Wrong> {
    let ours = at.token.quirks().gcm_iv == GcmIv::Host;
    let mut chosen = [0u8; 12];
    if ours {
        OsRng.fill_bytes(&mut chosen);
    }
    let mut iv = chosen;
    let sealed = {
        let parameters = GcmParams::new(&mut iv, aad, TAG_BITS.into())?;
        at.session
            .encrypt(&Mechanism::AesGcm(parameters), kek, key.expose())?
    };
    if ours && iv != chosen {
        return Err(Wrong::Odd(
            "the module made an initialization vector of its own: set gcm_iv = \"module\""
                .to_owned(),
        ));
    }
    if iv == [0; 12] {
        return Err(Wrong::Odd(
            "the module made no initialization vector: set gcm_iv = \"host\"".to_owned(),
        ));
    }
    if sealed.len() != SEALED {
        return Err(Wrong::Odd(format!(
            "a sealed key of {} bytes",
            sealed.len()
        )));
    }
    Ok(Sealed { iv, sealed })
}

fn decrypt(at: &At<'_>, kek: ObjectHandle, aad: &[u8], sealed: &Sealed) -> Result<Secret32, Wrong> {
    let mut iv = sealed.iv;
    let parameters = GcmParams::new(&mut iv, aad, TAG_BITS.into())?;
    let opened = at
        .session
        .decrypt(&Mechanism::AesGcm(parameters), kek, &sealed.sealed);
    let opened = Zeroizing::new(opened?);
    let Some(bytes) = opened.first_chunk::<32>().filter(|_| opened.len() == 32) else {
        return Err(stale(Function::Decrypt));
    };
    let mut copy = *bytes;
    let secret = Secret32::new(&copy);
    copy.zeroize();
    Ok(secret)
}
