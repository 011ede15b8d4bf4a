//! Counters that one lcore writes and anybody reads, without a lock and without disturbing the writer.

use std::sync::atomic::{AtomicU64, Ordering};

use super::drop_reason::{DropReason, Node, named_enum};
use super::histogram::TimeHistogram;
use crate::net::IfIndex;
use crate::netfilter::hooks::{Fate, Hook};

/// Most network devices the table holds; `IfIndex` is below this.
pub const MAX_DEVICES: usize = 8192;
/// Most DPDK ports.
pub const MAX_PORTS: usize = 64;
/// Most queues of one port in either direction.
pub const MAX_QUEUES: usize = 16;
/// Bounds of the burst-size histogram (inclusive); the last is the burst itself.
pub const BURST_BUCKETS: [u64; 6] = [1, 2, 4, 8, 16, 32];

/// A counter with one writer. Adding is a plain load and store: no locked instruction.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owner of the cell may call this; a second writer would lose counts, not more.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The current value.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets a gauge.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

named_enum! {
    /// The IP, ICMP and UDP counters of the kernel's `/proc/net/snmp` and `netstat`, by their `nstat` names.
    pub enum Mib {
        /// Packets that reached ip_rcv.
        IpInReceives = "IpInReceives",
        /// Header errors, and TTL exceeded.
        IpInHdrErrors = "IpInHdrErrors",
        /// Packets for addresses we may not forward to.
        IpInAddrErrors = "IpInAddrErrors",
        /// Packets forwarded (counted before MTU and filter, as the kernel does).
        IpForwDatagrams = "IpForwDatagrams",
        /// Unknown protocol in local delivery.
        IpInUnknownProtos = "IpInUnknownProtos",
        /// Dropped on input for lack of resources.
        IpInDiscards = "IpInDiscards",
        /// Delivered to a protocol.
        IpInDelivers = "IpInDelivers",
        /// Sent by the router itself.
        IpOutRequests = "IpOutRequests",
        /// Dropped on output for lack of resources.
        IpOutDiscards = "IpOutDiscards",
        /// No route for a packet of our own.
        IpOutNoRoutes = "IpOutNoRoutes",
        /// Datagrams fragmented.
        IpFragOKs = "IpFragOKs",
        /// Datagrams that could not be fragmented.
        IpFragFails = "IpFragFails",
        /// Fragments made.
        IpFragCreates = "IpFragCreates",
        /// Datagrams given up because not all fragments came in time.
        IpReasmTimeout = "IpReasmTimeout",
        /// Fragments to be put together.
        IpReasmReqds = "IpReasmReqds",
        /// Datagrams put together.
        IpReasmOKs = "IpReasmOKs",
        /// Datagrams, and single fragments, that could not be put together.
        IpReasmFails = "IpReasmFails",
        /// No route on input.
        IpExtInNoRoutes = "IpExtInNoRoutes",
        /// Frame shorter than the total length.
        IpExtInTruncatedPkts = "IpExtInTruncatedPkts",
        /// Multicast packets in.
        IpExtInMcastPkts = "IpExtInMcastPkts",
        /// Their bytes.
        IpExtInMcastOctets = "IpExtInMcastOctets",
        /// Multicast packets out.
        IpExtOutMcastPkts = "IpExtOutMcastPkts",
        /// Their bytes.
        IpExtOutMcastOctets = "IpExtOutMcastOctets",
        /// Broadcast packets in.
        IpExtInBcastPkts = "IpExtInBcastPkts",
        /// Broadcast packets out.
        IpExtOutBcastPkts = "IpExtOutBcastPkts",
        /// Bytes of broadcast packets in.
        IpExtInBcastOctets = "IpExtInBcastOctets",
        /// Bytes of broadcast packets out.
        IpExtOutBcastOctets = "IpExtOutBcastOctets",
        /// Packets in of transports that know no ECN (RFC 3168).
        IpExtInNoECTPkts = "IpExtInNoECTPkts",
        /// Packets in marked ECT(1).
        IpExtInECT1Pkts = "IpExtInECT1Pkts",
        /// Packets in marked ECT(0).
        IpExtInECT0Pkts = "IpExtInECT0Pkts",
        /// Packets in that met congestion.
        IpExtInCEPkts = "IpExtInCEPkts",
        /// Bytes in.
        IpExtInOctets = "IpExtInOctets",
        /// Bytes out.
        IpExtOutOctets = "IpExtOutOctets",
        /// Header checksum errors.
        IpExtInCsumErrors = "IpExtInCsumErrors",
        /// Datagrams given up because fragments overlapped.
        IpExtReasmOverlaps = "IpExtReasmOverlaps",
        /// Packets sent (all, forwarded too).
        IpOutTransmits = "IpOutTransmits",
        /// ICMP messages delivered.
        IcmpInMsgs = "IcmpInMsgs",
        /// ICMP messages with errors.
        IcmpInErrors = "IcmpInErrors",
        /// ICMP checksum errors.
        IcmpInCsumErrors = "IcmpInCsumErrors",
        /// Echo requests in.
        IcmpInEchos = "IcmpInEchos",
        /// Echo replies in.
        IcmpInEchoReps = "IcmpInEchoReps",
        /// Destination unreachable in.
        IcmpInDestUnreachs = "IcmpInDestUnreachs",
        /// Time exceeded in.
        IcmpInTimeExcds = "IcmpInTimeExcds",
        /// Parameter problem in.
        IcmpInParmProbs = "IcmpInParmProbs",
        /// Source quench in.
        IcmpInSrcQuenchs = "IcmpInSrcQuenchs",
        /// Redirects in.
        IcmpInRedirects = "IcmpInRedirects",
        /// Timestamp requests in.
        IcmpInTimestamps = "IcmpInTimestamps",
        /// Timestamp replies in.
        IcmpInTimestampReps = "IcmpInTimestampReps",
        /// Address mask requests in.
        IcmpInAddrMasks = "IcmpInAddrMasks",
        /// Address mask replies in.
        IcmpInAddrMaskReps = "IcmpInAddrMaskReps",
        /// ICMP messages sent.
        IcmpOutMsgs = "IcmpOutMsgs",
        /// ICMP messages that could not be sent.
        IcmpOutErrors = "IcmpOutErrors",
        /// Withheld by the global limit.
        IcmpOutRateLimitGlobal = "IcmpOutRateLimitGlobal",
        /// Withheld by the limit of one destination.
        IcmpOutRateLimitHost = "IcmpOutRateLimitHost",
        /// Echo replies sent.
        IcmpOutEchoReps = "IcmpOutEchoReps",
        /// Destination unreachable sent.
        IcmpOutDestUnreachs = "IcmpOutDestUnreachs",
        /// Time exceeded sent.
        IcmpOutTimeExcds = "IcmpOutTimeExcds",
        /// Parameter problem sent.
        IcmpOutParmProbs = "IcmpOutParmProbs",
        /// Redirects sent.
        IcmpOutRedirects = "IcmpOutRedirects",
        /// Timestamp replies sent.
        IcmpOutTimestampReps = "IcmpOutTimestampReps",
        /// UDP to a port nobody listens on.
        UdpNoPorts = "UdpNoPorts",
        /// UDP with errors.
        UdpInErrors = "UdpInErrors",
        /// UDP checksum errors.
        UdpInCsumErrors = "UdpInCsumErrors",
        /// Broadcast or multicast UDP nobody listens to.
        UdpIgnoredMulti = "UdpIgnoredMulti",
        /// TCP segments in.
        TcpInSegs = "TcpInSegs",
        /// TCP segments in with errors.
        TcpInErrs = "TcpInErrs",
        /// TCP segments sent: resets.
        TcpOutSegs = "TcpOutSegs",
        /// TCP resets sent.
        TcpOutRsts = "TcpOutRsts",
        /// TCP checksum errors.
        TcpInCsumErrors = "TcpInCsumErrors",
        /// Reverse path filter.
        TcpExtIPReversePathFilter = "TcpExtIPReversePathFilter",
        /// ARP requests not answered because of arp_filter.
        TcpExtArpFilter = "TcpExtArpFilter",
    }
}

