//! What was dropped, where and why: the cells of all threads summed up.

use skiff_dataplane::core::drop_reason::{DropReason, Node};
use skiff_dataplane::core::shared::Shared;

/// Packets dropped in one stage for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropRow {
    /// The stage.
    pub node: Node,
    /// The reason.
    pub reason: DropReason,
    /// Packets.
    pub packets: u64,
    /// Their bytes, Ethernet header included.
    pub bytes: u64,
}

/// A row for each reason a stage is known to have, and for any other that was counted; in the order of the journey.
///
/// Rows with zeros are what lets a counter be seen to rise from its first packet; all pairs would be hundreds, nearly
/// all impossible.
pub fn rows(shared: &Shared) -> Vec<DropRow> {
    let pairs = Node::ALL.iter().flat_map(|&node| DropReason::ALL.iter().map(move |&reason| (node, reason)));
    let total = |(node, reason)| {
        let (packets, bytes) = shared
            .all_cells()
            .iter()
            .map(|cells| cells.drops(node, reason))
            .fold((0, 0), |sum, cell| (sum.0 + cell.0, sum.1 + cell.1));
        DropRow { node, reason, packets, bytes }
    };
    pairs.map(total).filter(|row| row.packets > 0 || reasons(row.node).contains(&row.reason)).collect()
}

/// The reasons a stage has for dropping, as its module says.
fn reasons(node: Node) -> &'static [DropReason] {
    use DropReason::*;
    match node {
        Node::Poll => &[],
        Node::NetifReceive => &[DevReady, UnhandledProto, TcIngress, TcReclassifyLoop, QdiscDrop],
        Node::BondHandleFrame => &[UnhandledProto, OtherHost, PuntFull],
        Node::VlanDoReceive => &[UnhandledProto, Nomem],
        Node::ArpRcv => &[OtherHost, ArpIgnored, Nomem],
        Node::IpRcv => &[OtherHost, IpInhdr, IpCsum, PktTooSmall],
        Node::IpRcvFinish => &[
            IpInhdr,
            IpInvalidSource,
            IpInvalidDest,
            IpLocalnet,
            IpLocalSource,
            IpRpfilter,
            IpInaddrErrors,
            UnicastInL2Multicast,
            NotSpecified,
        ],
        Node::IpMrInput => &[NotSpecified, IpInhdr, PktTooBig, Nomem, PuntFull],
        Node::IpDefrag => &[
            IpInhdr,
            DupFrag,
            FragReasmTimeout,
            FragTooFar,
            FragDiscard,
            FragMemLimit,
            HandoffFull,
            Nomem,
            Shutdown,
        ],
        Node::IpLocalDeliver => &[
            IpInhdr,
            PktTooSmall,
            IcmpCsum,
            UdpCsum,
            TcpCsum,
            NoSocket,
            IpNoproto,
            InvalidProto,
            UnhandledProto,
            NotSpecified,
            Nomem,
        ],
        Node::IpForward => &[NotSpecified, IpInhdr, PktTooBig, IpInvalidSource, IpLocalSource, IpRpfilter],
        Node::IpError => &[IpInnoroutes, NotSpecified],
        Node::IpOutput => &[IpInhdr, IpInnoroutes, PktTooBig, FragFailed, Nomem],
        Node::NeighResolve => &[PuntFull, NeighQueuefull, NeighFailed, NeighCreatefail, QueuePurge, Shutdown],
        Node::VlanXmit => &[Nomem],
        Node::DevQueueXmit => &[DevReady, HandoffFull, TcEgress, TcReclassifyLoop, QdiscDrop],
        Node::QdiscEnqueue => &[QdiscDrop, QdiscOverlimit, QdiscCongested, TcReclassifyLoop],
        Node::QdiscRun => &[QdiscDrop, QdiscOverlimit, QueuePurge, Shutdown],
        Node::BondStartXmit => &[NoTxTarget, Nomem],
        Node::HardStartXmit => &[TxFull, HandoffFull],
    }
}
