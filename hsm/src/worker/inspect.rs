//! Looking at a module without a login, and making a new token.

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::Error;
use cryptoki::mechanism::MechanismType;
use cryptoki::session::UserType;
use cryptoki::slot::{Limit, Slot};
use cryptoki::types::AuthPin;

use super::outlet::Outlet;
use super::token::{Wrong, describe, with_source};
use crate::error::{Failure, StopReason};
use crate::pin::read_pin_file;
use crate::protocol::{FromWorker, InspectedMechanism, InspectedModule, InspectedToken, Provision};

/// The mechanisms that are used, by the names of the standard.
const MECHANISMS: [(&str, MechanismType); 6] = [
    ("CKM_EC_KEY_PAIR_GEN", MechanismType::ECC_KEY_PAIR_GEN),
    ("CKM_ECDSA", MechanismType::ECDSA),
    (
        "CKM_EC_EDWARDS_KEY_PAIR_GEN",
        MechanismType::ECC_EDWARDS_KEY_PAIR_GEN,
    ),
    ("CKM_EDDSA", MechanismType::EDDSA),
    ("CKM_AES_KEY_GEN", MechanismType::AES_KEY_GEN),
    ("CKM_AES_GCM", MechanismType::AES_GCM),
];

/// Tells what the module and its tokens are.
pub(super) fn inspect(module: &Pkcs11, outlet: &Outlet) {
    outlet.say(&match look(module) {
        Ok(found) => FromWorker::Inspected(found),
        Err(error) => FromWorker::Stopped(StopReason::Module(error.to_string())),
    });
}

fn look(module: &Pkcs11) -> Result<InspectedModule, Error> {
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let info = module.get_library_info()?;
    let mut tokens = Vec::new();
    for slot in module.get_slots_with_token()?.into_iter().take(MAX_TOKENS) {
        tokens.push(look_at_token(module, slot)?);
    }
    Ok(InspectedModule {
        library: format!("{} {}", info.library_description(), info.library_version()),
        manufacturer: info.manufacturer_id().to_owned(),
        cryptoki: info.cryptoki_version().to_string(),
        tokens,
    })
}

const MAX_TOKENS: usize = 256;

fn look_at_token(module: &Pkcs11, slot: Slot) -> Result<InspectedToken, Error> {
    let info = module.get_token_info(slot)?;
    let known = module.get_mechanism_list(slot)?;
    let max_sessions = match info.max_session_count() {
        Limit::Max(count) => Some(count),
        _ => None,
    };
    Ok(InspectedToken {
        token: describe(&info),
        initialized: info.token_initialized(),
        user_pin: info.user_pin_initialized(),
        final_try: info.user_pin_final_try(),
        locked: info.user_pin_locked(),
        max_sessions,
        mechanisms: MECHANISMS
            .into_iter()
            .map(|(name, mechanism)| InspectedMechanism {
                name: name.to_owned(),
                present: known.contains(&mechanism),
            })
            .collect(),
    })
}

/// Makes a token in a slot whose token was never initialized. A token that was is never touched.
pub(super) fn provision(module: &Pkcs11, outlet: &Outlet, wanted: &Provision) {
    outlet.say(&match make(module, wanted) {
        Ok(serial) => FromWorker::Provisioned { serial },
        Err(Wrong::Final(failure)) => FromWorker::Refused(failure),
        Err(Wrong::Stop(reason)) => FromWorker::Stopped(reason),
        Err(wrong) => FromWorker::Refused(Failure::Refused(wrong.trouble())),
    });
}

fn make(module: &Pkcs11, wanted: &Provision) -> Result<String, Wrong> {
    let read = |path: &std::path::Path| match read_pin_file(path) {
        Ok(pin) => Ok(AuthPin::new(pin.as_str().into())),
        Err(error) => Err(Wrong::Stop(StopReason::PinFile(with_source(&error)))),
    };
    let (so_pin, pin) = (read(&wanted.so_pin_file)?, read(&wanted.pin_file)?);
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let mut free = None;
    for slot in module.get_slots_with_token()? {
        let info = module.get_token_info(slot)?;
        if info.token_initialized() && info.label() == wanted.label {
            return Err(Wrong::Final(Failure::Exists(format!(
                "token {:?}",
                wanted.label
            ))));
        }
        if !info.token_initialized() && free.is_none() {
            free = Some(slot);
        }
    }
    let free = free.ok_or_else(|| {
        Wrong::Final(Failure::BadAnswer(
            "there is no slot with an uninitialized token".to_owned(),
        ))
    })?;
    module.init_token(free, &so_pin, &wanted.label)?;
    // Slots may have new numbers now.
    for slot in module.get_slots_with_token()? {
        let info = module.get_token_info(slot)?;
        if info.token_initialized() && info.label() == wanted.label {
            let session = module.open_rw_session(slot)?;
            session.login(UserType::So, Some(&so_pin))?;
            session.init_pin(&pin)?;
            session.logout()?;
            return Ok(info.serial_number().to_owned());
        }
    }
    Err(Wrong::Odd("the new token cannot be found".to_owned()))
}
