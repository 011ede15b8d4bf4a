//! Hugepages at boot: enough for a router, never fewer than somebody else asked for.

use super::kernel::Kernel;

const TWO_MIB: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
const PAGE: u64 = 2 << 20;
/// The most that is taken.
const MOST: u64 = 1 << 30;

/// Sees to hugepages of 2 MiB for a quarter of the memory, or for the `wanted` bytes if that is more, as long as this
/// is neither more than half of the memory nor more than 1 GB. Returns what it did, in words.
///
/// # Errors
/// If the kernel has no such pages, or gave none.
pub(super) fn reserve(kernel: &dyn Kernel, wanted: u64) -> Result<String, String> {
    let memory = memory(kernel).ok_or("/proc/meminfo does not say how much memory there is")?;
    let pages = target(memory, wanted) / PAGE;
    let now = number(kernel, TWO_MIB).ok_or("this kernel has no hugepages of 2 MiB")?;
    if now >= pages {
        return Ok(format!("{now} of 2 MiB are there already, {pages} would do"));
    }
    kernel.write(TWO_MIB, &format!("{pages}\n")).map_err(|error| format!("{TWO_MIB}: {error}"))?;
    // The kernel takes as many as it finds memory in one piece for.
    match number(kernel, TWO_MIB).unwrap_or(0) {
        0 => Err(format!("the kernel found no memory for any of {pages}")),
        got if got < pages => {
            Ok(format!("{got} of 2 MiB ({now} before; {pages} were asked for, memory is in pieces)"))
        }
        got => Ok(format!("{got} of 2 MiB ({now} before)")),
    }
}

fn target(memory: u64, wanted: u64) -> u64 {
    (memory / 4).max(wanted.next_multiple_of(PAGE).min(memory / 2)).min(MOST)
}

fn number(kernel: &dyn Kernel, file: &str) -> Option<u64> {
    kernel.word(file)?.parse().ok()
}

fn memory(kernel: &dyn Kernel) -> Option<u64> {
    let text = kernel.read("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
