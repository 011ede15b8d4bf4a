//! Processors: what they can, which ones the router may have, and whether they keep their pace.

use super::Finding;
use super::host::{Host, cpu_list};

/// What DPDK is compiled to use.
const NEEDED_FLAGS: [&str; 2] = ["ssse3", "sse4_2"];
/// Clocks the kernel takes only where the counter the router reads is steady.
const STEADY: [&str; 4] = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];

pub(super) fn checks(host: &Host) -> Vec<Finding> {
    [flags(host), lcores(host), clock(host), governor(host)].into_iter().flatten().collect()
}

fn flags(host: &Host) -> Option<Finding> {
    // Processors other than x86 list theirs under another name, and have no such choice.
    let flags = host.field("/proc/cpuinfo", "flags")?;
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let missing: Vec<&str> = NEEDED_FLAGS.into_iter().filter(|flag| !flags.contains(flag)).collect();
    let model = host.field("/proc/cpuinfo", "model name").unwrap_or_else(|| "CPU".to_owned());
    Some(if !missing.is_empty() {
        let advice = "DPDK does not start without; in a virtual machine choose the host's CPU model";
        Finding::fail("cpu", format!("{model} without {}", missing.join(", ")), advice)
    } else if flags.contains(&"constant_tsc") && flags.contains(&"nonstop_tsc") {
        Finding::ok("cpu", model)
    } else {
        let advice = "shaping rates may be off where CPUs change their frequency";
        Finding::warn("cpu", format!("{model}, whose time stamp counter is not said to be steady"), advice)
    })
}

fn lcores(host: &Host) -> Option<Finding> {
    let allowed = cpu_list(&host.field("/proc/self/status", "Cpus_allowed_list")?);
    let isolated = cpu_list(&host.text("/sys/devices/system/cpu/isolated").unwrap_or_default());
    let online = cpu_list(&host.text("/sys/devices/system/cpu/online").unwrap_or_default());
    let count = |cpus: &[u32], of: &str| format!("{} {of}", cpus.len());
    let mut found = count(&allowed, "CPUs");
    if !online.is_empty() && allowed.len() < online.len() {
        found += &format!(" of {} by cpuset or affinity", online.len());
    }
    Some(match (allowed.len(), isolated.is_empty()) {
        (0 | 1, _) => {
            let advice = "the worker shares it with everything else; keep idle = \"adaptive\"";
            Finding::warn("lcores", found, advice)
        }
        (_, true) => Finding::ok("lcores", found + ", none isolated"),
        (_, false) => {
            Finding::ok("lcores", found + &format!(", {} isolated from other work", isolated.len()))
        }
    })
}

fn clock(host: &Host) -> Option<Finding> {
    let source = host.text("/sys/devices/system/clocksource/clocksource0/current_clocksource")?;
    Some(if STEADY.contains(&source.as_str()) {
        Finding::ok("clock", source)
    } else {
        let advice =
            "the kernel did not trust the time stamp counter (dmesg says why); rates and timers may be off";
        Finding::warn("clock", format!("the kernel's clock is {source}"), advice)
    })
}

fn governor(host: &Host) -> Option<Finding> {
    let slow: Vec<(String, String)> = host
        .names("/sys/devices/system/cpu")
        .into_iter()
        .filter_map(|cpu| {
            let governor = host.text(&format!("/sys/devices/system/cpu/{cpu}/cpufreq/scaling_governor"))?;
            (governor != "performance").then_some((cpu, governor))
        })
        .collect();
    match slow.first() {
        Some((_, governor)) => Some(Finding::warn(
            "governor",
            format!("{} CPUs have the governor {governor}", slow.len()),
            "cpupower frequency-set -g performance",
        )),
        None if host.has("/sys/devices/system/cpu/cpu0/cpufreq") => {
            Some(Finding::ok("governor", "performance"))
        }
        // Machines without the choice: most virtual ones.
        None => None,
    }
}
