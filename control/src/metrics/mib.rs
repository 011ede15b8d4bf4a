//! The IP, ICMP, UDP and TCP counters of the kernel's MIBs, under Prometheus names; the `nstat` name is in the help text.

use skiff_dataplane::core::counters::{LcoreCells, Mib};
use skiff_dataplane::core::shared::Shared;

use super::page::{Family, Page, families};

families! {
    IP_IN_RECEIVES: counter "skiff_ip_in_receives_total" [] = "Packets that reached ip_rcv (IpInReceives).";
    IP_IN_HDR_ERRORS: counter "skiff_ip_in_hdr_errors_total" [] =
        "Packets with header errors, and those whose TTL ran out (IpInHdrErrors).";
    IP_IN_ADDR_ERRORS: counter "skiff_ip_in_addr_errors_total" [] =
        "Packets for addresses we may not forward to (IpInAddrErrors).";
    IP_FORW_DATAGRAMS: counter "skiff_ip_forw_datagrams_total" [] =
        "Packets forwarded, counted before MTU and filter (IpForwDatagrams).";
    IP_IN_UNKNOWN_PROTOS: counter "skiff_ip_in_unknown_protos_total" [] =
        "Packets for the router itself with an IP protocol it does not speak (IpInUnknownProtos).";
    IP_IN_DISCARDS: counter "skiff_ip_in_discards_total" [] =
        "Packets dropped on input for lack of resources (IpInDiscards).";
    IP_IN_DELIVERS: counter "skiff_ip_in_delivers_total" [] =
        "Packets delivered to a protocol (IpInDelivers).";
    IP_OUT_REQUESTS: counter "skiff_ip_out_requests_total" [] =
        "Packets the router itself asked to send (IpOutRequests).";
    IP_OUT_DISCARDS: counter "skiff_ip_out_discards_total" [] =
        "Packets dropped on output for lack of resources (IpOutDiscards).";
    IP_OUT_NO_ROUTES: counter "skiff_ip_out_no_routes_total" [] =
        "Packets of the router's own without a route (IpOutNoRoutes).";
    IP_FRAG_OKS: counter "skiff_ip_frag_oks_total" [] = "Datagrams fragmented (IpFragOKs).";
    IP_FRAG_FAILS: counter "skiff_ip_frag_fails_total" [] =
        "Datagrams that could not be fragmented (IpFragFails).";
    IP_FRAG_CREATES: counter "skiff_ip_frag_creates_total" [] = "Fragments made (IpFragCreates).";
    IP_REASM_TIMEOUT: counter "skiff_ip_reasm_timeout_total" [] =
        "Datagrams given up because not all fragments came in time (IpReasmTimeout).";
    IP_REASM_REQDS: counter "skiff_ip_reasm_reqds_total" [] = "Fragments to be put together (IpReasmReqds).";
    IP_REASM_OKS: counter "skiff_ip_reasm_oks_total" [] = "Datagrams put together (IpReasmOKs).";
    IP_REASM_FAILS: counter "skiff_ip_reasm_fails_total" [] =
        "Datagrams, and single fragments, that could not be put together (IpReasmFails).";
    IP_REASM_OVERLAPS: counter "skiff_ip_reasm_overlaps_total" [] =
        "Datagrams given up because fragments overlapped (IpExtReasmOverlaps).";
    IP_IN_NO_ROUTES: counter "skiff_ip_in_no_routes_total" [] =
        "Packets received without a route to their destination (IpExtInNoRoutes).";
    IP_IN_TRUNCATED: counter "skiff_ip_in_truncated_total" [] =
        "Packets in frames shorter than their total length (IpExtInTruncatedPkts).";
    IP_IN_MCAST_PACKETS: counter "skiff_ip_in_mcast_packets_total" [] =
        "Multicast packets received (IpExtInMcastPkts).";
    IP_IN_MCAST_BYTES: counter "skiff_ip_in_mcast_bytes_total" [] =
        "Bytes of multicast packets received (IpExtInMcastOctets).";
    IP_OUT_MCAST_PACKETS: counter "skiff_ip_out_mcast_packets_total" [] =
        "Multicast packets sent (IpExtOutMcastPkts).";
    IP_OUT_MCAST_BYTES: counter "skiff_ip_out_mcast_bytes_total" [] =
        "Bytes of multicast packets sent (IpExtOutMcastOctets).";
    IP_IN_BCAST_PACKETS: counter "skiff_ip_in_bcast_packets_total" [] =
        "Broadcast packets received (IpExtInBcastPkts).";
    IP_OUT_BCAST_PACKETS: counter "skiff_ip_out_bcast_packets_total" [] =
        "Broadcast packets sent (IpExtOutBcastPkts).";
    IP_IN_BCAST_BYTES: counter "skiff_ip_in_bcast_bytes_total" [] =
        "Bytes of broadcast packets received (IpExtInBcastOctets).";
    IP_OUT_BCAST_BYTES: counter "skiff_ip_out_bcast_bytes_total" [] =
        "Bytes of broadcast packets sent (IpExtOutBcastOctets).";
    IP_IN_NO_ECT_PACKETS: counter "skiff_ip_in_no_ect_packets_total" [] =
        "Packets received of transports without ECN (IpExtInNoECTPkts).";
    IP_IN_ECT1_PACKETS: counter "skiff_ip_in_ect1_packets_total" [] =
        "Packets received that are marked ECT(1) (IpExtInECT1Pkts).";
    IP_IN_ECT0_PACKETS: counter "skiff_ip_in_ect0_packets_total" [] =
        "Packets received that are marked ECT(0) (IpExtInECT0Pkts).";
    IP_IN_CE_PACKETS: counter "skiff_ip_in_ce_packets_total" [] =
        "Packets received that met congestion (IpExtInCEPkts).";
    IP_IN_BYTES: counter "skiff_ip_in_bytes_total" [] = "Bytes of IP packets received (IpExtInOctets).";
    IP_OUT_BYTES: counter "skiff_ip_out_bytes_total" [] = "Bytes of IP packets sent (IpExtOutOctets).";
    IP_IN_CSUM_ERRORS: counter "skiff_ip_in_csum_errors_total" [] =
        "Packets with a wrong header checksum (IpExtInCsumErrors).";
    IP_OUT_TRANSMITS: counter "skiff_ip_out_transmits_total" [] =
        "Packets sent, forwarded ones included (IpOutTransmits).";
    ICMP_IN_MSGS: counter "skiff_icmp_in_msgs_total" [] = "ICMP messages delivered (IcmpInMsgs).";
    ICMP_IN_ERRORS: counter "skiff_icmp_in_errors_total" [] = "ICMP messages with errors (IcmpInErrors).";
    ICMP_IN_CSUM_ERRORS: counter "skiff_icmp_in_csum_errors_total" [] =
        "ICMP messages with a wrong checksum (IcmpInCsumErrors).";
    ICMP_IN_ECHOS: counter "skiff_icmp_in_echos_total" [] = "Echo requests received (IcmpInEchos).";
    ICMP_IN_ECHO_REPS: counter "skiff_icmp_in_echo_reps_total" [] = "Echo replies received (IcmpInEchoReps).";
    ICMP_IN_DEST_UNREACHS: counter "skiff_icmp_in_dest_unreachs_total" [] =
        "Destination unreachable received (IcmpInDestUnreachs).";
    ICMP_IN_TIME_EXCDS: counter "skiff_icmp_in_time_excds_total" [] =
        "Time exceeded received (IcmpInTimeExcds).";
    ICMP_IN_PARM_PROBS: counter "skiff_icmp_in_parm_probs_total" [] =
        "Parameter problem received (IcmpInParmProbs).";
    ICMP_IN_SRC_QUENCHS: counter "skiff_icmp_in_src_quenchs_total" [] =
        "Source quench received (IcmpInSrcQuenchs).";
    ICMP_IN_REDIRECTS: counter "skiff_icmp_in_redirects_total" [] =
        "Redirects received (IcmpInRedirects).";
    ICMP_IN_TIMESTAMPS: counter "skiff_icmp_in_timestamps_total" [] =
        "Timestamp requests received (IcmpInTimestamps).";
    ICMP_IN_TIMESTAMP_REPS: counter "skiff_icmp_in_timestamp_reps_total" [] =
        "Timestamp replies received (IcmpInTimestampReps).";
    ICMP_IN_ADDR_MASKS: counter "skiff_icmp_in_addr_masks_total" [] =
        "Address mask requests received (IcmpInAddrMasks).";
    ICMP_IN_ADDR_MASK_REPS: counter "skiff_icmp_in_addr_mask_reps_total" [] =
        "Address mask replies received (IcmpInAddrMaskReps).";
    ICMP_OUT_MSGS: counter "skiff_icmp_out_msgs_total" [] = "ICMP messages sent (IcmpOutMsgs).";
    ICMP_OUT_ERRORS: counter "skiff_icmp_out_errors_total" [] =
        "ICMP messages that could not be sent (IcmpOutErrors).";
    ICMP_OUT_ECHO_REPS: counter "skiff_icmp_out_echo_reps_total" [] = "Echo replies sent (IcmpOutEchoReps).";
    ICMP_OUT_DEST_UNREACHS: counter "skiff_icmp_out_dest_unreachs_total" [] =
        "Destination unreachable sent (IcmpOutDestUnreachs).";
    ICMP_OUT_TIME_EXCDS: counter "skiff_icmp_out_time_excds_total" [] =
        "Time exceeded sent (IcmpOutTimeExcds).";
    ICMP_OUT_PARM_PROBS: counter "skiff_icmp_out_parm_probs_total" [] =
        "Parameter problem sent (IcmpOutParmProbs).";
    ICMP_OUT_REDIRECTS: counter "skiff_icmp_out_redirects_total" [] = "Redirects sent (IcmpOutRedirects).";
    ICMP_OUT_TIMESTAMP_REPS: counter "skiff_icmp_out_timestamp_reps_total" [] =
        "Timestamp replies sent (IcmpOutTimestampReps).";
    UDP_NO_PORTS: counter "skiff_udp_no_ports_total" [] =
        "UDP datagrams to a port nobody listens on (UdpNoPorts).";
    UDP_IN_ERRORS: counter "skiff_udp_in_errors_total" [] = "UDP datagrams with errors (UdpInErrors).";
    UDP_IN_CSUM_ERRORS: counter "skiff_udp_in_csum_errors_total" [] =
        "UDP datagrams with a wrong checksum (UdpInCsumErrors).";
    UDP_IGNORED_MULTI: counter "skiff_udp_ignored_multi_total" [] =
        "Broadcast or multicast UDP datagrams nobody listens to (UdpIgnoredMulti).";
    TCP_IN_SEGS: counter "skiff_tcp_in_segs_total" [] = "TCP segments received (TcpInSegs).";
    TCP_IN_ERRS: counter "skiff_tcp_in_errs_total" [] = "TCP segments received with errors (TcpInErrs).";
    TCP_OUT_SEGS: counter "skiff_tcp_out_segs_total" [] = "TCP segments sent (TcpOutSegs).";
    TCP_IN_CSUM_ERRORS: counter "skiff_tcp_in_csum_errors_total" [] =
        "TCP checksum errors (TcpInCsumErrors).";
    TCP_OUT_RSTS: counter "skiff_tcp_out_rsts_total" [] = "TCP resets sent (TcpOutRsts).";
    ARP_FILTER: counter "skiff_arp_filter_total" [] =
        "ARP requests not answered because of arp_filter (TcpExtArpFilter).";
    IP_REVERSE_PATH_FILTER: counter "skiff_ip_reverse_path_filter_total" [] =
        "Packets the reverse path filter refused (TcpExtIPReversePathFilter).";
    ICMP_RATELIMITED: counter "skiff_icmp_ratelimited_total" ["scope"] =
        "ICMP messages withheld by a limit: that of all (IcmpOutRateLimitGlobal) or of one host \
         (IcmpOutRateLimitHost).";
    ICMP_OUT: counter "skiff_icmp_out_total" ["message"] =
        "ICMP messages sent, by name or number of their type (IcmpMsgOutType).";
    ICMP_IN: counter "skiff_icmp_in_total" ["message"] =
        "ICMP messages delivered, by name or number of their type (IcmpMsgInType).";
}

