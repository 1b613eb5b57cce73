//! The module, the token and the login: one login at a time, one login for all sessions.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use super::actions::login_unclear;
use super::gate::{Gate, Inside};
use super::outlet::Outlet;
use super::trouble;
use crate::config::{CountLow, Quirks};
use crate::error::{Failure, StopReason, Trouble};
use crate::pin::read_pin_file;
use crate::protocol::{FromWorker, PinForWorker, Serve, TokenDescription};

/// Why an attempt did not work.
#[derive(Debug)]
pub(super) enum Wrong {
    /// A function's answer.
    Token(RvError, Function),
    /// The module gave something that cannot be.
    Odd(String),
    /// A key was not there, in a session that is logged in.
    NotFound,
    /// Trying again gives the same.
    Final(Failure),
    /// A person must look.
    Stop(StopReason),
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        match error {
            Error::Pkcs11(code, function) => Self::Token(code, function),
            other => Self::Odd(other.to_string()),
        }
    }
}

impl Wrong {
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Token(code, function) => trouble(code, function),
            Self::Odd(what) => trouble(what, Function::GetFunctionStatus),
            Self::NotFound => trouble("no object", Function::FindObjects),
            Self::Final(failure) => trouble(failure.to_string(), Function::GetFunctionStatus),
            Self::Stop(reason) => trouble(reason.to_string(), Function::Login),
        }
    }
}

/// Which key a handle is for: class and `CKA_ID`.
pub(super) type HandleName = (u64, Vec<u8>);

/// What all session threads share.
pub(super) struct Token {
    module: Pkcs11,
    settings: Serve,
    gate: Gate,
    outlet: Arc<Outlet>,
    /// Changes with each login and each initialization: sessions and handles from before count no more.
    generation: AtomicU64,
    /// Changes with each initialization: session numbers from before may be somebody else's now.
    epoch: AtomicU64,
    login: Mutex<Login>,
    handles: Mutex<Handles>,
    pacing: Mutex<Pacing>,
    /// When anybody last succeeded, in milliseconds since the start.
    succeeded: AtomicU64,
    started: Instant,
}

#[derive(Default)]
struct Login {
    keeper: Option<Session>,
    slot: Option<Slot>,
    stopped: Option<StopReason>,
    accepted: bool,
    unclear: u32,
    description: TokenDescription,
}

#[derive(Default)]
struct Handles {
    generation: u64,
    found: HashMap<HandleName, ObjectHandle>,
    /// Keys that were there once: if they are not, it is the token that is ill.
    seen: HashSet<HandleName>,
}

struct Pacing {
    next: Instant,
    pause: Duration,
    doubted: Option<Instant>,
}

/// How long finalizing waits for calls to return. Then one hangs, and the process goes instead.
const PATIENCE: Duration = Duration::from_secs(3);
/// Logins without a clear answer before the first that succeeded.
const MAX_UNCLEAR: u32 = 3;

impl Token {
    pub fn new(module: Pkcs11, settings: Serve, outlet: Arc<Outlet>) -> Self {
        let login = Login {
            accepted: settings.pin_accepted,
            ..Login::default()
        };
        let now = Instant::now();
        Self {
            module,
            settings,
            gate: Gate::default(),
            outlet,
            generation: AtomicU64::new(1),
            epoch: AtomicU64::new(1),
            login: Mutex::new(login),
            handles: Mutex::default(),
            pacing: Mutex::new(Pacing {
                next: now,
                pause: Duration::ZERO,
                doubted: None,
            }),
            succeeded: AtomicU64::new(0),
            started: now,
        }
    }

    pub fn outlet(&self) -> &Outlet {
        &self.outlet
    }

