//! What the environment says. Without the flag there is no simulator: nobody gets one by a wrong path.

use crate::plan::Plan;
use std::env;
use std::path::PathBuf;

/// Must be [`FLAG_VALUE`].
pub const FLAG: &str = "COUNTERSIGN_HSM_SIM";
/// What [`FLAG`] must be.
pub const FLAG_VALUE: &str = "i-know-this-is-a-simulator";
/// The plan file; without one, nothing is changed but the token's information.
pub const PLAN: &str = "COUNTERSIGN_HSM_SIM_PLAN";
/// The real module; goes before the plan's.
pub const MODULE: &str = "COUNTERSIGN_HSM_SIM_MODULE";
/// The folder of the control sockets; goes before the plan's.
pub const CONTROL: &str = "COUNTERSIGN_HSM_SIM_CONTROL";
/// The trace file; goes before the plan's.
pub const TRACE: &str = "COUNTERSIGN_HSM_SIM_TRACE";
/// The file of what is remembered across processes; goes before the plan's.
pub const MEMORY: &str = "COUNTERSIGN_HSM_SIM_MEMORY";

pub(crate) struct Settings {
    pub(crate) plan: Plan,
    pub(crate) module: PathBuf,
    pub(crate) control: Option<PathBuf>,
    pub(crate) trace: Option<PathBuf>,
    pub(crate) memory: Option<PathBuf>,
}

impl Settings {
    pub(crate) fn from_environment() -> Result<Self, String> {
        if env::var_os(FLAG).is_none_or(|value| value != FLAG_VALUE) {
            return Err(format!(
                "this is a simulator, not an HSM; to use it all the same, set {FLAG}={FLAG_VALUE}"
            ));
        }
        let path = |name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let plan = path(PLAN).map_or(Ok(Plan::transparent()), |file| Plan::read(&file))?;
        let or_plans =
            |name, planned: Option<&std::path::Path>| path(name).or(planned.map(Into::into));
        Ok(Self {
            module: or_plans(MODULE, plan.module()).ok_or_else(|| {
                format!("no real module: set {MODULE}, or \"module\" in the plan")
            })?,
            control: or_plans(CONTROL, plan.control()),
            trace: or_plans(TRACE, plan.trace()),
            memory: or_plans(MEMORY, plan.memory()),
            plan,
        })
    }
}
