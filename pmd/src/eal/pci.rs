//! PCI devices on EAL's command line.

use std::fs;
use std::path::Path;

use super::device_of;

/// A host bridge, which no driver of DPDK takes. EAL looks at the PCI bus if it may take this, and takes nothing.
const NOTHING: &str = "0000:00:00.0";

/// The arguments that make EAL look at the PCI bus without taking `devices` from it yet.
pub(super) fn arguments(devices: &[String], hugepages: bool) -> Vec<String> {
    if devices.is_empty() {
        return vec!["--no-pci".into()];
    }
    let mut args = vec!["-a".to_owned(), NOTHING.into()];
    // EAL would choose by the devices it may take.
    if hugepages && devices.iter().any(|devargs| sees_memory_as_it_is(device_of(devargs))) {
        args.push("--iova-mode=pa".into());
    }
    args
}

/// Whether no IOMMU stands between a device and the memory, so that it must be told physical addresses.
fn sees_memory_as_it_is(address: &str) -> bool {
    let device = Path::new("/sys/bus/pci/devices").join(address);
    let driver = fs::read_link(device.join("driver")).unwrap_or_default();
    match driver.file_name().and_then(|name| name.to_str()) {
        Some("uio_pci_generic" | "igb_uio") => true,
        Some("vfio-pci") => fs::read_to_string(device.join("iommu_group/name"))
            .is_ok_and(|name| name.trim() == "vfio-noiommu"),
        _ => false,
    }
}
