//! `countersign-hsm-worker`: the process that loads a vendor's PKCS#11 module, and holds nothing else.
//!
//! It is started by a node or by the `countersign` command, never by hand: it speaks frames over its standard input.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything is read, and before there are other threads.
    let ready = countersign_hsm::process::forbid_core_dumps().map_err(|e| e.to_string());
    match ready.and_then(|()| countersign_hsm::worker::run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("countersign-hsm-worker: {error}");
            ExitCode::FAILURE
        }
    }
}
