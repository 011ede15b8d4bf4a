//! Sleeping until packets come: receive interrupts through epoll.

use std::fmt;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use crate::eal;
use crate::error::{Error, why, why_os};
use crate::log;
use crate::port::{PortInner, RxQueue};

/// The queues a worker sleeps on. Its ports cannot be stopped while it lives.
pub struct EpollSet {
    epoll: OwnedFd,
    queues: Vec<(Arc<PortInner>, u16)>,
}

impl EpollSet {
    /// An empty set.
    ///
    /// # Errors
    /// [`Error::Thread`] when the process is out of file descriptors.
    pub fn new() -> Result<EpollSet, Error> {
        // SAFETY: takes flags only.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(Error::Thread { what: "create an epoll set".into(), why: why_os() });
        }
        // SAFETY: a descriptor just opened, nobody else's.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(EpollSet { epoll, queues: Vec::new() })
    }

    /// Adds a queue. It wakes the set only while its interrupt is enabled.
    ///
    /// # Errors
    /// [`Error::Port`] if the driver has no receive interrupts or the queue is in a set already.
    pub fn add(&mut self, queue: &RxQueue) -> Result<(), Error> {
        let (port, id) = queue.parts();
        let mut waited_for = port.waited_for();
        let result = match waited_for.contains(&id) {
            true => Err(libc::EEXIST),
            false => self.control(port.id(), id, libc::EPOLL_CTL_ADD),
        };
        result.map_err(|errno| Error::Port {
            name: port.name().into(),
            what: "wait for receive interrupts",
            errno,
            why: why(errno),
        })?;
        waited_for.push(id);
        self.queues.push((port.clone(), id));
        Ok(())
    }

    /// Sleeps until a queue has packets or the time is over, and returns how many queues woke it. Rounded
    /// up to whole milliseconds. Poll for a while before sleeping again: a packet wakes once, and some
    /// drivers (net_tap) hand it out a moment later.
    pub fn wait(&mut self, timeout: Duration) -> usize {
        let mut events = [dpdk_sys::rte_epoll_event::default(); EVENTS];
        let ms = timeout.as_micros().div_ceil(1000).min(i32::MAX as u128) as i32;
        let epoll = self.epoll.as_raw_fd();
        // SAFETY: room for as many events as announced. Every descriptor in the set was added by DPDK,
        // whose event records live as long as the ports, and `queues` holds those.
        let woken = unsafe { dpdk_sys::rte_epoll_wait(epoll, events.as_mut_ptr(), EVENTS as i32, ms) };
        usize::try_from(woken).unwrap_or(0)
    }

    /// Adds or removes a queue; the error is a positive number.
    fn control(&self, port: u16, queue: u16, op: i32) -> Result<(), i32> {
        let _control = eal::control();
        log::forget();
        let (epoll, data) = (self.epoll.as_raw_fd(), ptr::null_mut());
        // SAFETY: the port exists while its queue does; the user data is never looked at.
        match unsafe { dpdk_sys::rte_eth_dev_rx_intr_ctl_q(port, queue, epoll, op, data) } {
            0 => Ok(()),
            ret => Err(-ret),
        }
    }
}

impl Drop for EpollSet {
    fn drop(&mut self) {
        for (port, queue) in &self.queues {
            // A queue whose descriptor is gone already needs no removal.
            let _ = self.control(port.id(), *queue, libc::EPOLL_CTL_DEL);
            port.waited_for().retain(|id| id != queue);
        }
    }
}

impl fmt::Debug for EpollSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpollSet").field("queues", &self.queues.len()).finish()
    }
}

const EVENTS: usize = 16;
