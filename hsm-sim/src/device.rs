//! The device's state: is its token there, is its PIN locked, which sessions are open.

use crate::memory::{Memory, Pins};
use crate::plan::Device;
use cryptoki_sys::{CK_SESSION_HANDLE, CK_SLOT_ID};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[derive(Default)]
pub(crate) struct State {
    token: Token,
    pins: Pins,
    sessions: BTreeMap<CK_SESSION_HANDLE, Session>,
    initialized: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
enum Token {
    #[default]
    Present,
    Absent {
        back_at: Option<Instant>,
    },
    /// It is back, and the module does not know.
    Unseen,
}

struct Session {
    slot: CK_SLOT_ID,
    used: Instant,
    gcm: bool,
}

impl State {
    /// The state that processes before this one left.
    pub(crate) fn remembered(memory: &Memory) -> Self {
        Self {
            pins: memory.pins().unwrap_or_default(),
            ..Self::default()
        }
    }

    pub(crate) fn initialize(&mut self) {
        self.initialized = true;
        if self.token == Token::Unseen {
            self.token = Token::Present;
        }
    }

    pub(crate) fn finalize(&mut self) {
        self.initialized = false;
        self.sessions.clear();
    }

    pub(crate) fn is_initialized(&self) -> bool {
        self.initialized
    }

    /// Whether the token can be seen now.
    pub(crate) fn token_is_seen(&mut self, device: &Device) -> bool {
        if let Token::Absent { back_at: Some(at) } = self.token
            && at <= Instant::now()
        {
            self.return_token(device);
        }
        self.token == Token::Present
    }

    /// The sessions end with it: the caller sees to those of the real module.
    pub(crate) fn remove_token(&mut self, back_after: Option<Duration>) {
        self.token = Token::Absent {
            back_at: back_after.and_then(|after| Instant::now().checked_add(after)),
        };
        self.sessions.clear();
    }

    pub(crate) fn return_token(&mut self, device: &Device) {
        if self.token != Token::Present {
            // A library that is not initialised will look when it is.
            let seen = !device.return_needs_initialize || !self.initialized;
            self.token = if seen { Token::Present } else { Token::Unseen };
        }
    }

    pub(crate) fn pin_is_locked(&self, device: &Device) -> bool {
        self.pins.locked
            || device
                .pin_tries
                .is_some_and(|tries| self.pins.wrong >= tries)
    }

    pub(crate) fn lock_pin(&mut self, locked: bool, memory: &Memory) {
        self.pins = Pins { wrong: 0, locked };
        memory.keep_pins(self.pins);
    }

    /// Counts a wrong PIN; a right one begins the count again.
    pub(crate) fn pin_was(&mut self, right: bool, memory: &Memory) {
        let wrong = if right {
            0
        } else {
            self.pins.wrong.saturating_add(1)
        };
        if wrong != self.pins.wrong {
            self.pins.wrong = wrong;
            memory.keep_pins(self.pins);
        }
    }

    pub(crate) fn wrong_pins(&self) -> u32 {
        self.pins.wrong
    }

    pub(crate) fn sessions(&self) -> u64 {
        self.sessions.len() as u64
    }

    pub(crate) fn opened(&mut self, session: CK_SESSION_HANDLE, slot: CK_SLOT_ID) {
        self.sessions.insert(
            session,
            Session {
                slot,
                used: Instant::now(),
                gcm: false,
            },
        );
    }

    pub(crate) fn closed(&mut self, session: CK_SESSION_HANDLE) {
        self.sessions.remove(&session);
    }

    pub(crate) fn closed_all(&mut self, slot: CK_SLOT_ID) {
        self.sessions.retain(|_, session| session.slot != slot);
    }

    /// Whether the session was idle for too long; if not, it is used now.
    pub(crate) fn is_idle(&mut self, session: CK_SESSION_HANDLE, limit: Duration) -> bool {
        let Some(open) = self.sessions.get_mut(&session) else {
            return false;
        };
        let idle = open.used.elapsed() > limit;
        if !idle {
            open.used = Instant::now();
        }
        idle
    }

    /// Remembers whether the session encrypts with AES-GCM.
    pub(crate) fn encrypts(&mut self, session: CK_SESSION_HANDLE, gcm: bool) {
        if let Some(open) = self.sessions.get_mut(&session) {
            open.gcm = gcm;
        }
    }

    pub(crate) fn encrypts_with_gcm(&self, session: CK_SESSION_HANDLE) -> bool {
        self.sessions.get(&session).is_some_and(|open| open.gcm)
    }

    /// The slots of the open sessions.
    pub(crate) fn slots(&self) -> Vec<CK_SLOT_ID> {
        let mut slots: Vec<_> = self.sessions.values().map(|session| session.slot).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// For people: one word.
    pub(crate) fn token_word(&self) -> &'static str {
        match self.token {
            Token::Present => "present",
            Token::Absent { .. } => "absent",
            Token::Unseen => "unseen",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_by_itself_or_when_the_library_is_initialised_again() {
        let (plain, soft) = (
            Device::default(),
            Device {
                return_needs_initialize: true,
                ..Device::default()
            },
        );
        let mut state = State::default();
        state.initialize();
        state.remove_token(None);
        assert!(!state.token_is_seen(&plain));
        state.return_token(&plain);
        assert!(state.token_is_seen(&plain));

        state.remove_token(Some(Duration::ZERO));
        assert!(!state.token_is_seen(&soft));
        state.finalize();
        state.initialize();
        assert!(state.token_is_seen(&soft));
    }

    #[test]
    fn wrong_pins_lock_and_a_right_one_begins_again() {
        let device = Device {
            pin_tries: Some(2),
            ..Device::default()
        };
        let (mut state, memory) = (State::default(), Memory::none());
        state.pin_was(false, &memory);
        state.pin_was(true, &memory);
        state.pin_was(false, &memory);
        assert!(!state.pin_is_locked(&device));
        state.pin_was(false, &memory);
        assert!(state.pin_is_locked(&device));
        state.lock_pin(false, &memory);
        assert!(!state.pin_is_locked(&device));
    }
}
