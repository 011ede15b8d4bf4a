//! Ports: network devices, started, with their queues.
//!
//! A [`Port`] and its queues share the device; it is stopped and closed when the last of them is gone, so
//! no queue can be polled whose memory the driver has freed. For the same reason [`Port::stop`] wants all
//! queues back (dropped) and [`Port::start`] hands out new ones.

use std::ffi::{CStr, c_char};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::eal::{self, Eal, EalToken};
use crate::error::{Error, why};
use crate::log;
use crate::pool::Pool;

mod filter;
mod info;
mod kernel_if;
mod open;
mod queue;

pub use info::{Link, PortInfo, PortStats, RxOffload, TxOffload};
pub use open::PortConfig;
pub use queue::{RxQueue, TxQueue};

/// DPDK's number of a port.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PortId(pub u16);

/// An open device.
#[derive(Debug)]
pub struct Port {
    inner: Arc<PortInner>,
    setup: open::Setup,
}

impl Port {
    /// Configures and starts a device, and gives out its queues. What is asked for is fitted to what the
    /// driver can do: queue and descriptor numbers are reduced, receive interrupts left out. Receive
    /// checksums, scattered and multi-segment packets, and VLAN insertion are switched on where there are
    /// any. `name` is for errors.
    ///
    /// Freeing sent packets the fast way (`MBUF_FAST_FREE`) stays off: it needs all packets a queue sends
    /// to come from one pool, which a router cannot promise.
    ///
    /// # Errors
    /// [`Error::NoSuchPort`], [`Error::PortInUse`], or [`Error::Port`] with the operation the driver
    /// refused; the port can then be opened again, with another configuration. An MTU or MAC address asked for and not taken is such an error, unless it was in force
    /// already.
    pub fn open(
        eal: &Eal,
        id: PortId,
        name: &str,
        cfg: &PortConfig,
        pool: &Pool,
    ) -> Result<(Port, Vec<RxQueue>, Vec<TxQueue>), Error> {
        let inner = Arc::new(PortInner::claim(eal, id, name, pool)?);
        let setup =
            open::set_up(&inner, cfg, pool).inspect_err(|_| inner.retry.store(true, Ordering::Relaxed))?;
        let (rx, tx) = queue::hand_out(&inner, &setup);
        Ok((Port { inner, setup }, rx, tx))
    }

    /// Its number.
    pub fn id(&self) -> PortId {
        PortId(self.inner.id)
    }

    /// The interface's name, as given to [`open`](Self::open).
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The MAC address.
    pub fn mac(&self) -> [u8; 6] {
        let _control = eal::control();
        open::mac(&self.inner)
    }

    /// Changes the MAC address.
    ///
    /// # Errors
    /// [`Error::Port`]; [`is_unsupported`](Error::is_unsupported) where the device has no address filter.
    pub fn set_mac(&self, mac: [u8; 6]) -> Result<(), Error> {
        let mut address = dpdk_sys::rte_ether_addr { addr_bytes: mac };
        self.inner.control("set the MAC address", |id| {
            // SAFETY: the port exists; the address is only read.
            unsafe { dpdk_sys::rte_eth_dev_default_mac_addr_set(id, &mut address) }
        })
    }

    /// The MTU: bytes of the largest IP packet.
    pub fn mtu(&self) -> u16 {
        let _control = eal::control();
        open::mtu(&self.inner)
    }

    /// Changes the MTU. Some drivers allow it only while the port is stopped. net_af_packet carries any
    /// size that fits its ring slots, but DPDK takes it for one that ends at 1500: there the MTU of the
    /// kernel's interface is what counts, and is set.
    ///
    /// # Errors
    /// [`Error::Port`].
    pub fn set_mtu(&self, mtu: u16) -> Result<(), Error> {
        self.inner.set_mtu(mtu)
    }

    /// Receives frames for every address, or only for its own. A driver without the operation receives
    /// everything, so for it switching on succeeds and switching off is unsupported.
    ///
    /// # Errors
    /// [`Error::Port`].
    pub fn set_promiscuous(&self, on: bool) -> Result<(), Error> {
        self.inner.set_promiscuous(on)
    }

