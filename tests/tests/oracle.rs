//! The kernel and skiff side by side: whatever differs is known, with its reason, or a failure.
//!
//! `SKIFF_ORACLE='options/*'` runs the probes of that name alone and prints both sides.

use skiff_tests::oracle::{Driver, Rule, probes};

const fn rule(probe: &'static str, line: &'static str, why: &'static str) -> Rule {
    Rule { probe, line, why }
}

const NO_LOOPBACK: &str = "what the router sends to itself, or broadcasts, does not come back in";
const NO_VLAN: &str = "VLAN tags are not looked at";
const NO_UDP_LITE: &str = "UDP-Lite is a protocol nobody speaks here";
const IGMP_TAKEN: &str = "the kernel frees IGMP as dropped even where it took it";
const NO_SILENT_END: &str = "the kernel frees ARP that leads to nothing without a reason; here it is a drop";
const NO_WAY_BACK: &str = "a reset without a way back is one of our own packets without a route";

/// Deviations that are meant, one line each.
const DEVIATIONS: &[Rule] = &[
    rule("route/*, our source", "*", NO_LOOPBACK),
    rule("accept_local/our *, to us", "*", NO_LOOPBACK),
    rule("accept_local/*broadcast, to us", "*", NO_LOOPBACK),
    rule("source/*broadcast, to us", "*", NO_LOOPBACK),
    rule("error/*, told to a*broadcast", "*", NO_LOOPBACK),
    rule("icmp/echo from a*broadcast", "*", NO_LOOPBACK),
    rule("tcp/syn from a*broadcast", "*", NO_LOOPBACK),
    rule("ethernet/tag *", "*", NO_VLAN),
    rule("ethernet/type IPv6", "drop *", "the kernel was told not to speak IPv6, skiff never does"),
    rule("udp-lite/*", "*", NO_UDP_LITE),
    rule("protocol/136 to *", "*", NO_UDP_LITE),
    rule("protocol/103 to *", "*", "the kernel has a handler for PIM"),
    rule("protocol/2 to *", "drop not_specified*", IGMP_TAKEN),
    rule("igmp/*", "drop not_specified*", IGMP_TAKEN),
    rule("tcp/syn from *", "*", NO_WAY_BACK),
    rule("arp/*, to another MAC", "drop otherhost*", NO_SILENT_END),
    rule(
        "icmp/type 0 *",
        "drop no_socket*",
        "the kernel drops replies nobody asked for; here they end as delivered",
    ),
];

const OPTIONS: &str = "PENDING: options, source routes, messages to the router, sources";
const REASSEMBLY: &str = "PENDING: reassembly";
const NEIGHBOURS: &str = "PENDING: ARP and neighbours";
const MULTICAST: &str = "PENDING: multicast";

/// What is being worked on elsewhere. To be deleted, area by area, when that is done; the probes then say what is left.
const PENDING: &[Rule] = &[
    rule("options/*", "*", OPTIONS),
    rule("source route/*", "*", OPTIONS),
    rule("icmp/*", "*", OPTIONS),
    rule("error/*", "*", OPTIONS),
    rule("udp/*", "*", OPTIONS),
    rule("source/*", "*", OPTIONS),
    rule("route/*", "*", OPTIONS),
    rule("route_localnet/*", "*", OPTIONS),
    rule("rp_filter/*", "*", OPTIONS),
    rule("redirect*", "*", OPTIONS),
    rule("log_martians/*", "*", OPTIONS),
    rule("bc_forwarding/*", "*", OPTIONS),
    rule("accept_local/*", "count IpOutNoRoutes*", OPTIONS),
    rule("forwarding off/bad options", "*", OPTIONS),
    rule("limit of echo replies alone/*", "*", OPTIONS),
    rule("reassembly/*", "*", REASSEMBLY),
    rule("arp*", "*", NEIGHBOURS),
    rule("ethernet/header alone, ARP", "drop *", NEIGHBOURS),
    rule("proxy_arp/*", "*", NEIGHBOURS),
    rule("drop_gratuitous_arp/*", "*", NEIGHBOURS),
    rule("neighbour/*", "*", NEIGHBOURS),
    rule("multicast/*", "*", MULTICAST),
    // The last, because many others cover it too.
    rule("*", "*ARP request*", NEIGHBOURS),
];

#[test]
fn skiff_does_what_the_kernel_does() {
    let wanted = std::env::var("SKIFF_ORACLE").ok();
    let rules = [DEVIATIONS, PENDING].concat();
    let mut driver = Driver::new();
    let report = driver.run(&probes::all(), wanted.as_deref().unwrap_or("*"), &rules);
    if wanted.is_some() {
        println!("{}", report.full);
    }
    println!("{}", report.summary(&rules));
    assert!(report.unexpected.is_empty(), "{}", report.unexpected.join("\n\n"));
    if wanted.is_none() {
        let unused = report.unused(&rules);
        assert!(unused.is_empty(), "rules for what does not differ any more: {unused:#?}");
    }
}
