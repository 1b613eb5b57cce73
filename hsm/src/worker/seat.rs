//! One thread with one session: reads a request, does it, answers.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::context::Function;
use cryptoki::error::RvError;
use cryptoki::session::Session;

use super::actions::{Action, action};
use super::token::{Token, Wrong};
use super::{keys, seal};
use crate::error::{Failure, StopReason, Trouble};
use crate::protocol::{Answer, FromWorker, Incident, Op, Reply, Request, read_frame};

/// A thread's place at the token.
pub(super) struct Seat {
    token: Arc<Token>,
    own: Option<Own>,
}

/// A session with what it depends on.
struct Own {
    session: Session,
    generation: u64,
    epoch: u64,
}

/// Where an attempt works: the session, and the generation for which handles count.
pub(super) struct At<'a> {
    pub token: &'a Token,
    pub session: &'a Session,
    pub generation: u64,
}

/// Attempts of one request while the token serves others: then the request is at fault.
const MAX_ATTEMPTS: u32 = 8;
/// Attempts on new sessions before the whole login is doubted, when nobody succeeds.
const BEFORE_REINITIALISE: u32 = 3;

impl Seat {
    pub fn new(token: Arc<Token>) -> Self {
        Self { token, own: None }
    }

    /// Serves until the parent goes.
    pub fn serve(mut self, requests: &Mutex<UnixStream>) {
        loop {
            let request: Request = {
                let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
                match read_frame(&mut *requests) {
                    Ok(request) => request,
                    // The first thread notices as well, and ends the process; what is malformed ends it here.
                    Err(_) => return super::end_after_hangup(),
                }
            };
            let answer = self.answer(request);
            self.token.outlet().say(&FromWorker::Answer(answer));
        }
    }

    fn answer(&mut self, request: Request) -> Answer {
        let Request {
            id,
            deadline,
            fresh,
            op,
        } = request;
        let mut incidents = Vec::new();
        let mut inside = Duration::ZERO;
        if fresh {
            self.drop_own(&mut incidents);
        }
        let result = self.persist(&op, deadline, &mut incidents, &mut inside);
        Answer {
            id,
            result,
            micros: u64::try_from(inside.as_micros()).unwrap_or(u64::MAX),
            incidents,
        }
    }

    /// Tries until it is done, in vain, or late.
    fn persist(
        &mut self,
        op: &Op,
        deadline: u64,
        incidents: &mut Vec<Incident>,
        inside: &mut Duration,
    ) -> Result<Reply, Failure> {
        let begun = Instant::now();
        let mut last: Option<Trouble> = None;
        let mut tries = Tries::default();
        loop {
            if monotonic() >= deadline {
                return Err(Failure::Deadline(last));
            }
            let seen = self.token.generation();
            let at = Instant::now();
            let wrong = match self.attempt(op, incidents) {
                Ok(reply) => {
                    *inside = at.elapsed();
                    self.token.well();
                    return Ok(reply);
                }
                Err(wrong) => wrong,
            };
            let trouble = wrong.trouble();
            if incidents.len() < MAX_INCIDENTS {
                incidents.push(Incident::Trouble(trouble.clone()));
            }
            let next = self.decide(op, wrong, &mut tries, begun)?;
            self.act(next, seen, &tries, begun, incidents);
            last = Some(trouble);
            tries.pause(deadline);
        }
    }

    fn attempt(&mut self, op: &Op, incidents: &mut Vec<Incident>) -> Result<Reply, Wrong> {
        // Not a field's guard: the borrow of the token ends before the session is replaced.
        let token = Arc::clone(&self.token);
        let inside = token.gate().enter();
        let current = self
            .own
            .as_ref()
            .is_some_and(|own| own.generation == token.generation());
        if !current {
            self.close_own(incidents);
            let (generation, slot) = token.log_in(&inside)?;
            let session = token.open(slot, false)?;
            incidents.push(Incident::SessionOpened);
            let epoch = token.epoch();
            self.own = Some(Own {
                session,
                generation,
                epoch,
            });
        }
        let Some(own) = &self.own else {
            return Err(Wrong::Odd("no session".to_owned()));
        };
        let at = At {
            token: &token,
            session: &own.session,
            generation: own.generation,
        };
        perform(&at, op)
    }

    /// Whether to go on, and how.
    fn decide(
        &self,
        op: &Op,
        wrong: Wrong,
        tries: &mut Tries,
        begun: Instant,
    ) -> Result<Action, Failure> {
        tries.count = tries.count.saturating_add(1);
        let (code, function) = match wrong {
            Wrong::Final(failure) => return Err(failure),
            Wrong::Stop(reason) => {
                self.token
                    .outlet()
                    .say(&FromWorker::Stopped(reason.clone()));
                return Err(Failure::Stopped(reason));
            }
            Wrong::Odd(what) if tries.count >= 3 => return Err(Failure::BadAnswer(what)),
            Wrong::Odd(_) => return Ok(Action::Replace),
            Wrong::NotFound => return self.doubt(op, tries),
            Wrong::Token(code, function) => (code, function),
        };
        let trouble = super::trouble(code, function);
        // Once the token was told to make a key, nobody tells it again.
        if matches!(function, Function::GenerateKey | Function::GenerateKeyPair) {
            return Err(match action(code, function) {
                Action::Fail => Failure::Refused(trouble),
                _ => Failure::Uncertain(trouble),
            });
        }
        match action(code, function) {
            Action::Fail => Err(Failure::Refused(trouble)),
            Action::Stop => {
                let reason = StopReason::PinRefused(trouble.to_string());
                self.token
                    .outlet()
                    .say(&FromWorker::Stopped(reason.clone()));
                Err(Failure::Stopped(reason))
            }
            Action::Replace | Action::Find | Action::Login if tries.count >= MAX_ATTEMPTS => {
                // Others succeed meanwhile: it is this request. Nobody does: it is the token, and time decides.
                if self.token.well_since(begun) {
                    return Err(Failure::Refused(trouble));
                }
                Ok(Action::Reinitialise)
            }
            Action::Replace | Action::Find | Action::Login
                if tries.count > BEFORE_REINITIALISE && !self.token.well_since(begun) =>
            {
                Ok(Action::Reinitialise)
            }
            action => Ok(action),
        }
    }

