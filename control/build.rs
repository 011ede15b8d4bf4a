//! Tells the binary which compiler made it, and of which commit, for `skiff_build_info`.

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc).arg("--version").output().ok();
    let text =
        version.map_or_else(String::new, |output| String::from_utf8_lossy(&output.stdout).into_owned());
    // "rustc 1.95.0 (59807616e 2026-04-14)": the number is what people ask for.
    let number = text.split_whitespace().nth(1).unwrap_or("unknown");
    println!("cargo:rustc-env=SKIFF_RUSTC={number}");
    // Whoever builds a release says of which commit; to ask git here would build anew after each one.
    let revision = std::env::var("SKIFF_REVISION").unwrap_or_default();
    println!("cargo:rustc-env=SKIFF_REVISION={revision}");
    println!("cargo:rerun-if-env-changed=SKIFF_REVISION");
    println!("cargo:rerun-if-changed=build.rs");
}
