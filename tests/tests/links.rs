//! VLANs and bonds come, change and go while the router runs: by command and by its file.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use skiff_tests::{Lab, Netns, Skiff, eventually};

/// Two ports that go nowhere, and what stands on them.
fn config(uppers: &str) -> String {
    format!(
        "{}\n[interface.p0]\ndevice = \"vdev:net_null0\"\n[interface.p1]\ndevice = \"vdev:net_null1\"\n\
         [interface.p2]\ndevice = \"vdev:net_null2\"\n{uppers}",
        Lab::system()
    )
}

const VLAN: &str = "[interface.\"p0.10\"]\nvlan = { parent = \"p0\", id = 10, egress-qos-map = \"1:2\" }\n\
                    addresses = [\"10.0.10.1/24\"]\n[interface.\"p0.10.7\"]\nvlan = { parent = \"p0.10\", id = 7 }\n\
                    addresses = [\"10.0.7.1/24\"]\n[[route]]\nto = \"10.9.0.0/16\"\nvia = \"10.0.7.2\"\n";
const BOND: &str = "[interface.bond0]\nbond = { mode = \"802.3ad\", members = [\"p1\", \"p2\"] }\n\
                    addresses = [\"10.0.5.1/24\"]\n";

/// The names of links, in `ip -br link`'s order.
fn names(skiff: &Skiff) -> Vec<String> {
    let brief = skiff.ctl("ip -br link");
    brief.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn reload(skiff: &Skiff, config: &str) {
    let applied = || skiff.stdout().matches("skiff: applied").count();
    let before = applied();
    fs::write(skiff.config_path(), config).expect("our own file");
    skiff.signal(Signal::SIGHUP);
    eventually("the new file", Duration::from_secs(20), || applied() > before);
}

#[test]
fn vlans_of_a_file_come_change_and_go() {
    let netns = Netns::new("vlans");
    let skiff = Skiff::start(&netns, &config(VLAN));
    assert_eq!(names(&skiff), ["lo", "p0", "p1", "p2", "p0.10@p0", "p0.10.7@p0.10"]);
    assert!(skiff.ctl("ip route").contains("10.9.0.0/16 via 10.0.7.2 dev p0.10.7"));
    assert!(skiff.ctl("ip -d link show p0.10").contains("egress-qos-map { 1:2 }"));
    assert!(skiff.ctl("vlan show").contains("p0.10.7        | 7  | p0.10\n"));

    // The file changes: another map in place, a VLAN with another identifier, one more, a bond.
    let changed = VLAN.replace("1:2", "3:4").replace("id = 7", "id = 8");
    reload(&skiff, &config(&format!("{changed}{BOND}")));
    let detail = skiff.ctl("ip -d link show p0.10");
    assert!(detail.contains("egress-qos-map { 3:4 }"), "{detail}");
    assert!(skiff.ctl("ip -d link show p0.10.7").contains(" id 8 "));
    assert!(skiff.ctl("ip route").contains("10.9.0.0/16 via 10.0.7.2 dev p0.10.7"));
    assert_eq!(skiff.ctl("ip link show master bond0").matches(" master bond0 ").count(), 2);

    reload(&skiff, &config(BOND).replace("[\"p1\", \"p2\"]", "[\"p2\"]"));
    assert_eq!(names(&skiff), ["lo", "p0", "p1", "p2", "bond0"]);
    assert_eq!(skiff.ctl("ip link show master bond0").matches(" master bond0 ").count(), 1);
    let freed = skiff.ctl("ip link show p1");
    assert!(freed.contains("<BROADCAST,MULTICAST,UP,LOWER_UP>"), "as its own lines say: {freed}");
    assert!(!skiff.ctl("ip route show table all").contains("10.0.7."));
    skiff.stop_cleanly();
}

#[test]
fn links_are_added_and_deleted_by_command() {
    let netns = Netns::new("links");
    let skiff = Skiff::start(&netns, &config(""));
    for command in [
        "ip link add link p0 name v up type vlan id 5",
        "ip addr add 10.0.5.1/24 dev v",
        "ip link add bond0 type bond mode active-backup miimon 100",
        "ip link set p1 down",
        "ip link set p1 master bond0",
        "ip link set v mtu 1400",
    ] {
        skiff.ctl(command);
    }
    let again = skiff.try_ctl("ip link add link p0 name w type vlan id 5");
    assert_eq!(again.err, "skiff: ip link add w: 8021q: VLAN device already exists.\n");
    assert!(skiff.ctl("ip link show p1").contains("SLAVE"));
    assert!(skiff.ctl("ip -d link show bond0").contains("bond mode active-backup"));
    skiff.ctl("ip link set p0 down");
    assert!(!skiff.ctl("ip route").contains("10.0.5.0/24"));
    skiff.ctl("ip link set p0 up");
    assert!(skiff.ctl("ip route").contains("10.0.5.0/24 dev v"));
    skiff.ctl("ip link del v");
    skiff.ctl("ip link del bond0");
    assert_eq!(names(&skiff), ["lo", "p0", "p1", "p2"]);
    assert!(!skiff.ctl("ip link show p1").contains("SLAVE"));
    skiff.stop_cleanly();
}
