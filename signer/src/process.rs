//! What a process that holds secrets forbids itself before it reads the first one (I1), and the allocator of all programs.

pub use countersign_hsm::process::{CoreDumpError, forbid_core_dumps};

/// The allocator of every program that links this crate. A signature allocates some thousand small pieces (statements, JSON,
/// HTTP), and the system's allocator took a tenth of its CPU.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
