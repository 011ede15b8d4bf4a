//! A port's queues: what workers poll and send through. Each has one owner at a time.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use super::open::{self, Setup};
use super::{PortId, PortInner};
use crate::burst::Burst;
use crate::error::{Error, errno_text};

/// When packets in a receive queue wake an epoll set that has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Interrupt {
    Never,
    /// Between enabling and disabling.
    Switched,
    /// Whenever one comes: the set waits on the kernel's own descriptor, as with net_tap.
    Always,
}

/// A receive queue.
#[derive(Debug)]
pub struct RxQueue {
    port: u16,
    queue: u16,
    interrupt: Interrupt,
    inner: Arc<PortInner>,
    /// The driver keeps the queue's state without locks.
    not_sync: PhantomData<Cell<()>>,
}

impl RxQueue {
    /// Appends received packets to the burst, as many as there are and fit, and returns how many.
    #[inline]
    pub fn rx_burst(&mut self, into: &mut Burst) -> usize {
        let room = into.room_mut();
        let (at, n) = (room.as_mut_ptr().cast(), room.len() as u16);
        // SAFETY: the port runs while its queues exist, only this owner polls the queue, and `at` has room
        // for `n` pointers.
        let got = usize::from(unsafe { dpdk_sys::skiff_rx_burst(self.port, self.queue, at, n) });
        // SAFETY: the driver wrote that many packets and gave them up.
        unsafe { into.grow(got) };
        debug_assert!(into.iter().rev().take(got).all(|pkt| pkt.is_unshared()));
        got
    }

    /// Its port.
    #[inline]
    pub fn port(&self) -> PortId {
        PortId(self.port)
    }

    /// Its number in the port.
    #[inline]
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// Packets waiting in it; `None` if the driver does not tell.
    pub fn used_descriptors(&self) -> Option<u32> {
        // SAFETY: the port runs while its queues exist.
        u32::try_from(unsafe { dpdk_sys::skiff_rx_queue_count(self.port, self.queue) }).ok()
    }

    /// Whether an [`EpollSet`](crate::EpollSet) can wait for it.
    #[inline]
    pub fn supports_interrupt(&self) -> bool {
        self.interrupt != Interrupt::Never
    }

    /// Lets the next packet wake the epoll set that has the queue. Poll once more after this and before
    /// sleeping: what came in between may not wake.
    ///
    /// # Errors
    /// [`Error::Port`] if the driver cannot.
    pub fn enable_interrupt(&mut self) -> Result<(), Error> {
        if self.interrupt == Interrupt::Always {
            return Ok(());
        }
        // SAFETY: the port runs while its queues exist, and only this owner switches this queue's interrupt.
        let ret = unsafe { dpdk_sys::rte_eth_dev_rx_intr_enable(self.port, self.queue) };
        self.switched("enable a receive interrupt", ret)
    }

    /// The opposite, before polling again.
    ///
    /// # Errors
    /// [`Error::Port`] if the driver cannot.
    pub fn disable_interrupt(&mut self) -> Result<(), Error> {
        if self.interrupt == Interrupt::Always {
            return Ok(());
        }
        // SAFETY: the port runs while its queues exist, and only this owner switches this queue's interrupt.
        let ret = unsafe { dpdk_sys::rte_eth_dev_rx_intr_disable(self.port, self.queue) };
        self.switched("disable a receive interrupt", ret)
    }

    /// Without the control lock: a worker does not wait for somebody setting up a port.
    fn switched(&self, what: &'static str, ret: i32) -> Result<(), Error> {
        let (name, errno) = (self.inner.name(), ret.saturating_neg());
        match ret {
            0 => Ok(()),
            _ => Err(Error::Port { name: name.into(), what, errno, why: errno_text(errno) }),
        }
    }

    pub(crate) fn parts(&self) -> (&Arc<PortInner>, u16) {
        (&self.inner, self.queue)
    }
}

/// How it is known what sits in a transmit queue's ring.
#[derive(Debug)]
enum Occupancy {
    /// The driver tells of each descriptor.
    Descriptors,
    /// The driver tells how many packets it has finished: those sent before and not yet finished, and how often it was
    /// asked in vain.
    Counted { in_flight: u32, in_vain: u32 },
    /// It is not.
    Unknown,
}

/// Times a driver says that it has finished nothing before its count is no longer believed: it has freed packets without
/// saying so.
const MOST_IN_VAIN: u32 = 1 << 16;