/// What one lcore counts for one device.
#[derive(Debug, Default)]
pub struct DeviceCells {
    /// Packets received.
    pub rx_packets: Counter,
    /// Bytes received, Ethernet header included, FCS not.
    pub rx_bytes: Counter,
    /// Packets the driver took.
    pub tx_packets: Counter,
    /// Bytes the driver took.
    pub tx_bytes: Counter,
    /// Packets dropped on the way in, before a protocol took them.
    pub rx_dropped: Counter,
    /// Packets of other stations (kernel: rx_otherhost_dropped).
    pub rx_otherhost: Counter,
    /// Packets dropped on the way out.
    pub tx_dropped: Counter,
    /// Link-layer multicast received.
    pub multicast: Counter,
}

/// What one lcore counts of the tags of one device's frames. Apart from [`DeviceCells`], which fill a cache line.
#[derive(Debug, Default)]
pub struct VlanCells {
    /// Received frames of VLANs without a device.
    pub unknown: Counter,
    /// Tags taken out of received frames here, not by the driver.
    pub sw_strip: Counter,
    /// Tags put into sent frames here, not by the driver.
    pub sw_insert: Counter,
}

/// What one lcore counts for one queue of a port.
#[derive(Debug, Default)]
pub struct QueueCells {
    /// Packets that went through.
    pub packets: Counter,
    /// Bursts of which a transmit ring took only a part.
    pub full: Counter,
    /// One more than the packets that waited in a receive ring when it was last looked at; 0 if it never was, or the
    /// driver does not tell.
    used: Counter,
}

