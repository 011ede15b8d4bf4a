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
    IP_IN_NO_ROUTES: counter "skiff_ip_in_no_routes_total" [] =
        "Packets received without a route to their destination (IpExtInNoRoutes).";
    IP_IN_TRUNCATED: counter "skiff_ip_in_truncated_total" [] =
        "Packets in frames shorter than their total length (IpExtInTruncatedPkts).";
    IP_IN_MCAST_PACKETS: counter "skiff_ip_in_mcast_packets_total" [] =
        "Multicast packets received (IpExtInMcastPkts).";
    IP_IN_BCAST_PACKETS: counter "skiff_ip_in_bcast_packets_total" [] =
        "Broadcast packets received (IpExtInBcastPkts).";
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
    UDP_NO_PORTS: counter "skiff_udp_no_ports_total" [] =
        "UDP datagrams to a port nobody listens on (UdpNoPorts).";
    UDP_IN_ERRORS: counter "skiff_udp_in_errors_total" [] = "UDP datagrams with errors (UdpInErrors).";
    UDP_IN_CSUM_ERRORS: counter "skiff_udp_in_csum_errors_total" [] =
        "UDP datagrams with a wrong checksum (UdpInCsumErrors).";
    UDP_IGNORED_MULTI: counter "skiff_udp_ignored_multi_total" [] =
        "Broadcast or multicast UDP datagrams nobody listens to (UdpIgnoredMulti).";
    TCP_IN_SEGS: counter "skiff_tcp_in_segs_total" [] = "TCP segments received (TcpInSegs).";
    TCP_IN_ERRS: counter "skiff_tcp_in_errs_total" [] = "TCP segments received with errors (TcpInErrs).";
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
}

/// The messages the router sends, by type; others are shown once there is one.
const MESSAGES: [(u8, &str); 5] = [
    (0, "echo_reply"),
    (3, "destination_unreachable"),
    (5, "redirect"),
    (11, "time_exceeded"),
    (12, "parameter_problem"),
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
        let n = sum(shared, |cells| cells.icmp_out(icmp_type).get());
        match MESSAGES.iter().find(|(known, _)| *known == icmp_type) {
            Some((_, name)) => page.add(&ICMP_OUT, [name], n),
            None if n > 0 => page.add(&ICMP_OUT, [&icmp_type.to_string()], n),
            None => {}
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
        Mib::IpExtInNoRoutes => IP_IN_NO_ROUTES,
        Mib::IpExtInTruncatedPkts => IP_IN_TRUNCATED,
        Mib::IpExtInMcastPkts => IP_IN_MCAST_PACKETS,
        Mib::IpExtInBcastPkts => IP_IN_BCAST_PACKETS,
        Mib::IpExtInOctets => IP_IN_BYTES,
        Mib::IpExtOutOctets => IP_OUT_BYTES,
        Mib::IpExtInCsumErrors => IP_IN_CSUM_ERRORS,
        Mib::IpOutTransmits => IP_OUT_TRANSMITS,
        Mib::IcmpInMsgs => ICMP_IN_MSGS,
        Mib::IcmpInErrors => ICMP_IN_ERRORS,
        Mib::IcmpInCsumErrors => ICMP_IN_CSUM_ERRORS,
        Mib::IcmpInEchos => ICMP_IN_ECHOS,
        Mib::IcmpInEchoReps => ICMP_IN_ECHO_REPS,
        Mib::IcmpOutMsgs => ICMP_OUT_MSGS,
        Mib::IcmpOutErrors => ICMP_OUT_ERRORS,
        Mib::IcmpOutEchoReps => ICMP_OUT_ECHO_REPS,
        Mib::IcmpOutDestUnreachs => ICMP_OUT_DEST_UNREACHS,
        Mib::IcmpOutTimeExcds => ICMP_OUT_TIME_EXCDS,
        Mib::IcmpOutParmProbs => ICMP_OUT_PARM_PROBS,
        Mib::IcmpOutRedirects => ICMP_OUT_REDIRECTS,
        Mib::UdpNoPorts => UDP_NO_PORTS,
        Mib::UdpInErrors => UDP_IN_ERRORS,
        Mib::UdpInCsumErrors => UDP_IN_CSUM_ERRORS,
        Mib::UdpIgnoredMulti => UDP_IGNORED_MULTI,
        Mib::TcpInSegs => TCP_IN_SEGS,
        Mib::TcpInErrs => TCP_IN_ERRS,
        Mib::TcpOutRsts => TCP_OUT_RSTS,
        Mib::TcpExtArpFilter => ARP_FILTER,
        Mib::TcpExtIPReversePathFilter => IP_REVERSE_PATH_FILTER,
    })
}