/// A transmit queue.
#[derive(Debug)]
pub struct TxQueue {
    port: u16,
    queue: u16,
    /// Descriptors in its ring.
    size: u16,
    occupancy: Occupancy,
    inner: Arc<PortInner>,
    /// The driver keeps the queue's state without locks.
    not_sync: PhantomData<Cell<()>>,
}

impl TxQueue {
    /// Sends packets from the front of the burst, as many as the queue takes, and returns how many; the
    /// others stay, at the front.
    #[inline]
    pub fn tx_burst(&mut self, from: &mut Burst) -> usize {
        let n = from.len() as u16;
        // SAFETY: the port runs while its queues exist, only this owner uses the queue, and the burst has
        // `n` packets, of which the driver takes over those it counts.
        let sent = unsafe { dpdk_sys::skiff_tx_burst(self.port, self.queue, from.as_mut_ptr(), n) };
        from.forget_first(usize::from(sent));
        if let Occupancy::Counted { in_flight, .. } = &mut self.occupancy {
            *in_flight = in_flight.saturating_add(sent.into());
        }
        usize::from(sent)
    }

    /// True if more than `packets` sit in the ring, handed over and not yet sent; `None` if the driver does not tell.
    #[inline]
    pub fn holds_more_than(&mut self, packets: u16) -> Option<bool> {
        match self.occupancy {
            Occupancy::Descriptors => {
                // Counted from the next free one: the descriptor that far back is in use if all after it are.
                let offset = self.size.saturating_sub(packets.saturating_add(1));
                // SAFETY: the port runs while its queues exist, and only this owner uses the queue.
                let waits = unsafe { dpdk_sys::skiff_tx_descriptor_waits(self.port, self.queue, offset) };
                Some(waits == 1)
            }
            Occupancy::Counted { .. } => Some(self.counts_more_than(packets)),
            Occupancy::Unknown => None,
        }
    }

    fn counts_more_than(&mut self, packets: u16) -> bool {
        let finished = self.cleanup().unwrap_or(0);
        let Occupancy::Counted { in_flight, in_vain } = &mut self.occupancy else { return false };
        *in_flight = in_flight.saturating_sub(finished);
        *in_vain = if finished > 0 || *in_flight == 0 { 0 } else { *in_vain + 1 };
        if *in_vain > MOST_IN_VAIN {
            (*in_flight, *in_vain) = (0, 0);
        }
        *in_flight > u32::from(packets)
    }

    /// Descriptors in its ring.
    #[inline]
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Its port.
    #[inline]
    pub fn port(&self) -> PortId {
        PortId(self.port)
    }

    /// Its number in the port.
    #[inline]
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// Frees packets that are sent and still held by the driver; returns how many, `None` if the driver
    /// cannot.
    pub fn cleanup(&mut self) -> Option<u32> {
        // SAFETY: the port runs while its queues exist, and only this owner uses the queue.
        u32::try_from(unsafe { dpdk_sys::rte_eth_tx_done_cleanup(self.inner.id, self.queue, 0) }).ok()
    }
}

/// The queues of a port that was just started: each once.
pub(super) fn hand_out(inner: &Arc<PortInner>, setup: &Setup) -> (Vec<RxQueue>, Vec<TxQueue>) {
    let (port, not_sync) = (inner.id, PhantomData);
    let rx = (0..setup.rx_queues).map(|queue| {
        let interrupt = if setup.rx_interrupts { open::interrupt_of(inner, queue) } else { Interrupt::Never };
        RxQueue { port, queue, interrupt, inner: inner.clone(), not_sync }
    });
    let tx = (0..setup.tx_queues).map(|queue| {
        let mut tx = TxQueue {
            port,
            queue,
            size: setup.tx_desc,
            occupancy: Occupancy::Unknown,
            inner: inner.clone(),
            not_sync,
        };
        tx.occupancy = occupancy_of(&mut tx);
        tx
    });
    (rx.collect(), tx.collect())
}

fn occupancy_of(queue: &mut TxQueue) -> Occupancy {
    // SAFETY: the port runs, and nobody else has the queue yet.
    let waits = unsafe { dpdk_sys::skiff_tx_descriptor_waits(queue.port, queue.queue, 0) };
    match (waits >= 0, queue.cleanup()) {
        (true, _) => Occupancy::Descriptors,
        (false, Some(_)) => Occupancy::Counted { in_flight: 0, in_vain: 0 },
        (false, None) => Occupancy::Unknown,
    }
}