    /// "Not found" is also what a token says that was logged out, or is away. It never leads to a new key.
    fn doubt(&self, op: &Op, tries: &mut Tries) -> Result<Action, Failure> {
        let Some((kind, id, name)) = keys::named(op) else {
            return Err(Failure::BadAnswer("an object is missing".to_owned()));
        };
        let missing = Failure::Missing { id, kind };
        let was_there = self.token.was_there(&name);
        let present = {
            let inside = self.token.gate().enter();
            let slot = self.token.log_in(&inside).map(|(_, slot)| slot);
            slot.is_ok_and(|slot| self.token.present(slot))
        };
        if !present {
            return Ok(Action::Reinitialise);
        }
        match (tries.doubts, was_there) {
            (0, true) => tries.doubts = 1,
            (0, false) if self.token.may_doubt() => tries.doubts = 2,
            (1, true) => {
                tries.doubts = 2;
                return Ok(Action::Reinitialise);
            }
            _ => return Err(missing),
        }
        Ok(Action::Login)
    }

    fn act(
        &mut self,
        next: Action,
        seen: u64,
        tries: &Tries,
        begun: Instant,
        incidents: &mut Vec<Incident>,
    ) {
        // Whatever happened, an operation may be open on this session, and only its end closes that.
        self.drop_own(incidents);
        match next {
            Action::Login => {
                let inside = self.token.gate().enter();
                self.token.log_in_again(&inside, seen);
            }
            Action::Reinitialise => {
                let again = self.token.reinitialise(seen);
                incidents.extend(again.then_some(Incident::Reinitialised));
            }
            Action::Find if tries.count > 1 && !self.token.well_since(begun) => {
                let inside = self.token.gate().enter();
                self.token.log_in_again(&inside, seen);
            }
            _ => {}
        }
    }

    fn drop_own(&mut self, incidents: &mut Vec<Incident>) {
        if self.own.is_some() {
            let token = Arc::clone(&self.token);
            let _inside = token.gate().enter();
            self.close_own(incidents);
        }
    }

    /// From inside only.
    fn close_own(&mut self, incidents: &mut Vec<Incident>) {
        if let Some(own) = self.own.take() {
            incidents.push(Incident::SessionDropped);
            // After another initialization its number may be somebody else's session.
            if own.epoch == self.token.epoch() {
                let _ = own.session.close();
            }
        }
    }
}

/// Troubles told with one answer; a token that is away for long gives many.
const MAX_INCIDENTS: usize = 64;

#[derive(Default)]
struct Tries {
    count: u32,
    doubts: u32,
    waited: Duration,
}

impl Tries {
    /// The first retry is at once, the later ones wait longer and longer, never beyond the deadline.
    fn pause(&mut self, deadline: u64) {
        if self.count > 1 {
            self.waited = self
                .waited
                .saturating_mul(2)
                .clamp(Duration::from_millis(3), Duration::from_millis(100));
            let left = Duration::from_nanos(deadline.saturating_sub(monotonic()));
            std::thread::sleep(self.waited.min(left));
        }
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds, the same for all processes of the machine.
pub(crate) fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

fn perform(at: &At<'_>, op: &Op) -> Result<Reply, Wrong> {
    match op {
        Op::SignPrehash { id, prehash } => keys::sign_prehash(at, id.as_bytes(), prehash),
        Op::SignMessage { id, message } => keys::sign_message(at, id.as_bytes(), message),
        Op::Canary { challenge } => keys::sign_canary(at, challenge),
        Op::Describe { kind, id } => keys::describe(at, *kind, id.as_bytes()),
        Op::DescribeCanary => keys::describe_canary(at),
        Op::List => keys::list(at),
        Op::Generate { kind, id, label } => keys::generate(at, *kind, id.as_bytes(), label),
        Op::GenerateCanary => keys::generate_canary(at),
        Op::GenerateKek { id, label } => keys::generate_kek(at, id.as_bytes(), label),
        Op::Wrap { id, aad, key } => seal::wrap(at, id.as_bytes(), aad, key),
        Op::Unwrap { id, aad, sealed } => seal::unwrap(at, id.as_bytes(), aad, sealed),
    }
}

/// What a handle that was good and is not is answered with, when it is not the module that says so.
pub(super) fn stale(function: Function) -> Wrong {
    Wrong::Token(RvError::ObjectHandleInvalid, function)
}
