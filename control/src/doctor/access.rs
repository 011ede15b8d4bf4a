//! What the kernel lets the router do: drivers for NICs, powers, tap devices.

use super::Finding;
use super::host::Host;

/// Drivers that hand a NIC to a program, and the modules that have them.
const MODULES: [(&str, &str); 2] = [("vfio-pci", "vfio_pci"), ("uio_pci_generic", "uio_pci_generic")];
/// What kernel interfaces and tap devices need: bits of the capabilities, and their names.
const CAPABILITIES: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW")];

pub(super) fn checks(host: &Host) -> Vec<Finding> {
    [iommu(host), drivers(host), capabilities(host), Some(tun(host))].into_iter().flatten().collect()
}

fn iommu(host: &Host) -> Option<Finding> {
    // Without a PCI bus there is nothing to protect.
    if host.names("/sys/bus/pci/devices").is_empty() {
        return None;
    }
    let groups = host.names("/sys/kernel/iommu_groups").len();
    Some(if groups > 0 {
        Finding::ok("iommu", format!("{groups} groups"))
    } else {
        let advice = "pci: devices then need uio_pci_generic, or VFIO without IOMMU; to have one: intel_iommu=on or \
                      amd_iommu=on on the kernel's command line";
        Finding::warn("iommu", "off or absent", advice)
    })
}

fn drivers(host: &Host) -> Option<Finding> {
    if host.names("/sys/bus/pci/devices").is_empty() {
        return None;
    }
    let release = host.text("/proc/sys/kernel/osrelease").unwrap_or_default();
    let directory = format!("/lib/modules/{release}");
    let list = ["modules.dep", "modules.builtin"]
        .map(|name| host.text(&format!("{directory}/{name}")).unwrap_or_default())
        .concat();
    let state = |(driver, module): (&'static str, &str)| {
        let file = |name: &str| list.contains(&format!("/{name}.ko"));
        if host.has(&format!("/sys/bus/pci/drivers/{driver}")) {
            Some(format!("{driver} loaded"))
        } else if file(driver) || file(module) {
            Some(format!("{driver} can be loaded (modprobe {driver})"))
        } else {
            None
        }
    };
    let known: Vec<String> = MODULES.into_iter().filter_map(state).collect();
    Some(if known.is_empty() {
        let advice = "pci: devices cannot be used; use netdev: devices";
        Finding::warn("drivers", "this kernel has neither vfio-pci nor uio_pci_generic", advice)
    } else {
        Finding::ok("drivers", known.join(", "))
    })
}

fn capabilities(host: &Host) -> Option<Finding> {
    let effective = u64::from_str_radix(&host.field("/proc/self/status", "CapEff")?, 16).ok()?;
    let missing = CAPABILITIES.into_iter().filter(|(bit, _)| effective >> bit & 1 == 0);
    let missing: Vec<&str> = missing.map(|(_, name)| name).collect();
    Some(if missing.is_empty() {
        Finding::ok("capabilities", "CAP_NET_ADMIN and CAP_NET_RAW")
    } else {
        let advice = "kernel interfaces and tap devices need them; run as root or as skiff.service";
        Finding::warn("capabilities", format!("this shell has no {}", missing.join(" and no ")), advice)
    })
}

fn tun(host: &Host) -> Finding {
    if host.has("/dev/net/tun") {
        return Finding::ok("tun", "/dev/net/tun");
    }
    Finding::warn("tun", "no /dev/net/tun", "net_tap devices need it: modprobe tun, or --device /dev/net/tun")
}
