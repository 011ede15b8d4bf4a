//! `skiff config check`: all mistakes at once, each where it stands, for anybody.

use std::process::Command;

use skiff_tests::{Lab, Outcome, TempDir, need_root, run, skiff_binary, skiff_binary_for_anybody};

/// Five mistakes: an unknown key, a wrong type, a bad address, an MTU too small, a bad prefix.
const FIVE_MISTAKES: &str = r#"[system]
lcors = "1"
memory = 256

[interface.lan]
device = "vdev:net_null"
addresses = ["10.0.0.300/24"]

[interface.wan]
device = "vdev:net_null"
addresses = ["10.0.1.1/24"]
mtu = 20

[[route]]
to = "10.9.0.0/33"
via = "10.0.1.9"
"#;

fn check(file: &str) -> Outcome {
    run(Command::new(skiff_binary()).args(["config", "check", file]))
}

#[test]
fn lists_every_mistake_with_its_place() {
    let dir = TempDir::new();
    let file = dir.write("five.toml", FIVE_MISTAKES);

    let checked = check(&file);

    assert_eq!(checked.code, 3, "{checked:?}");
    let places: Vec<&str> = checked
        .err
        .lines()
        .filter_map(|line| line.split_once(&format!("{file}:")))
        .map(|(_, rest)| rest.split(": ").next().unwrap_or_default())
        .collect();
    assert_eq!(places, ["2:1", "3:10", "7:14", "12:7", "15:6"], "{}", checked.err);
    assert!(
        checked.err.lines().next().is_some_and(|line| line.contains("lcores")),
        "the nearest key is named"
    );
}

#[test]
fn needs_no_privilege() {
    need_root();
    let dir = TempDir::new();
    let bad = dir.write("five.toml", FIVE_MISTAKES);
    let good = dir.write("good.toml", &Lab::config());
    let binary = skiff_binary_for_anybody(&dir);

    let as_nobody = |file: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&binary);
        run(command.args(["config", "check", file]))
    };
    assert_eq!(as_nobody(&bad).code, 3);
    let checked = as_nobody(&good);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(checked.out.contains("ok"), "{checked:?}");
}

#[test]
fn a_file_that_is_not_there_is_one_line() {
    let checked = check("/nowhere/skiff.toml");
    assert_eq!(checked.code, 3, "{checked:?}");
    assert_eq!(checked.err.lines().count(), 1, "{checked:?}");
    assert!(checked.err.starts_with("skiff: /nowhere/skiff.toml"), "{checked:?}");
}
