//! The simulator: starts once a process, and puts faults and quirks around each forwarded call.

use crate::active::{Active, Chosen};
use crate::call::{Call, Target};
use crate::control;
use crate::device::State;
use crate::hangs::Hangs;
use crate::memory::Memory;
use crate::plan::{Action, Device, Plan, When};
use crate::real::Real;
use crate::settings::Settings;
use crate::signature;
use crate::trace::Trace;
use cryptoki_sys::{
    CK_RV, CKR_CRYPTOKI_NOT_INITIALIZED, CKR_DEVICE_REMOVED, CKR_GENERAL_ERROR,
    CKR_MECHANISM_INVALID, CKR_OK, CKR_SESSION_HANDLE_INVALID, CKR_TOKEN_NOT_PRESENT,
};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

pub(crate) struct Sim {
    pub(crate) real: Real,
    active: RwLock<Arc<Active>>,
    pub(crate) memory: Memory,
    state: Mutex<State>,
    /// Read: a call is in the real module. Write: sessions end. SoftHSM crashes when a session ends under a call that uses it,
    /// and this simulates a device that does not.
    inside: RwLock<()>,
    /// A device that does one thing at a time does it under this.
    busy: Mutex<()>,
    hangs: Hangs,
    trace: Trace,
}

static SIM: OnceLock<Sim> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());

/// The simulator; `C_Initialize` starts it. Before that, and after a start that was refused, there is none.
pub(crate) fn for_call(function: &str) -> Result<&'static Sim, CK_RV> {
    if let Some(sim) = SIM.get() {
        return Ok(sim);
    }
    if function != "C_Initialize" {
        return Err(CKR_CRYPTOKI_NOT_INITIALIZED);
    }
    let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(sim) = SIM.get() {
        return Ok(sim);
    }
    start().map_err(|problem| {
        eprintln!("hsm-sim: does not start: {problem}");
        CKR_GENERAL_ERROR
    })
}

fn start() -> Result<&'static Sim, String> {
    let settings = Settings::from_environment()?;
    let memory = settings
        .memory
        .as_deref()
        .map_or(Ok(Memory::none()), Memory::open)?;
    let trace = settings
        .trace
        .as_deref()
        .map_or(Ok(Trace::none()), Trace::open)?;
    let real = Real::load(&settings.module).map_err(|e| e.to_string())?;
    let listener = settings
        .control
        .as_deref()
        .map(control::listen)
        .transpose()?;
    let sim = Sim {
        active: RwLock::new(Arc::new(Active::new(settings.plan, &memory))),
        state: Mutex::new(State::remembered(&memory)),
        inside: RwLock::new(()),
        busy: Mutex::new(()),
        hangs: Hangs::default(),
        real,
        memory,
        trace,
    };
    let sim = SIM.get_or_init(|| sim);
    if let Some(listener) = listener {
        control::serve(listener, sim)
            .map_err(|e| format!("no thread for the control socket: {e}"))?;
    }
    eprintln!(
        "hsm-sim: this is a SIMULATOR, profile {}",
        sim.active().plan().profile().name()
    );
    Ok(sim)
}

