//! What was changed, so that it can be put back: a file that lives as long as the machine is up.

use serde::{Deserialize, Serialize};

use super::kernel::Kernel;

/// Where it is.
/// Not in the directory of the daemon, which goes away with it.
const FILE: &str = "/run/skiff-bind.json";

/// Everything that was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// NICs taken from the kernel.
    pub nics: Vec<Taken>,
    /// Whether VFIO was allowed to work without an IOMMU.
    #[serde(default)]
    pub no_iommu: bool,
}

/// A NIC taken from the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Taken {
    /// Its address.
    pub address: String,
    /// The driver it had; `None` if it had none.
    pub driver: Option<String>,
    /// The interface it was.
    pub netdev: Option<String>,
}

impl State {
    /// What the file says; nothing if there is none.
    ///
    /// # Errors
    /// If it cannot be read or makes no sense.
    pub(super) fn load(kernel: &dyn Kernel) -> Result<State, String> {
        if !kernel.exists(FILE) {
            return Ok(State::default());
        }
        let text = kernel.read(FILE).map_err(|error| format!("{FILE}: {error}"))?;
        serde_json::from_str(&text).map_err(|error| format!("{FILE}: {error}"))
    }

    /// Writes the file, or removes it if there is nothing to say.
    ///
    /// # Errors
    /// If it cannot.
    pub(super) fn store(&self, kernel: &dyn Kernel) -> Result<(), String> {
        let done = if *self != State::default() {
            kernel.store(FILE, &format!("{}\n", serde_json::json!(self)))
        } else if kernel.exists(FILE) {
            kernel.remove(FILE)
        } else {
            Ok(())
        };
        done.map_err(|error| format!("{FILE}: {error}"))
    }

    /// The record of a NIC.
    pub(super) fn taken(&self, address: &str) -> Option<&Taken> {
        self.nics.iter().find(|nic| nic.address == address)
    }
}
