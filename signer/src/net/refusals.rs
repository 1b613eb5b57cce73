//! What the transport turned away before anybody else saw it, told to whoever keeps the records.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use countersign_policy::MemberId;

use crate::wire::{Problem, ProblemCode};

/// One refusal.
#[derive(Debug)]
pub struct Refused {
    /// Who, if a certificate proved it.
    pub caller: Option<MemberId>,
    /// What was attempted: `connection`, `request` or `frames`.
    pub operation: &'static str,
    /// The caller, or the address it called from.
    pub subject: String,
    /// Why.
    pub problem: Problem,
}

/// Where to tell. The default tells nobody. Telling never waits: what does not fit is counted, and the count is told with the
/// next refusal that fits.
#[derive(Debug, Clone, Default)]
pub struct Refusals(Option<Arc<Outlet>>);

#[derive(Debug)]
struct Outlet {
    queue: mpsc::Sender<(Refused, u64)>,
    lost: AtomicU64,
}

/// Refusals that wait to be recorded.
const QUEUE: usize = 256;

impl Refusals {
    /// Where to tell, and where to hear: each refusal comes with the number of those lost before it.
    pub fn channel() -> (Self, mpsc::Receiver<(Refused, u64)>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let lost = AtomicU64::new(0);
        (Self(Some(Arc::new(Outlet { queue, lost }))), receiver)
    }

    pub(super) fn tell(
        &self,
        caller: Option<&MemberId>,
        (operation, subject): (&'static str, &dyn std::fmt::Display),
        code: ProblemCode,
        detail: impl Into<String>,
    ) {
        let Some(outlet) = &self.0 else {
            return;
        };
        let Ok(place) = outlet.queue.try_reserve() else {
            outlet.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let refused = Refused {
            caller: caller.cloned(),
            operation,
            subject: subject.to_string(),
            problem: code.problem(detail),
        };
        place.send((refused, outlet.lost.swap(0, Ordering::Relaxed)));
    }
}

/// An error with all its causes, for the record. rustls shows why a certificate was refused in `Debug` form only: that reason is
/// taken out of it.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    use rustls::{CertificateError, Error};
    let inner = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref)
        .and_then(|inner| inner.downcast_ref::<Error>());
    if let Some(Error::InvalidCertificate(CertificateError::Other(reason))) = inner {
        return format!(
            "the caller's certificate is refused: {}",
            chain(reason.0.as_ref())
        );
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