impl QueueCells {
    /// Notes how many packets wait in a receive ring.
    pub fn set_used(&self, packets: u32) {
        self.used.set(u64::from(packets) + 1);
    }

    /// How many packets waited in a receive ring when it was last looked at.
    pub fn used(&self) -> Option<u64> {
        self.used.get().checked_sub(1)
    }
}

/// What one lcore counts for one stage.
#[derive(Debug, Default)]
pub struct NodeCells {
    /// Packets that entered.
    pub packets: Counter,
    /// Bursts that entered.
    pub batches: Counter,
    /// TSC cycles spent, when stage timing is on.
    pub cycles: Counter,
}

/// The law of conservation, as numbers: `rx + created = tx + dropped + delivered + held`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Packets taken from receive queues.
    pub rx: u64,
    /// Packets the router made itself.
    pub created: u64,
    /// Packets drivers took.
    pub tx: u64,
    /// Packets dropped, over all reasons.
    pub dropped: u64,
    /// Packets a local protocol consumed.
    pub delivered: u64,
}

impl Ledger {
    /// Packets that came in and have not left: in queues between lcores, waiting for a neighbour, in a burst.
    /// Negative only while the writers are running and the sums are of different moments.
    pub fn held(&self) -> i64 {
        (self.rx + self.created) as i64 - (self.tx + self.dropped + self.delivered) as i64
    }
}

impl std::ops::AddAssign for Ledger {
    fn add_assign(&mut self, o: Ledger) {
        self.rx += o.rx;
        self.created += o.created;
        self.tx += o.tx;
        self.dropped += o.dropped;
        self.delivered += o.delivered;
    }
}

/// Everything one lcore (or the control thread) counts.
#[derive(Debug)]
#[repr(align(128))]
pub struct LcoreCells {
    /// Packets taken from receive queues.
    pub rx: Counter,
    /// Packets made here.
    pub created: Counter,
    /// Packets the drivers took.
    pub tx: Counter,
    /// Packets a local protocol consumed.
    pub delivered: Counter,
    /// TSC cycles in iterations that moved packets.
    pub busy_cycles: Counter,
    /// TSC cycles in empty polls.
    pub idle_cycles: Counter,
    /// TSC cycles asleep.
    pub sleep_cycles: Counter,
    /// TSC cycles picking up snapshots.
    pub control_cycles: Counter,
    /// Receive polls.
    pub polls: Counter,
    /// Receive polls that brought nothing.
    pub empty_polls: Counter,
    /// Times a receive interrupt ended a sleep.
    pub interrupt_wakeups: Counter,
    /// Packets given a next hop in turn, not by flow.
    pub equalized: Counter,
    /// TSC at the last quiescent report.
    pub last_quiescent_tsc: Counter,
    /// How long turns of the main loop took, one of every [`super::lcore::TURNS_A_SAMPLE`].
    pub loops: TimeHistogram,
    /// Non-empty receive bursts by size, see [`BURST_BUCKETS`].
    pub rx_bursts: [Counter; BURST_BUCKETS.len()],
    mib: [Counter; Mib::COUNT],
    nodes: [NodeCells; Node::COUNT],
    hooks: [[Counter; Fate::COUNT]; Hook::COUNT],
    drop_packets: [[Counter; DropReason::COUNT]; Node::COUNT],
    drop_bytes: [[Counter; DropReason::COUNT]; Node::COUNT],
    devices: Box<[DeviceCells]>,
    vlans: Box<[VlanCells]>,
    rx_queues: Box<[QueueCells]>,
    tx_queues: Box<[QueueCells]>,
    icmp_out: Box<[Counter]>,
    icmp_in: Box<[Counter]>,
}

impl Default for LcoreCells {
    fn default() -> Self {
        let zero = || std::array::from_fn(|_| std::array::from_fn(|_| Counter::default()));
        LcoreCells {
            rx: Counter::default(),
            created: Counter::default(),
            tx: Counter::default(),
            delivered: Counter::default(),
            busy_cycles: Counter::default(),
            idle_cycles: Counter::default(),
            sleep_cycles: Counter::default(),
            control_cycles: Counter::default(),
            polls: Counter::default(),
            empty_polls: Counter::default(),
            interrupt_wakeups: Counter::default(),
            equalized: Counter::default(),
            last_quiescent_tsc: Counter::default(),
            loops: TimeHistogram::default(),
            rx_bursts: Default::default(),
            mib: std::array::from_fn(|_| Counter::default()),
            nodes: Default::default(),
            hooks: Default::default(),
            drop_packets: zero(),
            drop_bytes: zero(),
            devices: (0..MAX_DEVICES).map(|_| DeviceCells::default()).collect(),
            vlans: (0..MAX_DEVICES).map(|_| VlanCells::default()).collect(),
            rx_queues: (0..MAX_PORTS * MAX_QUEUES).map(|_| QueueCells::default()).collect(),
            tx_queues: (0..MAX_PORTS * MAX_QUEUES).map(|_| QueueCells::default()).collect(),
            icmp_out: (0..256).map(|_| Counter::default()).collect(),
            icmp_in: (0..256).map(|_| Counter::default()).collect(),
        }
    }
}