impl Sim {
    pub(crate) fn active(&self) -> Arc<Active> {
        self.active
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call from the outside: faults before, the real module, faults after, and a line in the trace.
    pub(crate) fn through(&self, call: &Call, forward: &mut dyn FnMut() -> CK_RV) -> CK_RV {
        let started = Instant::now();
        let active = self.active();
        let chosen = active.choose(call, &self.memory);
        let answer = self.answer(call, active.plan().device(), &chosen, forward);
        let faults: Vec<_> = chosen.iter().map(|c| c.index).collect();
        self.trace
            .call(call.function, answer, started.elapsed(), &faults);
        answer
    }

    fn answer(
        &self,
        call: &Call,
        device: &Device,
        chosen: &[Chosen<'_>],
        forward: &mut dyn FnMut() -> CK_RV,
    ) -> CK_RV {
        for one in chosen {
            if let Some(answer) = self.before(call, device, one) {
                return answer;
            }
        }
        if let Some(answer) = self.refusal(call, device) {
            return answer;
        }
        let answer = self.forward(call, device, forward);
        chosen
            .iter()
            .fold(answer, |answer, one| self.after(call, one, answer))
    }

    /// What happens before the call; an answer if the call goes no further.
    fn before(&self, call: &Call, device: &Device, chosen: &Chosen<'_>) -> Option<CK_RV> {
        match chosen.fault.action {
            Action::Error {
                code,
                when: When::Before,
            } => return Some(code.value()),
            Action::Delay {
                time,
                jitter,
                when: When::Before,
            } => wait(time, jitter, chosen.draw),
            Action::Hang { when: When::Before } => self.hangs.wait(),
            Action::DropSession => {
                if let Target::Session(session) = call.target {
                    self.drop_session(session);
                }
            }
            Action::DropSessions => self.drop_sessions(),
            Action::RemoveToken { back_after } => self.remove_token(back_after),
            Action::ReturnToken => self.state().return_token(device),
            Action::LockPin => self.state().lock_pin(true, &self.memory),
            Action::Error { .. }
            | Action::Delay { .. }
            | Action::Hang { .. }
            | Action::FlipBit { .. }
            | Action::FlipS
            | Action::OverReport { .. } => {}
        }
        None
    }

    /// What happens after the call took effect, and the answer then.
    fn after(&self, call: &Call, chosen: &Chosen<'_>, answer: CK_RV) -> CK_RV {
        match chosen.fault.action {
            Action::Error {
                code,
                when: When::After,
            } => return code.value(),
            Action::Delay {
                time,
                jitter,
                when: When::After,
            } => wait(time, jitter, chosen.draw),
            Action::Hang { when: When::After } => self.hangs.wait(),
            Action::FlipBit { bit } if answer == CKR_OK && call.signs() => {
                signature::flip_bit(call, bit, chosen.draw)
            }
            Action::FlipS if answer == CKR_OK && call.signs() => signature::flip_s(call),
            Action::OverReport { extra } if answer == CKR_OK && call.asks_for_size() => {
                signature::report(call, extra)
            }
            _ => {}
        }
        answer
    }

    /// What a device in this state, and of this kind, refuses.
    fn refusal(&self, call: &Call, device: &Device) -> Option<CK_RV> {
        let mut state = self.state();
        if !state.is_initialized() {
            return None;
        }
        let seen = state.token_is_seen(device);
        match call.target {
            Target::Slot(_) if !seen && call.function.as_str() != "C_GetSlotInfo" => {
                return Some(CKR_TOKEN_NOT_PRESENT);
            }
            Target::Session(_) if !seen => return Some(CKR_DEVICE_REMOVED),
            Target::Session(session) => {
                if device
                    .session_idle
                    .is_some_and(|limit| state.is_idle(session, limit))
                {
                    drop(state);
                    self.drop_session(session);
                    return Some(CKR_SESSION_HANDLE_INVALID);
                }
            }
            Target::Slot(_) | Target::Library => {}
        }
        call.mechanism_type()
            .filter(|mechanism| device.hidden.contains(mechanism))
            .map(|_| CKR_MECHANISM_INVALID)
    }

    fn forward(&self, call: &Call, device: &Device, forward: &mut dyn FnMut() -> CK_RV) -> CK_RV {
        let _busy = device.service_time.filter(|_| call.is_work()).map(|time| {
            let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            std::thread::sleep(time);
            busy
        });
        // It may wait for ever, and uses no session.
        if call.function.as_str() == "C_WaitForSlotEvent" {
            return forward();
        }
        let _inside = self.inside.read().unwrap_or_else(PoisonError::into_inner);
        forward()
    }

    fn remove_token(&self, back_after: Option<Duration>) {
        self.drop_sessions();
        self.state().remove_token(back_after);
    }
}

/// What the control socket does.
impl Sim {
    /// Lets all calls go on that hang; how many those were.
    pub(crate) fn release(&self) -> usize {
        self.hangs.release()
    }

    pub(crate) fn take_token_out(&self) {
        self.remove_token(None);
    }

    pub(crate) fn put_token_back(&self) {
        self.state().return_token(self.active().plan().device());
    }

    pub(crate) fn lock_pin(&self, locked: bool) {
        self.state().lock_pin(locked, &self.memory);
    }

    /// Acts by another plan from now on, and counts anew. Module, trace, control and memory stay those of the start.
    pub(crate) fn act_by(&self, plan: Plan) {
        self.memory.forget_faults();
        let active = Arc::new(Active::new(plan, &self.memory));
        *self.active.write().unwrap_or_else(PoisonError::into_inner) = active;
    }

    pub(crate) fn status(&self) -> String {
        let active = self.active();
        let state = self.state();
        format!(
            "initialized={} sessions={} hanging={} token={} pin={} wrong-pins={} calls={} faults={}",
            u8::from(state.is_initialized()),
            state.sessions(),
            self.hangs.waiting(),
            state.token_word(),
            if state.pin_is_locked(active.plan().device()) {
                "locked"
            } else {
                "ok"
            },
            state.wrong_pins(),
            self.trace.calls(),
            active.total(),
        )
    }
}

#[allow(unsafe_code)] // ends sessions of the real module
impl Sim {
    /// Ends all sessions while no call is in the real module.
    pub(crate) fn drop_sessions(&self) {
        let _alone = self.inside.write().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        for slot in state.slots() {
            if let Some(close_all) = self.real.functions().C_CloseAllSessions {
                // SAFETY: it takes no pointers, and no other call is in the module.
                unsafe { close_all(slot) };
            }
            state.closed_all(slot);
        }
    }

    fn drop_session(&self, session: cryptoki_sys::CK_SESSION_HANDLE) {
        let _alone = self.inside.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(close) = self.real.functions().C_CloseSession {
            // SAFETY: it takes no pointers, and no other call is in the module.
            unsafe { close(session) };
        }
        self.state().closed(session);
    }
}

fn wait(time: Duration, jitter: Duration, draw: u64) {
    let most = u64::try_from(jitter.as_micros()).unwrap_or(u64::MAX);
    let more = most
        .checked_add(1)
        .map_or(draw, |range| draw.checked_rem(range).unwrap_or(0));
    std::thread::sleep(time.saturating_add(Duration::from_micros(more)));
}