    /// Receives every multicast frame, or those joined; as [`set_promiscuous`](Self::set_promiscuous).
    ///
    /// # Errors
    /// [`Error::Port`].
    pub fn set_allmulticast(&self, on: bool) -> Result<(), Error> {
        let what = if on { "receive all multicast" } else { "stop receiving all multicast" };
        let ret = self.inner.control(what, |id| match on {
            // SAFETY: the port exists.
            true => unsafe { dpdk_sys::rte_eth_allmulticast_enable(id) },
            // SAFETY: the port exists.
            false => unsafe { dpdk_sys::rte_eth_allmulticast_disable(id) },
        });
        accept_unfiltered(on, ret)
    }

    /// Administratively raises or lowers the link, as the far end sees it.
    ///
    /// # Errors
    /// [`Error::Port`], often unsupported.
    pub fn set_link(&self, up: bool) -> Result<(), Error> {
        self.inner.control(if up { "set the link up" } else { "set the link down" }, |id| match up {
            // SAFETY: the port exists.
            true => unsafe { dpdk_sys::rte_eth_dev_set_link_up(id) },
            // SAFETY: the port exists.
            false => unsafe { dpdk_sys::rte_eth_dev_set_link_down(id) },
        })
    }

    /// Whether the device was pulled out.
    pub fn is_removed(&self) -> bool {
        let _control = eal::control();
        // SAFETY: the port exists.
        unsafe { dpdk_sys::rte_eth_dev_is_removed(self.inner.id) != 0 }
    }

    /// Stops the device. All its queues and every [`EpollSet`](crate::EpollSet) with one of them must be
    /// dropped.
    ///
    /// # Errors
    /// [`Error::QueuesInUse`]; [`Error::Port`].
    pub fn stop(&mut self) -> Result<(), Error> {
        self.only_holder()?;
        self.inner.control("stop", |id| {
            // SAFETY: the port exists, and nobody can poll its queues.
            unsafe { dpdk_sys::rte_eth_dev_stop(id) }
        })
    }

    /// Starts a stopped device and gives out its queues.
    ///
    /// # Errors
    /// [`Error::QueuesInUse`] if it runs; [`Error::Port`].
    pub fn start(&mut self) -> Result<(Vec<RxQueue>, Vec<TxQueue>), Error> {
        self.only_holder()?;
        self.inner.control("start", |id| {
            // SAFETY: the port exists, is configured, and nobody can poll its queues.
            unsafe { dpdk_sys::rte_eth_dev_start(id) }
        })?;
        Ok(queue::hand_out(&self.inner, &self.setup))
    }

    /// Nobody else can join meanwhile: the others are made only through `&mut self` or from each other.
    fn only_holder(&self) -> Result<(), Error> {
        match Arc::strong_count(&self.inner) {
            1 => Ok(()),
            _ => Err(Error::QueuesInUse { name: self.inner.name.clone() }),
        }
    }
}

/// The device, stopped and closed when dropped. Closed for good: to use it again it must be attached again.
#[derive(Debug)]
pub(crate) struct PortInner {
    id: u16,
    name: String,
    /// The driver takes packets from it until the device is closed.
    _pool: Pool,
    /// The MTU where the kernel's interface decides it, else 0.
    kernel_mtu: AtomicU16,
    /// The receive queues that are in an epoll set: DPDK ignores a second one without a word.
    waited_for: Mutex<Vec<u16>>,
    /// Opening it failed: the device stays, stopped, for another try.
    retry: AtomicBool,
    _eal: Arc<EalToken>,
}

impl PortInner {
    fn claim(eal: &Eal, id: PortId, name: &str, pool: &Pool) -> Result<PortInner, Error> {
        let PortId(id) = id;
        let _control = eal::control();
        // SAFETY: any number may be asked about.
        if unsafe { dpdk_sys::rte_eth_dev_is_valid_port(id) } == 0 {
            return Err(Error::NoSuchPort { name: name.into(), id });
        }
        let mut open = open_ports();
        if open.contains(&id) {
            return Err(Error::PortInUse { name: name.into(), id });
        }
        open.push(id);
        let name = name.into();
        Ok(PortInner {
            id,
            name,
            _pool: pool.clone(),
            kernel_mtu: AtomicU16::new(0),
            waited_for: Mutex::new(Vec::new()),
            retry: AtomicBool::new(false),
            _eal: eal.token(),
        })
    }

