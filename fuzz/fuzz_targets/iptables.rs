#![no_main]
//! The languages of netfilter: rules or mistakes, never a panic; and what is printed reads back.

use libfuzzer_sys::fuzz_target;
use skiff_control::netfilter;

fuzz_target!(|text: &str| {
    let _ = netfilter::sets(text);
    let Ok(ruleset) = netfilter::ruleset(text, Vec::new()) else { return };
    let printed = netfilter::save(&ruleset, None, true, "");
    let again = netfilter::ruleset(&printed, Vec::new()).expect("what is printed reads back");
    assert_eq!(netfilter::save(&again, None, true, ""), printed);
});
