//! Whether EAL would get its hugepages. EAL cannot be started a second time after it failed, so this is
//! found out beforehand.

use std::fs;
use std::ptr;

const PAGE_MIB: u32 = 2;
const FREE_PAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";

/// Whether `memory_mib` of 2 MiB hugepages can be had now.
pub(super) fn usable(memory_mib: u32) -> Result<(), String> {
    let needed = memory_mib.div_ceil(PAGE_MIB).max(1);
    let free = free_pages();
    if free < needed {
        return Err(format!("{needed} pages of 2 MiB are needed and {free} are free"));
    }
    can_place_memory()?;
    can_map(needed)
}

fn free_pages() -> u32 {
    fs::read_to_string(FREE_PAGES).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// EAL binds hugepages to NUMA nodes; container sandboxes forbid that without CAP_SYS_NICE, and EAL then
/// fails half-way. (A kernel without NUMA answers ENOSYS, which EAL copes with.)
fn can_place_memory() -> Result<(), String> {
    let null = ptr::null_mut::<u8>();
    // SAFETY: get_mempolicy writes only where its pointers are not null.
    let ret = unsafe { libc::syscall(libc::SYS_get_mempolicy, null, null, 0, null, 0) };
    let error = std::io::Error::last_os_error();
    if ret != 0 && error.raw_os_error() == Some(libc::EPERM) {
        return Err("memory placement is forbidden (CAP_SYS_NICE is missing)".into());
    }
    Ok(())
}

/// Maps and unmaps the pages: limits and reservations of others show here.
fn can_map(pages: u32) -> Result<(), String> {
    let len = pages as usize * PAGE_MIB as usize * 1024 * 1024;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | libc::MAP_HUGE_2MB;
    // SAFETY: a fresh anonymous mapping touches no memory of ours.
    let at = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error().to_string());
    }
    // SAFETY: exactly the mapping made above, which nothing refers to.
    unsafe { libc::munmap(at, len) };
    Ok(())
}