    pub(crate) fn id(&self) -> u16 {
        self.id
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The receive queues that are in an epoll set.
    pub(crate) fn waited_for(&self) -> MutexGuard<'_, Vec<u16>> {
        self.waited_for.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a control operation alone; the driver's answer is 0 or a negative error number.
    fn control(&self, what: &'static str, op: impl FnOnce(u16) -> i32) -> Result<(), Error> {
        let _control = eal::control();
        log::forget();
        match op(self.id) {
            0 => Ok(()),
            ret => Err(self.refused(what, ret)),
        }
    }

    /// The error for a driver's negative answer.
    fn refused(&self, what: &'static str, ret: i32) -> Error {
        let errno = ret.saturating_neg();
        Error::Port { name: self.name.clone(), what, errno, why: why(errno) }
    }

    fn set_mtu(&self, mtu: u16) -> Result<(), Error> {
        let result = self.control("set the MTU", |id| {
            // SAFETY: the port exists.
            unsafe { dpdk_sys::rte_eth_dev_set_mtu(id, mtu) }
        });
        let kernels = match result {
            Ok(()) => 0,
            Err(_) if kernel_if::set_mtu(self.id, mtu) => mtu,
            refused => return refused,
        };
        self.kernel_mtu.store(kernels, Ordering::Relaxed);
        Ok(())
    }

    fn set_promiscuous(&self, on: bool) -> Result<(), Error> {
        let what = if on { "become promiscuous" } else { "stop being promiscuous" };
        let ret = self.control(what, |id| match on {
            // SAFETY: the port exists.
            true => unsafe { dpdk_sys::rte_eth_promiscuous_enable(id) },
            // SAFETY: the port exists.
            false => unsafe { dpdk_sys::rte_eth_promiscuous_disable(id) },
        });
        accept_unfiltered(on, ret)
    }
}

impl Drop for PortInner {
    fn drop(&mut self) {
        let _control = eal::control();
        // SAFETY: the last holder: no queue can be polled any more. Stopping twice does nothing.
        unsafe { dpdk_sys::rte_eth_dev_stop(self.id) };
        if !self.retry.load(Ordering::Relaxed) {
            // SAFETY: as above; the number is not used again.
            unsafe { dpdk_sys::rte_eth_dev_close(self.id) };
        }
        open_ports().retain(|&id| id != self.id);
    }
}

/// A driver that cannot filter receives everything.
fn accept_unfiltered(on: bool, result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(why) if on && why.is_unsupported() => Ok(()),
        other => other,
    }
}

/// Whether a [`Port`] holds this number. Ask while holding [`eal::control`].
pub(crate) fn is_open(id: u16) -> bool {
    open_ports().contains(&id)
}

fn open_ports() -> MutexGuard<'static, Vec<u16>> {
    static OPEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ports that exist and are not part of another port.
pub(crate) fn existing() -> impl Iterator<Item = u16> {
    const NO_OWNER: u64 = 0;
    let next = |from: u16| {
        // SAFETY: any number may be asked about.
        let found = unsafe { dpdk_sys::rte_eth_find_next_owned_by(from, NO_OWNER) };
        u16::try_from(found).ok().filter(|&id| u32::from(id) < dpdk_sys::SKIFF_MAX_ETHPORTS)
    };
    std::iter::successors(next(0), move |&id| next(id + 1))
}

/// Closes the ports nobody opened, when EAL ends.
pub(crate) fn close_all() {
    for id in existing() {
        // SAFETY: no Port holds it, so nobody can poll it.
        unsafe { dpdk_sys::rte_eth_dev_close(id) };
    }
}

/// The device's name on its bus.
pub(crate) fn device_name(id: u16) -> Option<String> {
    let mut name = [0 as c_char; dpdk_sys::SKIFF_ETH_NAME_MAX_LEN as usize];
    // SAFETY: DPDK's names fit this size.
    let ret = unsafe { dpdk_sys::rte_eth_dev_get_name_by_port(id, name.as_mut_ptr()) };
    (ret == 0).then(|| text(&name))
}

/// A C string in an array.
fn text(chars: &[c_char]) -> String {
    let bytes: Vec<u8> = chars.iter().map(|&c| c as u8).collect();
    CStr::from_bytes_until_nul(&bytes).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}
