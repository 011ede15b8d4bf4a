#![no_main]
//! Configuration files: values or mistakes, never a panic; every mistake has a place.

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(mistakes) = skiff_control::config::parse("fuzz.toml", text) {
        assert!(!mistakes.is_empty());
        for mistake in mistakes {
            assert!(mistake.to_string().starts_with("fuzz.toml:"));
        }
    }
});
