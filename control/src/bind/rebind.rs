//! Hands a NIC to programs and gives it back. Whatever fails, the NIC ends up with a driver if it had one.

use std::io;

use clap::ValueEnum;

use super::kernel::Kernel;
use super::nic::{DEVICES, Nic, driver_of, is_isolated};

/// Drivers that hand a NIC to programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Driver {
    /// The best that works here: vfio-pci, else uio_pci_generic
    Auto,
    /// Isolated by an IOMMU where there is one
    #[value(name = "vfio-pci")]
    VfioPci,
    /// No isolation: who drives the NIC can reach all memory
    #[value(name = "uio_pci_generic")]
    UioPciGeneric,
}

impl Driver {
    /// Its name; `None` for the best there is.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Driver::Auto => None,
            Driver::VfioPci => Some(VFIO),
            Driver::UioPciGeneric => Some(UIO),
        }
    }
}

const VFIO: &str = "vfio-pci";
const UIO: &str = "uio_pci_generic";
const DRIVERS: &str = "/sys/bus/pci/drivers";
const PROBE: &str = "/sys/bus/pci/drivers_probe";
const GROUPS: &str = "/sys/kernel/iommu_groups";
const NO_IOMMU_MODE: &str = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
/// Class of bridges; the driver of a PCI Express port does no DMA of its own.
const BRIDGE: &str = "0x06";

/// How a NIC was bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    /// The driver it has now.
    pub driver: &'static str,
    /// Whether VFIO had to be allowed to work without an IOMMU for that.
    pub allowed_no_iommu: bool,
    /// Why it is none of the better ones.
    pub passed_over: Vec<String>,
}

/// Binds `nic` to `wanted`, or to the best driver that takes it.
///
/// # Errors
/// Why none did. The NIC has the driver it had, unless the error says otherwise.
pub(super) fn bind(kernel: &dyn Kernel, nic: &Nic, wanted: Driver) -> Result<Bound, String> {
    let order: &[&'static str] = match wanted {
        Driver::Auto => &[VFIO, UIO],
        Driver::VfioPci => &[VFIO],
        Driver::UioPciGeneric => &[UIO],
    };
    let mut passed_over = Vec::new();
    for driver in order {
        let tried = make_ready(kernel, nic, driver).and_then(|allowed_no_iommu| {
            rebind(kernel, &nic.address, driver).map(|()| allowed_no_iommu).inspect_err(|_| {
                if allowed_no_iommu {
                    let _ = forbid_no_iommu(kernel);
                }
            })
        });
        match tried {
            Ok(allowed_no_iommu) => return Ok(Bound { driver, allowed_no_iommu, passed_over }),
            Err(why) => passed_over.push(format!("{driver}: {why}")),
        }
    }
    Err(passed_over.join("; "))
}

/// Loads a driver and sees whether it can work with this NIC. True if VFIO was newly allowed to do without an IOMMU.
fn make_ready(kernel: &dyn Kernel, nic: &Nic, driver: &str) -> Result<bool, String> {
    if !kernel.exists(&format!("{DRIVERS}/{driver}")) {
        kernel.modprobe(driver)?;
    }
    match (&nic.iommu_group, driver) {
        (Some(group), VFIO) => shared_with(kernel, nic, group).map_or(Ok(false), |other| {
            Err(format!("the IOMMU has it in group {group} with {other}, which the kernel drives"))
        }),
        (None, VFIO) => allow_no_iommu(kernel),
        // Behind an IOMMU that translates, a NIC reaches only what somebody mapped for it, and here nobody does.
        (Some(group), UIO) if translates(kernel, group) => {
            Err("an IOMMU is between it and the memory, and only vfio-pci can set that up".to_owned())
        }
        _ => Ok(false),
    }
}

/// Another function of the group that a driver of the kernel uses: VFIO gives a group away as a whole.
fn shared_with(kernel: &dyn Kernel, nic: &Nic, group: &str) -> Option<String> {
    let others = kernel.list(&format!("{GROUPS}/{group}/devices")).into_iter();
    others.filter(|address| *address != nic.address).find(|address| {
        let class = kernel.word(&format!("{DEVICES}/{address}/class")).unwrap_or_default();
        let driver = driver_of(kernel, address);
        !class.starts_with(BRIDGE) && driver.is_some_and(|driver| driver != VFIO)
    })
}

fn translates(kernel: &dyn Kernel, group: &str) -> bool {
    kernel.word(&format!("{GROUPS}/{group}/type")).is_none_or(|kind| kind != "identity")
}

