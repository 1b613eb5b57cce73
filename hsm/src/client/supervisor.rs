//! Watches the process that uses the token: gives it requests, kills it when a call hangs, starts it again, and asks again what
//! may be asked twice.

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::metrics::Metrics;
use crate::config::HsmConfig;
use crate::error::{HsmError, StopReason, Trouble};
use crate::pin::Pin;
use crate::protocol::{
    Answer, FromWorker, Hello, Op, PinForWorker, Purpose, Reply, Request, Serve, VERSION,
    read_frame, write_frame,
};
use crate::secret::SecretBytes;
use crate::worker::monotonic;

/// What a caller gets, and how long it took inside the token.
pub(super) type Outcome = Result<(Reply, Duration), HsmError>;
/// Called once, never under the lock.
pub(super) type Callback = Box<dyn FnOnce(Outcome) + Send>;

/// Requests that wait or are under way, at most.
const MAX_WAITING: usize = 1024;
/// How often one request may see the process die.
const MAX_DEATHS: u32 = 3;
/// A process that says nothing for so long while it starts is stuck in the module.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// Beyond its deadline, a request that the process has is answered by then, or its call hangs.
const GRACE: Duration = Duration::from_secs(2);
/// The shortest wait before a process is started again.
const MIN_BACKOFF: Duration = Duration::from_millis(20);
/// The longest wait before a process is started again.
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// Deaths during a login in a row, once the PIN was accepted: each could be a counted try.
const MAX_LOGIN_DEATHS: u32 = 3;

/// What client, readers and supervisor share.
pub(super) struct Shared {
    config: HsmConfig,
    program: PathBuf,
    pin: Pin,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<u64>,
    requests: BTreeMap<u64, Pending>,
    under_way: usize,
    next: u64,
    link: Option<Link>,
    ready: bool,
    epoch: u64,
    dead: bool,
    stopped: Option<StopReason>,
    closed: bool,
    in_login: bool,
    login_deaths: u32,
    pin_accepted: bool,
    heard: Option<Instant>,
    /// When the supervisor looks again by itself.
    wake_at: Option<Instant>,
    last: Option<Trouble>,
    metrics: Metrics,
}

struct Pending {
    op: Op,
    fresh: bool,
    deadline: Instant,
    sent: Option<Instant>,
    deaths: u32,
    callback: Option<Callback>,
}

/// The way to a living process.
struct Link {
    stream: UnixStream,
}

/// Callbacks with what they are told, to be called without the lock.
type Due = Vec<(Callback, Outcome)>;

