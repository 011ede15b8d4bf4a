//! The kernel and skiff side by side: whatever differs is known, with its reason, or a failure.
//!
//! `SKIFF_ORACLE='options/*'` runs the probes of that name alone and prints both sides.

use skiff_tests::oracle::{Driver, Rule, probes};

const fn rule(probe: &'static str, line: &'static str, why: &'static str) -> Rule {
    Rule { probe, line, why }
}

const NO_UDP_LITE: &str = "UDP-Lite is a protocol nobody speaks here";
const IGMP_TAKEN: &str = "the kernel frees IGMP as dropped even where it took it";
const NO_SILENT_END: &str = "the kernel frees ARP that leads to nothing without a reason; here it is a drop";
const SENDER_RECORDED: &str =
    "the kernel records the sender's address in routed multicast, RFC 791 wants the router's";
const HELD_PIECES: &str = "the kernel says nothing of the fragments it held of a datagram it gave up";
const JOINED_PIECES: &str = "the kernel frees the buffers of fragments it joined as if they were packets";

/// Deviations that are meant, one line each.
const DEVIATIONS: &[Rule] = &[
    rule("ethernet/type IPv6", "drop *", "the kernel was told not to speak IPv6, skiff never does"),
    rule("udp-lite/*", "*", NO_UDP_LITE),
    rule("protocol/136 to *", "*", NO_UDP_LITE),
    rule("protocol/2 to *", "drop not_specified*", IGMP_TAKEN),
    rule("igmp/*", "drop not_specified*", IGMP_TAKEN),
    rule("routed*/record route", "p*IPv4*", SENDER_RECORDED),
    rule("arp/*, to another MAC", "drop otherhost*", NO_SILENT_END),
    rule("arp_ignore *", "drop arp_ignored*", NO_SILENT_END),
    rule("arp_filter/*", "drop arp_ignored*", NO_SILENT_END),
    rule("reassembly/*", "drop frag_discard*", HELD_PIECES),
    rule("reassembly/closed port*", "drop not_specified*", JOINED_PIECES),
    rule("reassembly/large echo", "drop not_specified*", JOINED_PIECES),
];

#[test]
fn skiff_does_what_the_kernel_does() {
    let wanted = std::env::var("SKIFF_ORACLE").ok();
    let mut driver = Driver::new();
    let report = driver.run(&probes::all(), wanted.as_deref().unwrap_or("*"), DEVIATIONS);
    if wanted.is_some() {
        println!("{}", report.full);
    }
    println!("{}", report.summary(DEVIATIONS));
    assert!(report.unexpected.is_empty(), "{}", report.unexpected.join("\n\n"));
    if wanted.is_none() {
        let unused = report.unused(DEVIATIONS);
        assert!(unused.is_empty(), "rules for what does not differ any more: {unused:#?}");
    }
}