    pub fn quirks(&self) -> &Quirks {
        &self.settings.quirks
    }

    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Initializes the module and logs in for the first time.
    pub fn start(&self) -> Result<TokenDescription, Wrong> {
        let inside = self.gate.enter();
        match self
            .module
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(error.into()),
        }
        self.log_in(&inside)?;
        Ok(self.lock().description.clone())
    }

    /// Makes sure of the login, for all sessions; returns the generation that holds now and the slot.
    pub fn log_in(&self, _inside: &Inside<'_>) -> Result<(u64, Slot), Wrong> {
        let mut login = self.lock();
        if let Some(reason) = &login.stopped {
            return Err(Wrong::Stop(reason.clone()));
        }
        if let (Some(keeper), Some(slot)) = (&login.keeper, login.slot)
            && let Ok(info) = keeper.get_session_info()
            && matches!(
                info.session_state(),
                SessionState::RoUser | SessionState::RwUser
            )
        {
            return Ok((self.generation(), slot));
        }
        let done = self.log_in_anew(&mut login);
        if let Err(Wrong::Stop(reason)) = &done {
            login.stopped = Some(reason.clone());
        }
        done
    }

    fn log_in_anew(&self, login: &mut Login) -> Result<(u64, Slot), Wrong> {
        if let Some(old) = login.keeper.take() {
            let _ = old.close();
        }
        let (slot, info) = self.find_token()?;
        self.may_try(&info)?;
        let keeper = self.open(slot, false)?;
        let pin = self.pin().map_err(Wrong::Stop)?;
        self.outlet.say(&FromWorker::LoginBegins);
        let answer = keeper.login(UserType::User, Some(&pin));
        let accepted = answer.is_ok();
        self.outlet.say(&FromWorker::LoginEnded { accepted });
        drop(pin);
        match answer {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(error) => {
                let wrong = self.login_failed(login, slot, &info, error.into());
                let _ = keeper.close();
                return Err(wrong);
            }
        }
        login.accepted |= accepted;
        login.unclear = 0;
        login.keeper = Some(keeper);
        login.slot = Some(slot);
        login.description = describe(&info);
        let generation = self
            .generation
            .fetch_add(1, Ordering::SeqCst)
            .saturating_add(1);
        Ok((generation, slot))
    }

    /// Whether the token's counter allows a try. A wrong PIN at the last one locks the token.
    fn may_try(&self, info: &TokenInfo) -> Result<(), Wrong> {
        let stop = if info.user_pin_locked() {
            StopReason::PinLocked
        } else if info.user_pin_final_try() {
            StopReason::FinalTry
        } else if !info.user_pin_initialized() {
            StopReason::PinNotReady("was never set".to_owned())
        } else if info.user_pin_to_be_changed() {
            StopReason::PinNotReady("must be changed first".to_owned())
        } else if info.user_pin_count_low() && self.settings.count_low == CountLow::Refuse {
            StopReason::CountLow
        } else {
            return Ok(());
        };
        Err(Wrong::Stop(stop))
    }

    fn login_failed(
        &self,
        login: &mut Login,
        slot: Slot,
        before: &TokenInfo,
        wrong: Wrong,
    ) -> Wrong {
        let Wrong::Token(code, _) = &wrong else {
            return Wrong::Stop(StopReason::LoginUncertain(wrong.trouble().to_string()));
        };
        let told = format!("{code:?}");
        match code {
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => {
                return Wrong::Stop(StopReason::PinRefused(told));
            }
            RvError::PinLocked => return Wrong::Stop(StopReason::PinLocked),
            RvError::PinExpired => {
                return Wrong::Stop(StopReason::PinNotReady("is expired".to_owned()));
            }
            RvError::UserPinNotInitialized => {
                return Wrong::Stop(StopReason::PinNotReady("was never set".to_owned()));
            }
            code if !login_unclear(*code) => return wrong,
            _ => {}
        }
        // Some modules say "general error" to a wrong PIN: the counter tells.
        let after = self.module.get_token_info(slot);
        let counted = after.as_ref().is_ok_and(|after| {
            (after.user_pin_count_low() && !before.user_pin_count_low())
                || after.user_pin_final_try()
                || after.user_pin_locked()
        });
        if counted {
            return Wrong::Stop(StopReason::PinRefused(told));
        }
        login.unclear = login.unclear.saturating_add(1);
        if !login.accepted && (after.is_err() || login.unclear >= MAX_UNCLEAR) {
            return Wrong::Stop(StopReason::LoginUncertain(told));
        }
        wrong
    }

    fn pin(&self) -> Result<AuthPin, StopReason> {
        let text: Zeroizing<String> = match &self.settings.pin {
            PinForWorker::File(path) => {
                read_pin_file(path).map_err(|e| StopReason::PinFile(with_source(&e)))?
            }
            PinForWorker::Given(bytes) => match std::str::from_utf8(&bytes.0) {
                Ok(text) => Zeroizing::new(text.to_owned()),
                Err(_) => return Err(StopReason::PinFile("it is no text".to_owned())),
            },
        };
        Ok(AuthPin::new(text.as_str().into()))
    }

    /// The one token that the configuration names. Slot numbers are never remembered beyond a login.
    fn find_token(&self) -> Result<(Slot, TokenInfo), Wrong> {
        let wanted = &self.settings.token;
        let same =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|w| w == found);
        let mut fitting = Vec::new();
        let mut unreadable = None;
        for slot in self.module.get_slots_with_token()? {
            match self.module.get_token_info(slot) {
                Ok(info) => {
                    if info.token_initialized()
                        && same(&wanted.token, info.label())
                        && same(&wanted.serial, info.serial_number())
                        && same(&wanted.manufacturer, info.manufacturer_id())
                        && same(&wanted.model, info.model())
                    {
                        fitting.push((slot, info));
                    }
                }
                Err(error) => unreadable = Some(error),
            }
        }
        match (fitting.len(), fitting.pop()) {
            (1, Some(found)) => Ok(found),
            (0, _) => match unreadable {
                // The token may be the one that could not be read: what makes it readable again is a new start of the module.
                Some(Error::Pkcs11(..)) | None => Err(Wrong::Token(
                    RvError::TokenNotPresent,
                    Function::GetTokenInfo,
                )),
                Some(other) => Err(other.into()),
            },
            (count, _) => Err(Wrong::Stop(StopReason::TokenAmbiguous(count))),
        }
    }

    /// Opens a session. It is closed by name only: after another initialization its number may be somebody else's.
    pub fn open(&self, slot: Slot, write: bool) -> Result<Session, Wrong> {
        Ok(if write || self.quirks().only_read_write_sessions {
            self.module.open_rw_session_no_drop(slot)?
        } else {
            self.module.open_ro_session_no_drop(slot)?
        })
    }

    /// Whether the token answers at all. A session's state does not tell: it stays "logged in" when the token is gone.
    pub fn present(&self, slot: Slot) -> bool {
        self.module.get_token_info(slot).is_ok()
    }

    /// Forgets the login, so that the next attempt logs in again; once for all who saw the same generation.
    pub fn log_in_again(&self, _inside: &Inside<'_>, seen: u64) {
        let mut login = self.lock();
        if self.generation() == seen
            && let Some(keeper) = login.keeper.take()
        {
            let _ = keeper.close();
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Starts the module anew: once for all who saw the same generation, and not more often than is good for a token that is
    /// away. Not to be called from inside.
    pub fn reinitialise(&self, seen: u64) -> bool {
        {
            let mut pacing = self.pacing.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            if now < pacing.next || self.generation() != seen {
                return false;
            }
            pacing.pause = pacing
                .pause
                .saturating_mul(2)
                .clamp(Duration::from_millis(20), Duration::from_millis(500));
            pacing.next = now.checked_add(pacing.pause).unwrap_or(now);
        }
        let Some(_alone) = self.gate.close(PATIENCE) else {
            // A call hangs inside the module; finalizing under it crashes. The parent starts another process.
            super::end_now();
            return false;
        };
        if self.generation() != seen {
            return false;
        }
        let mut login = self.lock();
        // Its session goes with the module's state.
        login.keeper = None;
        login.slot = None;
        let _ = self.module.clone().finalize();
        let _ = self
            .module
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.generation.fetch_add(1, Ordering::SeqCst);
        true
    }

    /// Closes the module before the process ends, if nobody is inside within `patience`.
    pub fn leave(&self, patience: Duration) {
        if let Some(_alone) = self.gate.close(patience) {
            self.lock().keeper = None;
            let _ = self.module.clone().finalize();
            super::end_now();
        }
    }

    /// A cached handle of this generation.
    pub fn cached(&self, generation: u64, name: &HandleName) -> Option<ObjectHandle> {
        let handles = self.handles();
        (handles.generation == generation)
            .then(|| handles.found.get(name).copied())
            .flatten()
    }

    /// Remembers a handle for this generation.
    pub fn remember(&self, generation: u64, name: HandleName, handle: ObjectHandle) {
        let mut handles = self.handles();
        if handles.generation != generation {
            handles.generation = generation;
            handles.found.clear();
        }
        handles.seen.insert(name.clone());
        handles.found.insert(name, handle);
    }

    /// Forgets the handle of one key.
    pub fn forget(&self, name: &HandleName) {
        self.handles().found.remove(name);
    }

    /// Whether this key was there once.
    pub fn was_there(&self, name: &HandleName) -> bool {
        self.handles().seen.contains(name)
    }

    /// Whether "not found" may be doubted once more: at most once in ten seconds, since it costs everybody a login.
    pub fn may_doubt(&self) -> bool {
        let mut pacing = self.pacing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let again = pacing
            .doubted
            .is_none_or(|at| now.saturating_duration_since(at) > Duration::from_secs(10));
        if again {
            pacing.doubted = Some(now);
        }
        again
    }

    /// Notes that somebody succeeded: the token is well.
    pub fn well(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.succeeded.store(now, Ordering::Relaxed);
        let mut pacing = self.pacing.lock().unwrap_or_else(PoisonError::into_inner);
        if pacing.pause > Duration::ZERO {
            pacing.pause = Duration::ZERO;
            pacing.next = self.started;
        }
    }

    /// Whether anybody succeeded since.
    pub fn well_since(&self, since: Instant) -> bool {
        let since = since.saturating_duration_since(self.started).as_millis();
        u128::from(self.succeeded.load(Ordering::Relaxed)) > since
    }

    fn lock(&self) -> MutexGuard<'_, Login> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handles(&self) -> MutexGuard<'_, Handles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn describe(info: &TokenInfo) -> TokenDescription {
    TokenDescription {
        label: info.label().to_owned(),
        serial: info.serial_number().to_owned(),
        manufacturer: info.manufacturer_id().to_owned(),
        model: info.model().to_owned(),
        pin_count_low: info.user_pin_count_low(),
    }
}

pub(super) fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
