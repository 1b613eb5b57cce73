//! The inside of `countersign-hsm-worker`.
//!
//! Each session thread reads a request, answers it, and reads the next: no thread between. The first thread only waits for
//! the parent to go. Nobody ends the process while a call is inside the module: modules crash in their exit handlers then.

mod actions;
mod gate;
mod inspect;
mod keys;
mod outlet;
mod seal;
mod seat;
mod token;

pub(crate) use seat::monotonic;

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cryptoki::context::Pkcs11;
use rustix::event::{PollFd, PollFlags, poll};

use crate::error::{StopReason, Trouble};
use crate::protocol::{FromWorker, Hello, Purpose, Serve, VERSION, read_frame};
use outlet::Outlet;
use seat::Seat;
use token::{Token, Wrong};

/// Runs until the parent goes.
///
/// # Errors
/// What is wrong, for standard error; the parent was told before, if it could be.
pub fn run() -> Result<(), String> {
    let mut parent = channel()?;
    let hello: Hello =
        read_frame(&mut parent).map_err(|e| format!("is started by other programs only ({e})"))?;
    let outlet = Arc::new(Outlet::new(parent.try_clone().map_err(|e| e.to_string())?));
    if hello.version != VERSION {
        outlet.say(&FromWorker::Stopped(StopReason::Version(
            VERSION.to_owned(),
        )));
        return Ok(());
    }
    let module = match Pkcs11::new(&hello.module) {
        Ok(module) => module,
        Err(error) => {
            let reason = StopReason::Module(explain(&hello.module, &error));
            outlet.say(&FromWorker::Stopped(reason));
            return Ok(());
        }
    };
    match hello.purpose {
        Purpose::Inspect => inspect::inspect(&module, &outlet),
        Purpose::Provision(wanted) => inspect::provision(&module, &outlet, &wanted),
        Purpose::Serve(settings) => serve(module, settings, parent, outlet)?,
    }
    Ok(())
}

/// The socket that the parent gave as standard input. A module that reads or writes the standard streams does not reach it.
fn channel() -> Result<UnixStream, String> {
    let socket: OwnedFd = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|e| e.to_string())?;
    let null = std::fs::File::open("/dev/null").map_err(|e| e.to_string())?;
    rustix::stdio::dup2_stdin(&null).map_err(|e| e.to_string())?;
    Ok(UnixStream::from(socket))
}

fn explain(module: &str, error: &cryptoki::error::Error) -> String {
    use cryptoki::context::Function;
    let hint = match error {
        cryptoki::error::Error::Pkcs11(_, Function::GetInterface) => {
            "; its C_GetInterface fails (Luna clients with old firmware do that): see docs/hsm.md"
        }
        _ => "",
    };
    format!("{module}: {error}{hint}")
}

fn serve(
    module: Pkcs11,
    settings: Serve,
    parent: UnixStream,
    outlet: Arc<Outlet>,
) -> Result<(), String> {
    let sessions = settings.sessions;
    let token = Arc::new(Token::new(module, settings, Arc::clone(&outlet)));
    let requests = Arc::new(Mutex::new(parent.try_clone().map_err(|e| e.to_string())?));
    let starting = Arc::clone(&token);
    let first = std::thread::Builder::new()
        .name("hsm-start".into())
        .spawn(move || {
            if !begin(&starting) {
                return;
            }
            for number in 0..sessions {
                let (token, requests) = (Arc::clone(&starting), Arc::clone(&requests));
                let name = format!("hsm-{number}");
                let started = std::thread::Builder::new()
                    .name(name)
                    .spawn(move || Seat::new(token).serve(&requests));
                if started.is_err() && number == 0 {
                    end_now();
                }
            }
        });
    first.map_err(|e| e.to_string())?;
    wait_for_hangup(&parent);
    token.leave(Duration::from_secs(2));
    end_now();
    Ok(())
}

/// Initializes and logs in; says whether the token can be used. What may pass is tried again until the parent loses patience.
fn begin(token: &Token) -> bool {
    let mut pause = Duration::from_millis(20);
    loop {
        match token.start() {
            Ok(description) => {
                token.outlet().say(&FromWorker::Ready(description));
                return true;
            }
            Err(Wrong::Stop(reason)) => {
                token.outlet().say(&FromWorker::Stopped(reason));
                return false;
            }
            Err(wrong) => {
                token.outlet().say(&FromWorker::Problem(wrong.trouble()));
                std::thread::sleep(pause);
                pause = pause.saturating_mul(2).min(Duration::from_secs(1));
                token.reinitialise(token.generation());
            }
        }
    }
}

/// Returns when the parent has closed its end, or died.
fn wait_for_hangup(parent: &UnixStream) {
    loop {
        // Hang-ups are told without being asked for.
        let mut wanted = [PollFd::new(parent, PollFlags::empty())];
        match poll(&mut wanted, None) {
            Err(rustix::io::Errno::INTR) => {}
            _ => return,
        }
    }
}

/// A thread that cannot read any more: the parent is gone, or what it says makes no sense. The first thread ends the process
/// when the parent has closed its end; here nothing may be done but wait for that, or end what is of no more use.
pub(super) fn end_after_hangup() {
    std::thread::sleep(Duration::from_secs(5));
    end_now();
}

/// Ends this process at once, without exit handlers: other threads may be inside the module.
pub(super) fn end_now() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

/// The name of a PKCS#11 error and function.
pub(super) fn trouble(code: impl std::fmt::Debug, function: impl std::fmt::Debug) -> Trouble {
    Trouble {
        code: format!("{code:?}"),
        function: format!("C_{function:?}"),
    }
}
