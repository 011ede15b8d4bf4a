//! The page a Prometheus server scrapes.

use skiff_tests::{B_ADDR, Lab, METRICS_ADDR, http_get, ping, promtool_check_metrics};

#[test]
fn the_page_is_clean_and_counts() {
    let lab = Lab::new();
    let skiff = lab.start("");
    let before = skiff.metrics();
    ping(&lab.a, &format!("-q -c 100 -i 0.002 -W 5 {B_ADDR}")).expect_all(100);
    let after = skiff.metrics();

    promtool_check_metrics(&after.text);
    for (port, family) in [("lan", "receive"), ("lan", "transmit"), ("wan", "receive"), ("wan", "transmit")] {
        let name = format!("skiff_port_{family}_packets_total");
        let grown = after.sum(&name, &[("port", port)]) - before.sum(&name, &[("port", port)]);
        assert!((100..120).contains(&grown), "{name} of {port} grew by {grown}");
    }
    // Every reason is there before it happens, so that the first drop has a rate.
    assert!(before.text.contains("reason=\"ip_csum\"} 0"), "{}", before.text);
    skiff.stop_cleanly();
}

#[test]
fn health_is_a_word_and_other_paths_are_not_found() {
    let lab = Lab::new();
    let skiff = lab.start("");
    let (status, body) = http_get(lab.router.name(), METRICS_ADDR, "/healthz");
    assert_eq!(status, 200, "{body}");
    assert_eq!(http_get(lab.router.name(), METRICS_ADDR, "/nothing").0, 404);
    skiff.stop_cleanly();
}
