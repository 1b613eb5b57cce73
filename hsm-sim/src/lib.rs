//! A PKCS#11 module in front of a real one. It forwards every function of version 2.40, and by a [plan](Plan) injects what HSMs do
//! to their users: errors before and after a call took effect, latency, hangs, lost sessions, a token that is taken out, a locked PIN,
//! corrupted signatures, wrong sizes, and the quirks of named vendors. `docs/hsm-sim.md` is the manual.
//!
//! It is for tests. It starts only when the environment says that a simulator is meant ([`FLAG`]), and calls itself SIMULATOR in the
//! token's information.
//!
//! ```
//! use countersign_hsm_sim::{Action, Plan};
//!
//! let plan = Plan::parse(r#"
//!     version = 1
//!     seed = 7
//!     profile = "yubihsm2"
//!
//!     [[fault]]
//!     function = "C_Sign"
//!     calls = "data"
//!     nth = [3]
//!     do = "error"
//!     code = "CKR_DEVICE_ERROR"
//!     when = "after"
//! "#).unwrap();
//! assert!(matches!(plan.faults()[0].action, Action::Error { .. }));
//! assert_eq!(plan.device().max_sessions, Some(16));
//! ```

#![deny(clippy::undocumented_unsafe_blocks, unsafe_op_in_unsafe_fn)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

mod active;
mod call;
mod codes;
mod control;
mod device;
mod entry;
mod export;
mod hangs;
mod hooks;
mod locate;
pub mod matrix;
mod memory;
mod plan;
mod real;
mod settings;
mod signature;
mod sim;
mod trace;

pub use call::FunctionName;
pub use codes::Code;
pub use control::{ControlError, command, command_all, sockets};
pub use entry::give_function_list;
pub use locate::{find_softhsm, luna_module_path, module_path};
pub use plan::{
    Action, Calls, Device, Fault, GcmIv, MAX_BYTES, MAX_DELAY, MAX_FAULTS, Plan, PlanError,
    Problem, Profile, Selection, VERSION, When,
};
pub use settings::{CONTROL, FLAG, FLAG_VALUE, MEMORY, MODULE, PLAN, TRACE};