/// Messages by type; others are shown by number once there is one.
const MESSAGES: [(u8, &str); 8] = [
    (0, "echo_reply"),
    (3, "destination_unreachable"),
    (5, "redirect"),
    (8, "echo_request"),
    (11, "time_exceeded"),
    (12, "parameter_problem"),
    (13, "timestamp_request"),
    (14, "timestamp_reply"),
];

pub(super) fn collect(page: &mut Page, shared: &Shared) {
    for &mib in Mib::ALL {
        let n = sum(shared, |cells| cells.mib(mib).get());
        match place(mib) {
            Place::Family(family) => page.add(&family, [], n),
            Place::RateLimited(scope) => page.add(&ICMP_RATELIMITED, [scope], n),
        }
    }
    for icmp_type in 0..=u8::MAX {
        let sent = sum(shared, |cells| cells.icmp_out(icmp_type).get());
        let received = sum(shared, |cells| cells.icmp_in(icmp_type).get());
        for (family, n) in [(&ICMP_OUT, sent), (&ICMP_IN, received)] {
            match MESSAGES.iter().find(|(known, _)| *known == icmp_type) {
                Some((_, name)) => page.add(family, [name], n),
                None if n > 0 => page.add(family, [&icmp_type.to_string()], n),
                None => {}
            }
        }
    }
}

