//! Where tests find the modules.

use std::path::{Path, PathBuf};

/// The simulator's module, beside the test or program that asks: cargo builds it there when `countersign-hsm-sim` is among the
/// dependencies or is the package itself. None when it was not built.
pub fn module_path() -> Option<PathBuf> {
    beside("libcountersign_hsm_sim.so")
}

/// The same with `C_GetInterface`, for tests with `countersign-hsm-sim-luna` among their dependencies.
pub fn luna_module_path() -> Option<PathBuf> {
    beside("libcountersign_hsm_sim_luna.so")
}

fn beside(name: &str) -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    // Tests are in target/debug/deps, programs in target/debug. What cargo has built last is in deps.
    let folder = program.parent()?;
    let above = folder.parent().unwrap_or(folder);
    [
        folder.join("deps"),
        folder.to_owned(),
        above.join("deps"),
        above.to_owned(),
    ]
    .into_iter()
    .map(|folder| folder.join(name))
    .find(|path| path.is_file())
}

/// SoftHSM's module: what `SOFTHSM2_MODULE` names, or where distributions install it.
pub fn find_softhsm() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("SOFTHSM2_MODULE") {
        return Some(PathBuf::from(named)).filter(|path| path.is_file());
    }
    let folders = [
        "softhsm",
        "x86_64-linux-gnu/softhsm",
        "aarch64-linux-gnu/softhsm",
        "pkcs11",
    ];
    folders
        .iter()
        .flat_map(|folder| {
            ["/usr/lib", "/usr/local/lib", "/usr/lib64"].map(|root| Path::new(root).join(folder))
        })
        .map(|folder| folder.join("libsofthsm2.so"))
        .find(|path| path.is_file())
}
