//! Why a packet was freed, and where: one closed list for the CLI, the API and the metrics.

/// Defines a field-less enum whose variants have a printed name and a number, so that counters can be arrays.
macro_rules! named_enum {
    ($(#[$doc:meta])* $vis:vis enum $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        $vis enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];
            /// How many values there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The word operators see.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }

            /// Position in arrays indexed by this enum.
            #[inline]
            pub const fn index(self) -> usize {
                self as usize
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(crate) use named_enum;

named_enum! {
    /// The reason a packet ended without being sent or delivered.
    ///
    /// Where the kernel has a `SKB_DROP_REASON_*`, this is its name in lower case with its meaning; the rest are
    /// ours. A reason may be added, never renamed: dashboards and scripts hold these words.
    pub enum DropReason {
        /// No better word: multicast without a group, a source route that is not accepted, a silent route.
        NotSpecified = "not_specified",
        /// The frame was for another station's MAC.
        OtherHost = "otherhost",
        /// No protocol handler for this EtherType, or a frame too short to have one.
        UnhandledProto = "unhandled_proto",
        /// IPv4 header: version, header length, total length or TTL.
        IpInhdr = "ip_inhdr",
        /// IPv4 header checksum.
        IpCsum = "ip_csum",
        /// The frame holds fewer bytes than the IP total length says.
        PktTooSmall = "pkt_too_small",
        /// Larger than the MTU of the way out, with Don't Fragment set.
        PktTooBig = "pkt_too_big",
        /// A source that no packet on the wire may have: multicast, broadcast, 0.0.0.0.
        IpInvalidSource = "ip_invalid_source",
        /// A destination that no packet on the wire may have.
        IpInvalidDest = "ip_invalid_dest",
        /// A loopback address on the wire.
        IpLocalnet = "ip_localnet",
        /// A source that is one of our own addresses.
        IpLocalSource = "ip_local_source",
        /// Reverse path filter (RFC 3704): the source is not reachable the way it came.
        IpRpfilter = "ip_rpfilter",
        /// Forwarding is off on the receiving device.
        IpInaddrErrors = "ip_inaddrerrors",
        /// Unicast IP in a link-layer broadcast or multicast, where the device refuses it.
        UnicastInL2Multicast = "unicast_in_l2_multicast",
        /// No route to the destination.
        IpInnoroutes = "ip_innoroutes",
        /// A hook function, or the listener of a queue, said so.
        NetfilterDrop = "netfilter_drop",
        /// Local delivery: no handler for the IP protocol.
        IpNoproto = "ip_noproto",
        /// Local delivery: nobody listens on the port.
        NoSocket = "no_socket",
        /// Local delivery: UDP checksum.
        UdpCsum = "udp_csum",
        /// Local delivery: TCP checksum.
        TcpCsum = "tcp_csum",
        /// Local delivery: ICMP checksum.
        IcmpCsum = "icmp_csum",
        /// Local delivery: a message the protocol does not take (a broadcast echo, for one).
        InvalidProto = "invalid_proto",
        /// Reassembly: all the fragment brought was there already.
        DupFrag = "dup_frag",
        /// Reassembly: the other fragments did not come in time.
        FragReasmTimeout = "frag_reasm_timeout",
        /// Reassembly: so many fragments of the same source came in between that this one is of an earlier datagram.
        FragTooFar = "frag_too_far",
        /// Reassembly: of a datagram whose fragments contradict one another (overlap, two ends, no data, ECN) or that
        /// is longer than one can be; all its fragments go.
        FragDiscard = "frag_discard",
        /// Reassembly: the memory for fragments is in use.
        FragMemLimit = "frag_mem_limit",
        /// Fragmentation could not allocate or could not cut the packet.
        FragFailed = "frag_failed",
        /// A neighbour's queue was full: the oldest packet went.
        NeighQueuefull = "neigh_queuefull",
        /// The neighbour did not answer.
        NeighFailed = "neigh_failed",
        /// The neighbour entry was deleted or its device went down while the packet waited.
        QueuePurge = "queue_purge",
        /// The neighbour table is full.
        NeighCreatefail = "neigh_createfail",
        /// An ARP packet that is malformed or that the device's rules ignore.
        ArpIgnored = "arp_ignored",
        /// The device is not up.
        DevReady = "dev_ready",
        /// No memory for a header or a copy.
        Nomem = "nomem",
        /// A bond has no member that may send.
        NoTxTarget = "no_tx_target",
        /// A filter of a queueing discipline said so, or the discipline takes no such packet.
        QdiscDrop = "qdisc_drop",
        /// A queueing discipline was full.
        QdiscOverlimit = "qdisc_overlimit",
        /// A queueing discipline drops early, before it is full.
        QdiscCongested = "qdisc_congested",
        /// A filter where packets come in said so.
        TcIngress = "tc_ingress",
        /// A filter where packets leave said so.
        TcEgress = "tc_egress",
        /// Filters classified a packet anew too often.
        TcReclassifyLoop = "tc_reclassify_loop",
        /// The transmit ring took no more.
        TxFull = "tx_full",
        /// The queue to the lcore that owns the transmit queue, or the source of a fragment, was full.
        HandoffFull = "handoff_full",
        /// The queue to the control thread was full.
        PuntFull = "punt_full",
        /// The packet had nowhere to go when the router stopped.
        Shutdown = "shutdown",
    }
}

named_enum! {
    /// The stages of the journey: where packets are counted, timed and dropped.
    pub enum Node {
        /// Receiving bursts from the port.
        Poll = "poll",
        /// Packet type, protocol demultiplexing.
        NetifReceive = "netif_receive_skb_list",
        /// What members of a bond receive.
        BondHandleFrame = "bond_handle_frame",
        /// Tagged frames to their VLAN devices.
        VlanDoReceive = "vlan_do_receive",
        /// Address resolution.
        ArpRcv = "arp_rcv",
        /// IPv4 header checks.
        IpRcv = "ip_list_rcv",
        /// Route lookup, source validation.
        IpRcvFinish = "ip_rcv_finish",
        /// Putting fragments together.
        IpDefrag = "ip_defrag",
        /// Delivery to the router itself.
        IpLocalDeliver = "ip_local_deliver",
        /// Towards the next hop.
        IpForward = "ip_forward",
        /// Multicast forwarding.
        IpMrInput = "ip_mr_input",
        /// Destinations we refuse.
        IpError = "ip_error",
        /// Header towards the neighbour, fragmentation.
        IpOutput = "ip_output",
        /// Waiting for a neighbour.
        NeighResolve = "neigh_resolve_output",
        /// Tags of packets from VLAN devices.
        VlanXmit = "vlan_dev_hard_start_xmit",
        /// Choice of the transmit queue.
        DevQueueXmit = "dev_queue_xmit",
        /// Packets into a queueing discipline.
        QdiscEnqueue = "qdisc_enqueue",
        /// Packets out of a queueing discipline.
        QdiscRun = "qdisc_run",
        /// Choice of the bond's member.
        BondStartXmit = "bond_start_xmit",
        /// The driver's transmit ring.
        HardStartXmit = "hard_start_xmit",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_lower_case_words() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        assert!(
            names
                .iter()
                .all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::COUNT);
    }
}