fn sum(shared: &Shared, counter: impl Fn(&LcoreCells) -> u64) -> u64 {
    shared.all_cells().iter().map(counter).sum()
}

/// Where a counter of the MIB stands on the page.
enum Place {
    /// It is a family.
    Family(Family<0>),
    /// It is a series of the withheld ICMP messages, with this scope.
    RateLimited(&'static str),
}

/// No catch-all: a counter added to the MIB gets its name here before anything builds.
fn place(mib: Mib) -> Place {
    Place::Family(match mib {
        Mib::IcmpOutRateLimitGlobal => return Place::RateLimited("global"),
        Mib::IcmpOutRateLimitHost => return Place::RateLimited("host"),
        Mib::IpInReceives => IP_IN_RECEIVES,
        Mib::IpInHdrErrors => IP_IN_HDR_ERRORS,
        Mib::IpInAddrErrors => IP_IN_ADDR_ERRORS,
        Mib::IpForwDatagrams => IP_FORW_DATAGRAMS,
        Mib::IpInUnknownProtos => IP_IN_UNKNOWN_PROTOS,
        Mib::IpInDiscards => IP_IN_DISCARDS,
        Mib::IpInDelivers => IP_IN_DELIVERS,
        Mib::IpOutRequests => IP_OUT_REQUESTS,
        Mib::IpOutDiscards => IP_OUT_DISCARDS,
        Mib::IpOutNoRoutes => IP_OUT_NO_ROUTES,
        Mib::IpFragOKs => IP_FRAG_OKS,
        Mib::IpFragFails => IP_FRAG_FAILS,
        Mib::IpFragCreates => IP_FRAG_CREATES,
        Mib::IpReasmTimeout => IP_REASM_TIMEOUT,
        Mib::IpReasmReqds => IP_REASM_REQDS,
        Mib::IpReasmOKs => IP_REASM_OKS,
        Mib::IpReasmFails => IP_REASM_FAILS,
        Mib::IpExtReasmOverlaps => IP_REASM_OVERLAPS,
        Mib::IpExtInNoRoutes => IP_IN_NO_ROUTES,
        Mib::IpExtInTruncatedPkts => IP_IN_TRUNCATED,
        Mib::IpExtInMcastPkts => IP_IN_MCAST_PACKETS,
        Mib::IpExtInMcastOctets => IP_IN_MCAST_BYTES,
        Mib::IpExtOutMcastPkts => IP_OUT_MCAST_PACKETS,
        Mib::IpExtOutMcastOctets => IP_OUT_MCAST_BYTES,
        Mib::IpExtInBcastPkts => IP_IN_BCAST_PACKETS,
        Mib::IpExtOutBcastPkts => IP_OUT_BCAST_PACKETS,
        Mib::IpExtInBcastOctets => IP_IN_BCAST_BYTES,
        Mib::IpExtOutBcastOctets => IP_OUT_BCAST_BYTES,
        Mib::IpExtInNoECTPkts => IP_IN_NO_ECT_PACKETS,
        Mib::IpExtInECT1Pkts => IP_IN_ECT1_PACKETS,
        Mib::IpExtInECT0Pkts => IP_IN_ECT0_PACKETS,
        Mib::IpExtInCEPkts => IP_IN_CE_PACKETS,
        Mib::IpExtInOctets => IP_IN_BYTES,
        Mib::IpExtOutOctets => IP_OUT_BYTES,
        Mib::IpExtInCsumErrors => IP_IN_CSUM_ERRORS,
        Mib::IpOutTransmits => IP_OUT_TRANSMITS,
        Mib::IcmpInMsgs => ICMP_IN_MSGS,
        Mib::IcmpInErrors => ICMP_IN_ERRORS,
        Mib::IcmpInCsumErrors => ICMP_IN_CSUM_ERRORS,
        Mib::IcmpInEchos => ICMP_IN_ECHOS,
        Mib::IcmpInEchoReps => ICMP_IN_ECHO_REPS,
        Mib::IcmpInDestUnreachs => ICMP_IN_DEST_UNREACHS,
        Mib::IcmpInTimeExcds => ICMP_IN_TIME_EXCDS,
        Mib::IcmpInParmProbs => ICMP_IN_PARM_PROBS,
        Mib::IcmpInSrcQuenchs => ICMP_IN_SRC_QUENCHS,
        Mib::IcmpInRedirects => ICMP_IN_REDIRECTS,
        Mib::IcmpInTimestamps => ICMP_IN_TIMESTAMPS,
        Mib::IcmpInTimestampReps => ICMP_IN_TIMESTAMP_REPS,
        Mib::IcmpInAddrMasks => ICMP_IN_ADDR_MASKS,
        Mib::IcmpInAddrMaskReps => ICMP_IN_ADDR_MASK_REPS,
        Mib::IcmpOutMsgs => ICMP_OUT_MSGS,
        Mib::IcmpOutErrors => ICMP_OUT_ERRORS,
        Mib::IcmpOutEchoReps => ICMP_OUT_ECHO_REPS,
        Mib::IcmpOutDestUnreachs => ICMP_OUT_DEST_UNREACHS,
        Mib::IcmpOutTimeExcds => ICMP_OUT_TIME_EXCDS,
        Mib::IcmpOutParmProbs => ICMP_OUT_PARM_PROBS,
        Mib::IcmpOutRedirects => ICMP_OUT_REDIRECTS,
        Mib::IcmpOutTimestampReps => ICMP_OUT_TIMESTAMP_REPS,
        Mib::UdpNoPorts => UDP_NO_PORTS,
        Mib::UdpInErrors => UDP_IN_ERRORS,
        Mib::UdpInCsumErrors => UDP_IN_CSUM_ERRORS,
        Mib::UdpIgnoredMulti => UDP_IGNORED_MULTI,
        Mib::TcpInSegs => TCP_IN_SEGS,
        Mib::TcpInErrs => TCP_IN_ERRS,
        Mib::TcpOutSegs => TCP_OUT_SEGS,
        Mib::TcpInCsumErrors => TCP_IN_CSUM_ERRORS,
        Mib::TcpOutRsts => TCP_OUT_RSTS,
        Mib::TcpExtArpFilter => ARP_FILTER,
        Mib::TcpExtIPReversePathFilter => IP_REVERSE_PATH_FILTER,
    })
}
