//! Huge pages, and whether memory may be locked.

use super::Finding;
use super::host::Host;

const PAGES: &str = "/sys/kernel/mm/hugepages";
/// Below this a NIC's memory cannot be pinned.
const SMALL_MEMLOCK: u64 = 64 << 20;

pub(super) fn checks(host: &Host) -> Vec<Finding> {
    [Some(hugepages(host)), memlock(host)].into_iter().flatten().collect()
}

fn hugepages(host: &Host) -> Finding {
    let sizes: Vec<(u64, u64, u64)> = host
        .names(PAGES)
        .iter()
        .filter_map(|name| {
            let kib = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let number = |file: &str| host.number(&format!("{PAGES}/{name}/{file}"));
            Some((kib, number("nr_hugepages")?, number("free_hugepages")?))
        })
        .filter(|(_, reserved, _)| *reserved > 0)
        .collect();
    if sizes.is_empty() {
        let advice =
            "the router runs without, two to three times slower at its limit; sysctl vm.nr_hugepages=256";
        return Finding::warn("hugepages", "none reserved", advice);
    }
    let size =
        |kib: u64| if kib >= 1 << 20 { format!("{} GiB", kib >> 20) } else { format!("{} MiB", kib >> 10) };
    let each = sizes.iter().map(|(kib, all, free)| format!("{all} of {}, {free} free", size(*kib)));
    let found = each.collect::<Vec<_>>().join("; ") + &reserved_by(host);
    if sizes.iter().all(|(_, _, free)| *free == 0) {
        return Finding::warn(
            "hugepages",
            found,
            "all are in use; raise vm.nr_hugepages, or stop who has them",
        );
    }
    Finding::ok("hugepages", found)
}

/// Who asked for them, as far as files tell.
fn reserved_by(host: &Host) -> String {
    let cmdline = host.text("/proc/cmdline").unwrap_or_default();
    if cmdline.split_whitespace().any(|word| word.starts_with("hugepages=")) {
        return ", reserved on the kernel's command line".to_owned();
    }
    for directory in ["/etc/sysctl.d", "/run/sysctl.d", "/usr/lib/sysctl.d"] {
        for name in host.names(directory) {
            let path = format!("{directory}/{name}");
            let text = host.text(&path).unwrap_or_default();
            if text.lines().any(|line| line.trim_start().starts_with("vm.nr_hugepages")) {
                return format!(", reserved by {path}");
            }
        }
    }
    String::new()
}

fn memlock(host: &Host) -> Option<Finding> {
    let limit = host.field("/proc/self/limits", "Max locked memory")?;
    let soft = limit.split_whitespace().next()?.to_owned();
    Some(match soft.parse::<u64>() {
        Ok(bytes) if bytes < SMALL_MEMLOCK => {
            let advice = "too little for pci: devices started from this shell (ulimit -l unlimited); skiff.service has its own";
            Finding::warn("memlock", format!("at most {} KiB", bytes >> 10), advice)
        }
        Ok(bytes) => Finding::ok("memlock", format!("at most {} MiB", bytes >> 20)),
        Err(_) => Finding::ok("memlock", soft),
    })
}
