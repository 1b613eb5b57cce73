//! Dedicated threads for protocol code, in two lanes.
//!
//! Signing has threads of its own, so that making primes or filling presignature pools never keeps a signature waiting.
//! Protocol code blocks on its link, hence threads and not an async runtime; a panic ends its job, never the process.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use thiserror::Error;

use super::fault::{Fault, FaultReason};

/// Which threads run a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Signing and whatever a person waits for.
    Signing,
    /// Prime generation, auxiliary data, filling pools.
    Background,
}

/// Size of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneLimits {
    /// Threads. A job holds one while it waits for its peers, so this bounds concurrent executions; at least 1.
    pub threads: usize,
    /// Jobs that may wait for a thread.
    pub queue: usize,
}

/// Why a job was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// Too many jobs wait already.
    #[error("too many jobs wait in the {0:?} lane")]
    Full(Lane),
    /// The pool is shutting down.
    #[error("the workers are shutting down")]
    ShuttingDown,
}

/// Why a job has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JobError {
    /// It panicked.
    #[error("the job panicked")]
    Panicked,
    /// The pool was shut down before it ran.
    #[error("the job was dropped")]
    Dropped,
    /// It did not finish in the time given to wait.
    #[error("the job did not finish in time")]
    Pending,
}

impl From<JobError> for Fault {
    fn from(error: JobError) -> Self {
        Self::blameless(match error {
            JobError::Panicked => FaultReason::Panicked,
            JobError::Dropped | JobError::Pending => FaultReason::Cancelled,
        })
    }
}

/// On Linux each thread has a priority of its own: a signature never waits for a prime.
const BACKGROUND_NICENESS: i32 = 5;

type Job = Box<dyn FnOnce() + Send>;

/// The pool. Dropping it lets running jobs finish and drops waiting ones.
pub struct Workers {
    signing: Arc<Queue>,
    background: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts the threads, named `sign-N` and `background-N`.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn start(signing: LaneLimits, background: LaneLimits) -> std::io::Result<Self> {
        let mut workers = Self {
            signing: Arc::new(Queue::new(signing.queue)),
            background: Arc::new(Queue::new(background.queue)),
            threads: Vec::new(),
        };
        for number in 0..signing.threads.max(1) {
            workers.spawn(format!("sign-{number}"), Lane::Signing)?;
        }
        for number in 0..background.threads.max(1) {
            workers.spawn(format!("background-{number}"), Lane::Background)?;
        }
        Ok(workers)
    }

    fn spawn(&mut self, name: String, lane: Lane) -> std::io::Result<()> {
        let queue = Arc::clone(self.queue(lane));
        let thread = thread::Builder::new().name(name).spawn(move || {
            if lane == Lane::Background
                && let Err(error) = rustix::process::nice(BACKGROUND_NICENESS)
            {
                tracing::warn!(%error, "background work runs at full priority");
            }
            while let Some(job) = queue.next() {
                // Each job reports its own panic; this keeps the thread alive whatever happens.
                let _ = catch_unwind(AssertUnwindSafe(job));
            }
        })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Runs a job and hands its result to `deliver` on the same thread: what an async caller wants (a oneshot sender).
    ///
    /// # Errors
    /// [`SubmitError`]; `deliver` is not called then.
    pub fn submit_then<T: 'static>(
        &self,
        lane: Lane,
        job: impl FnOnce() -> T + Send + 'static,
        deliver: impl FnOnce(Result<T, JobError>) + Send + 'static,
    ) -> Result<(), SubmitError> {
        let work = move || {
            let result = catch_unwind(AssertUnwindSafe(job)).map_err(|_| JobError::Panicked);
            deliver(result);
        };
        self.queue(lane).push(lane, Box::new(work))
    }

    /// Runs a job; the ticket waits for its result.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub fn submit<T: Send + 'static>(
        &self,
        lane: Lane,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Ticket<T>, SubmitError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.submit_then(lane, job, move |result| {
            // Nobody waits any more: the result goes with the ticket.
            let _ = sender.send(result);
        })?;
        Ok(Ticket(receiver))
    }

    /// Jobs that wait for a thread.
    pub fn waiting(&self, lane: Lane) -> usize {
        self.queue(lane).lock().jobs.len()
    }

    fn queue(&self, lane: Lane) -> &Arc<Queue> {
        match lane {
            Lane::Signing => &self.signing,
            Lane::Background => &self.background,
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.signing.close();
        self.background.close();
        for thread in self.threads.drain(..) {
            // A job may own the last handle to its own pool: a thread cannot wait for itself.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("threads", &self.threads.len())
            .field("waiting_signing", &self.waiting(Lane::Signing))
            .field("waiting_background", &self.waiting(Lane::Background))
            .finish()
    }
}

/// A job's result, once it is there.
#[derive(Debug)]
pub struct Ticket<T>(mpsc::Receiver<Result<T, JobError>>);

impl<T> Ticket<T> {
    /// Waits for the result.
    ///
    /// # Errors
    /// [`JobError`].
    pub fn wait(self) -> Result<T, JobError> {
        self.0.recv().unwrap_or(Err(JobError::Dropped))
    }

    /// Waits for the result, but not for ever.
    ///
    /// # Errors
    /// [`JobError::Pending`] when the time is over first.
    pub fn wait_for(&self, time: Duration) -> Result<T, JobError> {
        match self.0.recv_timeout(time) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(JobError::Pending),
            Err(RecvTimeoutError::Disconnected) => Err(JobError::Dropped),
        }
    }
}

