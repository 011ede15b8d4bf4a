//! The NICs of the machine, as sysfs shows them.

use serde::Serialize;

use super::kernel::{Kernel, user_of};

/// Directory of all PCI functions.
pub(super) const DEVICES: &str = "/sys/bus/pci/devices";
/// PCI classes of NICs (PCI Code and ID Assignment 1.4): Ethernet, and InfiniBand, which some Ethernet NICs say.
const CLASSES: [&str; 2] = ["0x0200", "0x0207"];
/// What a group that the no-IOMMU mode of VFIO made is called.
const NO_IOMMU: &str = "vfio-noiommu";
/// Where Debian keeps the names of PCI devices.
const PCI_IDS: &str = "/usr/share/misc/pci.ids";

/// One NIC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Nic {
    /// Domain, bus, device and function.
    pub address: String,
    /// Vendor and device, as in `8086:10d3`.
    pub id: String,
    /// What the vendor calls it, if the list of names is installed.
    pub name: Option<String>,
    /// Interfaces of the kernel on it.
    pub netdevs: Vec<String>,
    /// The driver it is bound to.
    pub driver: Option<String>,
    /// The group in which an IOMMU holds it.
    pub iommu_group: Option<String>,
}

impl Nic {
    /// A file of it in sysfs.
    pub(crate) fn file(&self, name: &str) -> String {
        format!("{DEVICES}/{}/{name}", self.address)
    }

    /// Its address, and the interface the kernel has on it.
    pub(super) fn label(&self) -> String {
        match self.netdevs.first() {
            Some(netdev) => format!("{} ({netdev})", self.address),
            None => self.address.clone(),
        }
    }

    /// Whether its driver hands it to programs.
    pub(crate) fn is_given_away(&self) -> bool {
        self.driver.as_deref().is_some_and(is_for_programs)
    }

    /// A process that drives it: its number and its name.
    pub(super) fn user(&self, kernel: &dyn Kernel) -> Option<(u32, String)> {
        let mut files: Vec<String> =
            kernel.list(&self.file("uio")).iter().map(|name| format!("/dev/{name}")).collect();
        if let Some(group) = kernel.link_name(&self.file("iommu_group")) {
            files.push(format!("/dev/vfio/{group}"));
            files.push(format!("/dev/vfio/noiommu-{group}"));
        }
        if !self.is_given_away() || files.is_empty() { None } else { user_of(kernel, &files) }
    }
}

/// Whether a driver only hands its devices to programs.
pub(super) fn is_for_programs(driver: &str) -> bool {
    matches!(driver, "vfio-pci" | "uio_pci_generic" | "igb_uio")
}

/// All NICs, by address.
pub(super) fn scan(kernel: &dyn Kernel) -> Vec<Nic> {
    let names = kernel.read(PCI_IDS).unwrap_or_default();
    kernel.list(DEVICES).into_iter().filter_map(|address| nic(kernel, address, &names)).collect()
}

fn nic(kernel: &dyn Kernel, address: String, names: &str) -> Option<Nic> {
    let word = |name: &str| kernel.word(&format!("{DEVICES}/{address}/{name}"));
    let class = word("class")?;
    CLASSES.iter().find(|known| class.starts_with(**known))?;
    let id = |name: &str| word(name).map(|id| id.trim_start_matches("0x").to_owned());
    let (vendor, device) = (id("vendor")?, id("device")?);
    Some(Nic {
        id: format!("{vendor}:{device}"),
        name: marketing_name(names, &vendor, &device),
        netdevs: netdevs(kernel, &address),
        driver: driver_of(kernel, &address),
        iommu_group: iommu_group(kernel, &address),
        address,
    })
}

/// The driver a PCI function is bound to now.
pub(super) fn driver_of(kernel: &dyn Kernel, address: &str) -> Option<String> {
    kernel.link_name(&format!("{DEVICES}/{address}/driver"))
}

/// The interfaces of a function: its own, or those of the virtio device on it.
fn netdevs(kernel: &dyn Kernel, address: &str) -> Vec<String> {
    let device = format!("{DEVICES}/{address}");
    let below = kernel.list(&device).into_iter().filter(|name| name.starts_with("virtio"));
    std::iter::once(format!("{device}/net"))
        .chain(below.map(|virtio| format!("{device}/{virtio}/net")))
        .flat_map(|directory| kernel.list(&directory))
        .collect()
}

fn iommu_group(kernel: &dyn Kernel, address: &str) -> Option<String> {
    let group = kernel.link_name(&format!("{DEVICES}/{address}/iommu_group"))?;
    is_isolated(kernel, &group).then_some(group)
}

/// Whether an IOMMU stands behind a group.
pub(super) fn is_isolated(kernel: &dyn Kernel, group: &str) -> bool {
    kernel.word(&format!("/sys/kernel/iommu_groups/{group}/name")).as_deref() != Some(NO_IOMMU)
}

/// Looks a device up in the text of pci.ids: vendors begin a line, their devices a line after one tab.
fn marketing_name(names: &str, vendor: &str, device: &str) -> Option<String> {
    let of_vendor = names.lines().skip_while(|line| !line.starts_with(vendor)).skip(1);
    let mut devices = of_vendor.take_while(|line| line.starts_with(['\t', '#']));
    let name = devices.find_map(|line| line.strip_prefix('\t')?.strip_prefix(device))?;
    Some(name.trim().to_owned())
}
