//! What a process that holds secrets forbids itself before it reads the first one (I1).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Why this process cannot be kept out of core dumps. It must not go on.
#[derive(Debug, thiserror::Error)]
pub enum CoreDumpError {
    /// The system refuses.
    #[error(
        "cannot forbid core dumps ({what}): {reason}; secrets are not read by a process that could be dumped"
    )]
    Refused {
        /// The call.
        what: &'static str,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The system agreed and did otherwise.
    #[error(
        "core dumps are still allowed ({0}) after they were forbidden; secrets are not read by a process that could be dumped"
    )]
    StillAllowed(&'static str),
}

/// Forbids core dumps of this process for good. To be called first of all in every program that holds secrets: signer,
/// coordinator, command line. Fails closed: the caller ends the process on an error.
///
/// Two bolts, because each leaves a gap: a core pattern that is a pipe (systemd-coredump, apport) ignores a limit of zero, and
/// `PR_SET_DUMPABLE` exists on Linux only. Without the dumpable flag other processes of the same user can neither attach to
/// this one nor read its memory.
///
/// # Errors
/// [`CoreDumpError`] when the system refuses either, or does not do what it was told.
pub fn forbid_core_dumps() -> Result<(), CoreDumpError> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    refused("RLIMIT_CORE", setrlimit(Resource::Core, none))?;
    if getrlimit(Resource::Core) != none {
        return Err(CoreDumpError::StillAllowed("RLIMIT_CORE"));
    }
    not_dumpable()
}

#[cfg(target_os = "linux")]
fn not_dumpable() -> Result<(), CoreDumpError> {
    use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};
    let what = "PR_SET_DUMPABLE";
    refused(what, set_dumpable_behavior(DumpableBehavior::NotDumpable))?;
    match refused(what, dumpable_behavior())? {
        DumpableBehavior::NotDumpable => Ok(()),
        _ => Err(CoreDumpError::StillAllowed(what)),
    }
}

#[cfg(not(target_os = "linux"))]
fn not_dumpable() -> Result<(), CoreDumpError> {
    Ok(())
}

fn refused<T>(what: &'static str, result: rustix::io::Result<T>) -> Result<T, CoreDumpError> {
    result.map_err(|errno| CoreDumpError::Refused {
        what,
        reason: errno.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_forbade_core_dumps_can_do_it_again_and_stays_undumpable() {
        for _ in 0..2 {
            forbid_core_dumps().unwrap();
            let limit = getrlimit(Resource::Core);
            assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
            #[cfg(target_os = "linux")]
            assert_eq!(
                rustix::process::dumpable_behavior().unwrap(),
                rustix::process::DumpableBehavior::NotDumpable
            );
        }
    }
}
