#![no_main]
//! The `ip` language: a request or a usage error, never a panic.

use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &str| {
    let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let _ = skiff_control::ip::parse(&args);
});