fn allow_no_iommu(kernel: &dyn Kernel) -> Result<bool, String> {
    if kernel.list(GROUPS).iter().any(|group| is_isolated(kernel, group)) {
        return Err("this machine has an IOMMU, which does not hold this NIC".to_owned());
    }
    match kernel.word(NO_IOMMU_MODE).as_deref() {
        None => Err("no IOMMU, and this kernel's VFIO cannot do without".to_owned()),
        Some("Y" | "1") => Ok(false),
        Some(_) => {
            kernel.write(NO_IOMMU_MODE, "Y\n").map_err(|error| format!("{NO_IOMMU_MODE}: {error}"))?;
            Ok(true)
        }
    }
}

/// Takes back what [`Bound::allowed_no_iommu`] allowed.
pub(super) fn forbid_no_iommu(kernel: &dyn Kernel) -> Result<(), String> {
    kernel.write(NO_IOMMU_MODE, "N\n").map_err(|error| format!("{NO_IOMMU_MODE}: {error}"))
}

/// Moves a function to `driver`; on failure back to the one it had.
fn rebind(kernel: &dyn Kernel, address: &str, driver: &str) -> Result<(), String> {
    let before = driver_of(kernel, address);
    move_to(kernel, address, driver).map_err(|why| match give_back(kernel, address, before.as_deref()) {
        Ok(()) => why,
        Err(worse) => format!("{why}; and {worse}"),
    })
}

fn move_to(kernel: &dyn Kernel, address: &str, driver: &str) -> Result<(), String> {
    // The driver is for no device by itself; the override makes it one for this.
    set_override(kernel, address, driver)?;
    unbind(kernel, address)?;
    let file = format!("{DRIVERS}/{driver}/bind");
    kernel.write(&file, address).map_err(|error| format!("it does not take the NIC: {}", plain(&error)))?;
    match driver_of(kernel, address) {
        Some(now) if now == driver => Ok(()),
        _ => Err("it does not take the NIC".to_owned()),
    }
}

/// Gives a function to the driver of the kernel it had, or to the one the kernel chooses if that one is not known or
/// does not take it. With `None` a function without driver stays as it is.
///
/// # Errors
/// If it ended up without a driver.
pub(super) fn give_back(kernel: &dyn Kernel, address: &str, before: Option<&str>) -> Result<(), String> {
    let cleared = set_override(kernel, address, "").or_else(|_| set_override(kernel, address, ""));
    let Some(before) = before else { return cleared };
    if driver_of(kernel, address).as_deref() == Some(before) {
        return cleared;
    }
    unbind(kernel, address).or_else(|_| unbind(kernel, address))?;
    let _ = kernel.write(&format!("{DRIVERS}/{before}/bind"), address);
    if driver_of(kernel, address).is_none() {
        let _ = kernel.write(PROBE, address);
    }
    match driver_of(kernel, address) {
        Some(_) => Ok(()),
        None => Err(format!(
            "{before} does not take it back: it has no driver now (try: echo {address} > {PROBE})"
        )),
    }
}

/// Lets the kernel choose a driver for a function whose former one nobody wrote down.
///
/// # Errors
/// If it has none.
pub(super) fn give_to_any(kernel: &dyn Kernel, address: &str) -> Result<String, String> {
    set_override(kernel, address, "")?;
    unbind(kernel, address)?;
    if let Some(alias) = kernel.word(&format!("{DEVICES}/{address}/modalias")) {
        // It may be built in, or loaded already.
        let _ = kernel.modprobe(&alias);
    }
    let _ = kernel.write(PROBE, address);
    driver_of(kernel, address).ok_or_else(|| "no driver of the kernel takes it".to_owned())
}

fn set_override(kernel: &dyn Kernel, address: &str, driver: &str) -> Result<(), String> {
    let file = format!("{DEVICES}/{address}/driver_override");
    kernel.write(&file, &format!("{driver}\n")).map_err(|error| format!("{file}: {}", plain(&error)))
}

fn unbind(kernel: &dyn Kernel, address: &str) -> Result<(), String> {
    let Some(driver) = driver_of(kernel, address) else { return Ok(()) };
    let unbound = kernel.write(&format!("{DRIVERS}/{driver}/unbind"), address);
    unbound.map_err(|error| format!("{driver} does not let go of it: {}", plain(&error)))
}

/// An error without Rust's `(os error 22)`, with the kernel's name for it instead.
fn plain(error: &io::Error) -> String {
    match error.raw_os_error().map(nix::errno::Errno::from_raw) {
        Some(errno) => format!("{} ({errno:?})", errno.desc()),
        None => error.to_string(),
    }
}