impl LcoreCells {
    /// The counters of one stage.
    #[inline]
    pub fn node(&self, node: Node) -> &NodeCells {
        &self.nodes[node.index()]
    }

    /// Packets that met this fate at a hook.
    #[inline]
    pub fn hook(&self, hook: Hook, fate: Fate) -> &Counter {
        &self.hooks[hook.index()][fate.index()]
    }

    /// The counters of one device.
    #[inline]
    pub fn device(&self, dev: IfIndex) -> &DeviceCells {
        &self.devices[dev.index() % MAX_DEVICES]
    }

    /// The counters of the tags of one device's frames.
    #[inline]
    pub fn vlan(&self, dev: IfIndex) -> &VlanCells {
        &self.vlans[dev.index() % MAX_DEVICES]
    }

    /// The counters of one receive queue.
    #[inline]
    pub fn rx_queue(&self, port: u16, queue: u16) -> &QueueCells {
        &self.rx_queues[queue_index(port, queue)]
    }

    /// The counters of one transmit queue.
    #[inline]
    pub fn tx_queue(&self, port: u16, queue: u16) -> &QueueCells {
        &self.tx_queues[queue_index(port, queue)]
    }

    /// One MIB counter.
    #[inline]
    pub fn mib(&self, mib: Mib) -> &Counter {
        &self.mib[mib.index()]
    }

    /// ICMP messages sent, by type.
    #[inline]
    pub fn icmp_out(&self, icmp_type: u8) -> &Counter {
        &self.icmp_out[icmp_type as usize]
    }

    /// ICMP messages delivered, by type (`IcmpMsgInType` of the kernel).
    #[inline]
    pub fn icmp_in(&self, icmp_type: u8) -> &Counter {
        &self.icmp_in[icmp_type as usize]
    }

    /// Counts `packets` packets of `bytes` bytes in all, dropped in `node` for `reason`.
    #[inline]
    pub fn count_drop(&self, node: Node, reason: DropReason, packets: u64, bytes: u64) {
        self.drop_packets[node.index()][reason.index()].add(packets);
        self.drop_bytes[node.index()][reason.index()].add(bytes);
    }

    /// Packets and bytes dropped in `node` for `reason`.
    pub fn drops(&self, node: Node, reason: DropReason) -> (u64, u64) {
        (
            self.drop_packets[node.index()][reason.index()].get(),
            self.drop_bytes[node.index()][reason.index()].get(),
        )
    }

    /// Counts one non-empty receive burst of `n` packets.
    #[inline]
    pub fn count_burst(&self, n: usize) {
        let bucket = (usize::BITS - n.saturating_sub(1).leading_zeros()) as usize;
        self.rx_bursts[bucket.min(BURST_BUCKETS.len() - 1)].add(1);
    }

    /// This lcore's part of the conservation law.
    pub fn ledger(&self) -> Ledger {
        Ledger {
            rx: self.rx.get(),
            created: self.created.get(),
            tx: self.tx.get(),
            dropped: self.drop_packets.iter().flatten().map(Counter::get).sum(),
            delivered: self.delivered.get(),
        }
    }
}

#[inline]
fn queue_index(port: u16, queue: u16) -> usize {
    usize::from(port) % MAX_PORTS * MAX_QUEUES + usize::from(queue) % MAX_QUEUES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_fall_into_the_bucket_that_bounds_them() {
        let cells = LcoreCells::default();
        for n in 1..=32 {
            cells.count_burst(n);
        }
        let counts: Vec<u64> = cells.rx_bursts.iter().map(Counter::get).collect();
        assert_eq!(counts, [1, 1, 2, 4, 8, 16]);
    }

    #[test]
    fn the_ledger_sums_drops_over_all_nodes_and_reasons() {
        let cells = LcoreCells::default();
        cells.rx.add(10);
        cells.created.add(1);
        cells.tx.add(7);
        cells.count_drop(Node::IpRcv, DropReason::IpCsum, 2, 120);
        cells.count_drop(Node::IpForward, DropReason::IpInhdr, 1, 60);
        assert_eq!(cells.ledger().held(), 1);
        assert_eq!(cells.drops(Node::IpRcv, DropReason::IpCsum), (2, 120));
    }
}