impl Shared {
    /// Starts the supervisor, and with it the first process.
    pub fn start(config: HsmConfig, program: PathBuf, pin: Pin) -> Result<Arc<Self>, HsmError> {
        let shared = Arc::new(Self {
            config,
            program,
            pin,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let supervised = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("hsm-supervisor".to_owned())
            .spawn(move || supervised.supervise())
            .map_err(|e| HsmError::Spawn(e.to_string()))?;
        Ok(shared)
    }

    /// Waits until the token is ready; at most so long.
    pub fn wait_until_ready(&self, patience: Duration) -> Result<(), HsmError> {
        let deadline = Instant::now().checked_add(patience);
        let mut state = self.lock();
        loop {
            if let Some(reason) = &state.stopped {
                return Err(HsmError::Stopped(reason.clone()));
            }
            if state.ready {
                return Ok(());
            }
            let left = deadline.and_then(|d| d.checked_duration_since(Instant::now()));
            let Some(left) = left else {
                let last = state.last.clone();
                return Err(HsmError::NotReady {
                    seconds: patience.as_secs(),
                    last,
                });
            };
            state = self.wait(state, left);
        }
    }

    /// Hands over a request. The callback is called exactly once, at its deadline at the latest (and a moment).
    pub fn submit(&self, op: Op, fresh: bool, patience: Duration, callback: Callback) {
        let refused = {
            let mut state = self.lock();
            if state.closed {
                HsmError::Closed
            } else if let Some(reason) = &state.stopped {
                HsmError::Stopped(reason.clone())
            } else if state.requests.len() >= MAX_WAITING {
                HsmError::Busy(MAX_WAITING)
            } else {
                let now = Instant::now();
                let id = state.next;
                state.next = id.wrapping_add(1);
                let deadline = now.checked_add(patience).unwrap_or(now);
                let pending = Pending {
                    op,
                    fresh,
                    deadline,
                    sent: None,
                    deaths: 0,
                    callback: Some(callback),
                };
                state.requests.insert(id, pending);
                state.waiting.push_back(id);
                self.dispatch(&mut state);
                // The supervisor sleeps until the next deadline it knows of: mostly that is one before this.
                if state.wake_at.is_none_or(|at| at > deadline) {
                    self.changed.notify_all();
                }
                return;
            }
        };
        callback(Err(refused));
    }

    /// Ends the process and all requests.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// What has been counted.
    pub fn metrics(&self) -> Metrics {
        let state = self.lock();
        let mut metrics = state.metrics.clone();
        metrics.waiting = state.requests.len();
        if !state.ready {
            metrics.token = None;
        }
        metrics
    }

    /// Counts a signature that did not verify.
    pub fn wrong_signature(&self) {
        let mut state = self.lock();
        state.metrics.wrong_signatures = state.metrics.wrong_signatures.saturating_add(1);
    }

    /// How long a request may take when its caller does not say.
    pub fn patience(&self) -> Duration {
        self.config.deadline()
    }

    /// Gives the process as much as it can work on, and no more: what waits here can still end in time.
    fn dispatch(&self, state: &mut State) {
        let window = self.config.sessions.saturating_add(2);
        while state.ready && state.under_way < window {
            let Some(id) = state.waiting.pop_front() else {
                return;
            };
            let now = Instant::now();
            let Some(pending) = state.requests.get_mut(&id) else {
                continue;
            };
            let left = pending.deadline.saturating_duration_since(now);
            let request = Request {
                id,
                deadline: monotonic()
                    .saturating_add(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)),
                fresh: pending.fresh,
                op: pending.op.clone(),
            };
            pending.sent = Some(now);
            state.under_way = state.under_way.saturating_add(1);
            let Some(link) = &mut state.link else { return };
            if write_frame(&mut link.stream, &request).is_err() {
                // Its reader notices, and everything is asked again.
                let _ = link.stream.shutdown(std::net::Shutdown::Both);
                state.ready = false;
            }
        }
    }

    /// The supervisor's thread: it ends when the client is closed.
    fn supervise(self: Arc<Self>) {
        let mut child: Option<Child> = None;
        let mut backoff = Duration::ZERO;
        let mut start_at = Instant::now();
        loop {
            let mut due = Due::new();
            let mut state = self.lock();
            if state.closed {
                self.finish(state, child);
                return;
            }
            if state.dead {
                state.dead = false;
                let was_ready = self.bury(&mut state, &mut due);
                backoff = match was_ready {
                    // It worked: the next one may start soon. A request that kills each one is given to three at most.
                    true => MIN_BACKOFF,
                    false => backoff.saturating_mul(2).clamp(MIN_BACKOFF, MAX_BACKOFF),
                };
                start_at = Instant::now()
                    .checked_add(backoff)
                    .unwrap_or_else(Instant::now);
                drop(state);
                reap(&mut child);
                state = self.lock();
            }
            self.expire(&mut state, &mut due);
            if child.is_none() && state.stopped.is_none() && Instant::now() >= start_at {
                drop(state);
                call(due);
                child = self.start_process();
                if child.is_none() {
                    backoff = backoff
                        .saturating_mul(2)
                        .clamp(Duration::from_millis(100), MAX_BACKOFF);
                    start_at = Instant::now()
                        .checked_add(backoff)
                        .unwrap_or_else(Instant::now);
                }
                continue;
            }
            let hangs = self.hangs(&state);
            if hangs && let Some(process) = &mut child {
                state.metrics.hangs = state.metrics.hangs.saturating_add(1);
                // Its reader notices. Until then it is given nothing, and does not count as hanging again.
                state.ready = false;
                state.heard = Some(Instant::now());
                let _ = process.kill();
            }
            let wake = self.next_event(&state, child.is_none().then_some(start_at));
            if due.is_empty() {
                state.wake_at = Instant::now().checked_add(wake);
                drop(self.wait(state, wake));
            } else {
                drop(state);
                call(due);
            }
        }
    }

    /// When the supervisor has to look again at the latest.
    fn next_event(&self, state: &State, start_at: Option<Instant>) -> Duration {
        let deadlines = state.requests.values().flat_map(|pending| {
            let deadline = pending.callback.is_some().then_some(pending.deadline);
            deadline.into_iter().chain(self.hang_time(pending))
        });
        let starting = (!state.ready)
            .then(|| state.heard?.checked_add(START_PATIENCE))
            .flatten();
        let start_at = start_at.filter(|_| state.stopped.is_none());
        let now = Instant::now();
        deadlines
            .chain(starting)
            .chain(start_at)
            .map(|at| at.saturating_duration_since(now))
            .min()
            .unwrap_or(Duration::from_secs(3600))
            // A moment later, so that what is due is over when it is looked at.
            .saturating_add(Duration::from_micros(200))
    }

    /// By when a request that the process has must be answered.
    fn hang_time(&self, pending: &Pending) -> Option<Instant> {
        let by_call = pending.sent?.checked_add(self.config.hang_after())?;
        let by_deadline = pending.deadline.checked_add(GRACE)?;
        Some(by_call.max(by_deadline))
    }

    fn hangs(&self, state: &State) -> bool {
        let now = Instant::now();
        if !state.ready {
            let silent = state.heard.map(|at| now.saturating_duration_since(at));
            return silent.is_some_and(|silent| silent > START_PATIENCE);
        }
        state
            .requests
            .values()
            .any(|pending| self.hang_time(pending).is_some_and(|at| at < now))
    }

    /// Answers those whose time is over.
    fn expire(&self, state: &mut State, due: &mut Due) {
        let now = Instant::now();
        let mut gone = Vec::new();
        for (id, pending) in &mut state.requests {
            if pending.deadline > now {
                continue;
            }
            if let Some(callback) = pending.callback.take() {
                state.metrics.late = state.metrics.late.saturating_add(1);
                due.push((callback, Err(HsmError::Deadline)));
            }
            // What the process has keeps its place until it is answered, or its call hangs.
            if pending.sent.is_none() {
                gone.push(*id);
            }
        }
        for id in gone {
            state.requests.remove(&id);
            state.waiting.retain(|waiting| *waiting != id);
        }
    }

    /// After a death: asks again what may be asked twice. Says whether the process had been ready.
    fn bury(&self, state: &mut State, due: &mut Due) -> bool {
        let was_ready = state.ready || state.under_way > 0;
        state.ready = false;
        state.link = None;
        state.under_way = 0;
        state.heard = None;
        state.metrics.worker_deaths = state.metrics.worker_deaths.saturating_add(1);
        if state.in_login {
            state.in_login = false;
            state.login_deaths = state.login_deaths.saturating_add(1);
            if !state.pin_accepted || state.login_deaths >= MAX_LOGIN_DEATHS {
                let reason =
                    StopReason::LoginUncertain("the process died during the login".to_owned());
                self.stop(state, reason, due);
            }
        }
        let sent: Vec<u64> = state
            .requests
            .iter()
            .filter(|(_, pending)| pending.sent.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in sent.into_iter().rev() {
            let Some(pending) = state.requests.get_mut(&id) else {
                continue;
            };
            pending.sent = None;
            pending.deaths = pending.deaths.saturating_add(1);
            let outcome = if !pending.op.repeatable() {
                HsmError::Interrupted
            } else if pending.deaths >= MAX_DEATHS {
                HsmError::WorkerDied(pending.deaths)
            } else if pending.callback.is_some() {
                state.waiting.push_front(id);
                continue;
            } else {
                HsmError::Deadline
            };
            if let Some(pending) = state.requests.remove(&id)
                && let Some(callback) = pending.callback
            {
                due.push((callback, Err(outcome)));
            }
        }
        was_ready
    }

    /// Nothing more is asked of the token.
    fn stop(&self, state: &mut State, reason: StopReason, due: &mut Due) {
        state.ready = false;
        state.waiting.clear();
        for (_, pending) in std::mem::take(&mut state.requests) {
            if let Some(callback) = pending.callback {
                due.push((callback, Err(HsmError::Stopped(reason.clone()))));
            }
        }
        state.under_way = 0;
        state.stopped.get_or_insert(reason);
        if let Some(link) = state.link.take() {
            let _ = link.stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Closes: the process sees its parent's end closed, lets its calls end, and goes; else it is killed.
    fn finish(&self, mut state: MutexGuard<'_, State>, child: Option<Child>) {
        let mut due = Due::new();
        if let Some(link) = state.link.take() {
            let _ = link.stream.shutdown(std::net::Shutdown::Both);
        }
        state.ready = false;
        state.waiting.clear();
        for (_, pending) in std::mem::take(&mut state.requests) {
            due.extend(
                pending
                    .callback
                    .map(|callback| (callback, Err(HsmError::Closed))),
            );
        }
        drop(state);
        call(due);
        if let Some(mut child) = child {
            let until = Instant::now().checked_add(Duration::from_secs(4));
            while until.is_some_and(|until| Instant::now() < until) {
                if !matches!(child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts a process and a thread that reads from it.
    fn start_process(self: &Arc<Self>) -> Option<Child> {
        let started = self.launch();
        let mut state = self.lock();
        match started {
            Ok((child, mut stream)) => {
                state.metrics.worker_starts = state.metrics.worker_starts.saturating_add(1);
                state.epoch = state.epoch.wrapping_add(1);
                state.heard = Some(Instant::now());
                let epoch = state.epoch;
                let hello = self.hello(state.pin_accepted);
                let reading = stream.try_clone();
                let written = write_frame(&mut stream, &hello).is_ok();
                state.link = Some(Link { stream });
                let (Ok(reading), true) = (reading, written) else {
                    state.dead = true;
                    return Some(child);
                };
                drop(state);
                let shared = Arc::clone(self);
                let spawned = std::thread::Builder::new()
                    .name("hsm-reader".to_owned())
                    .spawn(move || shared.read(reading, epoch));
                if spawned.is_err() {
                    self.lock().dead = true;
                }
                Some(child)
            }
            Err(reason) => {
                state.metrics.trouble(&format!("start {reason}"));
                state.last = Some(Trouble {
                    code: reason,
                    function: self.program.display().to_string(),
                });
                self.changed.notify_all();
                None
            }
        }
    }

    fn launch(&self) -> Result<(Child, UnixStream), String> {
        spawn(&self.program, &self.config).map_err(|e| e.to_string())
    }

    fn hello(&self, pin_accepted: bool) -> Hello {
        let pin = match &self.pin {
            Pin::File(path) => PinForWorker::File(path.clone()),
            Pin::Typed(text) => PinForWorker::Given(SecretBytes(zeroize::Zeroizing::new(
                text.as_bytes().to_vec(),
            ))),
        };
        Hello {
            version: VERSION.to_owned(),
            module: self.config.module.display().to_string(),
            purpose: Purpose::Serve(Serve {
                token: self.config.token.clone(),
                pin,
                sessions: self.config.sessions,
                count_low: self.config.pin_count_low,
                quirks: self.config.quirks(),
                pin_accepted,
            }),
        }
    }

    /// A reader's thread: it ends with its process.
    fn read(&self, mut stream: UnixStream, epoch: u64) {
        while let Ok(frame) = read_frame::<FromWorker>(&mut stream) {
            let mut due = Due::new();
            {
                let mut state = self.lock();
                if state.epoch != epoch {
                    return;
                }
                self.heard(&mut state, frame, &mut due);
            }
            call(due);
        }
        let _ = stream.shutdown(std::net::Shutdown::Both);
        let mut state = self.lock();
        if state.epoch == epoch {
            state.dead = true;
            self.changed.notify_all();
        }
    }

    fn heard(&self, state: &mut State, frame: FromWorker, due: &mut Due) {
        match frame {
            FromWorker::LoginBegins => {
                state.in_login = true;
                state.metrics.logins = state.metrics.logins.saturating_add(1);
            }
            FromWorker::LoginEnded { accepted } => {
                state.in_login = false;
                if accepted {
                    state.login_deaths = 0;
                    state.pin_accepted = true;
                }
            }
            FromWorker::Problem(trouble) => {
                state.heard = Some(Instant::now());
                state
                    .metrics
                    .trouble(&format!("{} {}", trouble.function, trouble.code));
                tracing::warn!(%trouble, "the token is not ready");
                state.last = Some(trouble);
            }
            FromWorker::Ready(token) => {
                tracing::info!(label = %token.label, serial = %token.serial, "the token is ready");
                if token.pin_count_low {
                    tracing::warn!("wrong PINs were entered at the token since the last login");
                }
                state.metrics.token = Some(token);
                state.ready = true;
                self.dispatch(state);
                self.changed.notify_all();
            }
            FromWorker::Stopped(reason) => {
                tracing::error!(%reason, "nothing more is asked of the token");
                self.stop(state, reason, due);
                self.changed.notify_all();
            }
            FromWorker::Answer(answer) => self.answered(state, answer, due),
            FromWorker::Inspected(_) | FromWorker::Provisioned { .. } | FromWorker::Refused(_) => {}
        }
    }

    fn answered(&self, state: &mut State, answer: Answer, due: &mut Due) {
        state.metrics.answered(&answer);
        let Some(pending) = state.requests.get(&answer.id) else {
            return;
        };
        // An answer to what was not asked is no answer.
        if pending.sent.is_none() {
            return;
        }
        state.under_way = state.under_way.saturating_sub(1);
        if let Some(pending) = state.requests.remove(&answer.id)
            && let Some(callback) = pending.callback
        {
            let inside = Duration::from_micros(answer.micros);
            let outcome = answer.result.map(|reply| (reply, inside));
            due.push((callback, outcome.map_err(HsmError::Failed)));
        }
        self.dispatch(state);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, left: Duration) -> MutexGuard<'a, State> {
        self.changed
            .wait_timeout(state, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

fn call(due: Due) {
    for (callback, outcome) in due {
        callback(outcome);
    }
}

/// A process whose reader has ended is dead, or of no more use.
fn reap(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Starts the program with a socket as its standard input, and no environment but what it needs.
pub(super) fn spawn(
    program: &std::path::Path,
    config: &HsmConfig,
) -> std::io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    // A process that does not read any more must not hold up everybody.
    ours.set_write_timeout(Some(Duration::from_secs(2)))?;
    let mut command = Command::new(program);
    command.env_clear();
    for name in ["PATH", "HOME", "LANG", "TZ"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    let child = command
        .envs(&config.environment)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        // A terminal's interrupt is for the parent, which ends its calls in order; this process goes when the parent does.
        .process_group(0)
        .spawn()?;
    Ok((child, ours))
}