struct Queue {
    limit: usize,
    state: Mutex<QueueState>,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Job>,
    /// Threads that wait for a job and were not woken since. The last to wait is the first to be woken: its stack, its heap
    /// and the processor's caches still hold what the next job needs. A condition variable would take them in turn, and each
    /// of many threads would begin cold.
    waiting: Vec<Thread>,
    /// Threads without a job, woken or not.
    idle: usize,
    closed: bool,
}

impl Queue {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            state: Mutex::default(),
        }
    }

    fn push(&self, lane: Lane, job: Job) -> Result<(), SubmitError> {
        let mut state = self.lock();
        if state.closed {
            return Err(SubmitError::ShuttingDown);
        }
        // A job that an idle thread is about to take does not wait.
        if state.jobs.len() >= self.limit.saturating_add(state.idle) {
            return Err(SubmitError::Full(lane));
        }
        state.jobs.push_back(job);
        let woken = state.waiting.pop();
        drop(state);
        if let Some(thread) = woken {
            thread.unpark();
        }
        Ok(())
    }

    fn next(&self) -> Option<Job> {
        let me = thread::current();
        let mut state = self.lock();
        state.idle = state.idle.saturating_add(1);
        let found = loop {
            if state.closed {
                break None;
            }
            if let Some(job) = state.jobs.pop_front() {
                break Some(job);
            }
            // A thread may wake without having been woken: then it still waits.
            if state.waiting.iter().all(|waiting| waiting.id() != me.id()) {
                state.waiting.push(me.clone());
            }
            drop(state);
            thread::park();
            state = self.lock();
        };
        state.idle = state.idle.saturating_sub(1);
        // It may have found the job before it was woken for one.
        state.waiting.retain(|waiting| waiting.id() != me.id());
        found
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        // Dropped outside the lock: a job's captures may submit or wait in their destructors.
        let dropped = std::mem::take(&mut state.jobs);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(dropped);
        for thread in waiting {
            thread.unpark();
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers() -> Workers {
        let one = LaneLimits {
            threads: 1,
            queue: 1,
        };
        Workers::start(one, one).unwrap()
    }

    #[test]
    fn background_work_never_keeps_signing_waiting() {
        let workers = workers();
        let (release, blocked) = mpsc::channel::<()>();
        let busy = workers
            .submit(Lane::Background, move || blocked.recv())
            .unwrap();
        let signed = workers.submit(Lane::Signing, || 7).unwrap();
        assert_eq!(signed.wait(), Ok(7));
        assert!(matches!(
            busy.wait_for(Duration::ZERO),
            Err(JobError::Pending)
        ));
        release.send(()).unwrap();
        assert!(busy.wait().unwrap().is_ok());
    }

    #[test]
    fn a_panic_ends_its_job_and_nothing_else() {
        let workers = workers();
        let broken = workers
            .submit(Lane::Signing, || -> u8 { panic!("protocol") })
            .unwrap();
        assert_eq!(broken.wait(), Err(JobError::Panicked));
        assert_eq!(workers.submit(Lane::Signing, || 1).unwrap().wait(), Ok(1));
    }

    #[test]
    fn a_full_lane_refuses_instead_of_growing() {
        let workers = workers();
        let (started, has_started) = mpsc::channel();
        let (release, blocked) = mpsc::channel::<()>();
        let _busy = workers
            .submit(Lane::Signing, move || {
                started.send(()).unwrap();
                let _ = blocked.recv();
            })
            .unwrap();
        has_started.recv().unwrap();
        let waiting = workers.submit(Lane::Signing, || 2).unwrap();
        assert_eq!(
            workers.submit(Lane::Signing, || 3).unwrap_err(),
            SubmitError::Full(Lane::Signing)
        );
        release.send(()).unwrap();
        assert_eq!(waiting.wait(), Ok(2));
    }

    #[test]
    fn jobs_one_after_another_run_on_one_thread() {
        let four = LaneLimits {
            threads: 4,
            queue: 4,
        };
        let workers = Workers::start(four, four).unwrap();
        let all_wait = || workers.signing.lock().waiting.len() == 4;
        let mut names = Vec::new();
        for _ in 0..20 {
            while !all_wait() {
                thread::yield_now();
            }
            let job = || thread::current().name().unwrap().to_owned();
            names.push(workers.submit(Lane::Signing, job).unwrap().wait().unwrap());
        }
        names.dedup();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn no_job_of_many_threads_is_forgotten() {
        let (signing, background) = (
            LaneLimits {
                threads: 4,
                queue: 10_000,
            },
            LaneLimits {
                threads: 1,
                queue: 1,
            },
        );
        let workers = Workers::start(signing, background).unwrap();
        for _ in 0..200 {
            let jobs = (0..10_u64).map(|i| workers.submit(Lane::Signing, move || i).unwrap());
            let tickets: Vec<_> = jobs.collect();
            let sum: u64 = tickets
                .iter()
                .map(|t| t.wait_for(Duration::from_secs(20)).unwrap())
                .sum();
            assert_eq!(sum, 45);
        }
    }

    #[test]
    fn shutting_down_drops_what_waits() {
        let workers = workers();
        let (started, has_started) = mpsc::channel();
        let (release, blocked) = mpsc::channel::<()>();
        let busy = workers
            .submit(Lane::Signing, move || {
                started.send(()).unwrap();
                let _ = blocked.recv();
            })
            .unwrap();
        has_started.recv().unwrap();
        let waiting = workers.submit(Lane::Signing, || 2).unwrap();
        let closing = thread::spawn(move || drop(workers));
        assert_eq!(waiting.wait(), Err(JobError::Dropped));
        release.send(()).unwrap();
        assert_eq!(busy.wait(), Ok(()));
        closing.join().unwrap();
    }
}
