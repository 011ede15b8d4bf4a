//! The kernel interface behind a port.

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::info::device_info;

/// Sets the MTU of the kernel's interface, if there is one and its driver itself knows no limit. Whether
/// it has that MTU now.
pub(super) fn set_mtu(port: u16, mtu: u16) -> bool {
    let Ok(info) = device_info(port) else { return false };
    // DPDK puts the largest number where the driver says nothing.
    info.if_index != 0 && info.max_mtu == u16::MAX && set_interface_mtu(info.if_index, mtu).is_some()
}

fn set_interface_mtu(if_index: u32, mtu: u16) -> Option<()> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return None;
    }
    // SAFETY: a descriptor just opened, nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: a request is numbers and bytes; all zeroes are fine.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    let name: *mut c_char = request.ifr_name.as_mut_ptr();
    // SAFETY: the name's array has the size that any interface's name fits.
    if unsafe { libc::if_indextoname(if_index, name) }.is_null() {
        return None;
    }
    request.ifr_ifru.ifru_mtu = mtu.into();
    // SAFETY: a valid socket, and a request of the kind that this operation takes.
    let ret = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFMTU, &request) };
    (ret == 0).then_some(())
}
