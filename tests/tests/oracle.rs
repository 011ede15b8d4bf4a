//! The kernel and skiff side by side: whatever differs is known, with its reason, or a failure.
//!
//! `SKIFF_ORACLE='options/*'` runs the probes of that name alone and prints both sides.

use skiff_tests::oracle::{Driver, Rule, probes};

/// Deviations that are meant, one line each.
const DEVIATIONS: &[Rule] = &[];

#[test]
fn skiff_does_what_the_kernel_does() {
    let wanted = std::env::var("SKIFF_ORACLE").ok();
    let rules: Vec<Rule> = DEVIATIONS.to_vec();
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
