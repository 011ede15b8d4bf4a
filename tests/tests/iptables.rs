//! The kernel's iptables as the referee: the same rules go into both, and both say the same of them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use skiff_tests::{Lab, Netns, Skiff, eventually};

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name).display().to_string()
}

/// The lines of a text that are no comments.
fn rules(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

#[track_caller]
fn assert_same(ours: &str, kernels: &str) {
    let (ours, kernels) = (rules(ours), rules(kernels));
    let different = ours.iter().zip(&kernels).find(|(one, other)| one != other);
    assert_eq!(different, None, "the first line that differs");
    assert_eq!(ours.len(), kernels.len());
}

#[test]
fn real_rules_come_out_as_from_the_kernel() {
    let (kernel, host) = (Netns::new("kernel"), Netns::new("skiff"));
    kernel.run(&format!("ipset restore -file {}", fixture("iptables.sets")));
    kernel.run(&format!("iptables-legacy-restore {}", fixture("iptables.rules")));
    let skiff =
        Skiff::start(&host, &format!("{}[interface.lan]\ndevice = \"vdev:net_null0\"\n", Lab::system()));
    skiff.ctl(&format!("ipset restore -file {}", fixture("iptables.sets")));
    skiff.ctl(&format!("iptables-restore {}", fixture("iptables.rules")));

    let saved = skiff.ctl("iptables-save");
    assert!(rules(&saved).len() > 200);
    assert_same(&saved, &kernel.run("iptables-legacy-save"));
    for table in ["filter", "mangle", "raw"] {
        for list in ["-nL --line-numbers", "-nvL", "-nvxL", "-S", "-S -v"] {
            let line = format!("-t {table} {list}");
            assert_same(
                &skiff.ctl(&format!("iptables {line}")),
                &kernel.run(&format!("iptables-legacy {line}")),
            );
        }
    }

    // What was saved is what is there: loading it again changes nothing.
    let file = std::env::temp_dir().join(format!("skiff-iptables-{}.rules", std::process::id()));
    fs::write(&file, skiff.ctl("iptables-save -c")).expect("a file in the temporary directory");
    skiff.ctl(&format!("iptables-restore -c {}", file.display()));
    fs::remove_file(&file).expect("it was there");
    assert_same(&skiff.ctl("iptables-save"), &saved);
    skiff.stop_cleanly();
}

#[test]
fn commands_have_the_exit_codes_of_iptables() {
    let (kernel, host) = (Netns::new("kernel"), Netns::new("skiff"));
    let skiff =
        Skiff::start(&host, &format!("{}[interface.lan]\ndevice = \"vdev:net_null0\"\n", Lab::system()));
    for line in [
        "-N web",
        "-N web",
        "-A web -p tcp --dport 80 -j ACCEPT",
        "-C web -p tcp --dport 80 -j ACCEPT",
        "-C web -p tcp --dport 81 -j ACCEPT",
        "-X web",
        "-A INPUT -j web",
        "-D web 2",
        "-R web 1 -p udp --dport 53",
        "-I web 3 -j DROP",
        "-A INPUT --dport 80",
        "-A INPUT -j nosuch",
        "-A nosuch -j DROP",
        "-A INPUT -j REJECT --reject-with tcp-reset",
        "-P INPUT DROP",
        "-P web DROP",
        "-E web www",
        "-t mangle -A INPUT -j REJECT",
        "-F",
        "-X www",
        "-L www",
    ] {
        let theirs = kernel.try_run(&format!("iptables-legacy {line}"));
        let ours = skiff.try_ctl(&format!("iptables {line}"));
        assert_eq!(ours.code, theirs.code, "{line}\n{}\n{}", ours.err, theirs.err);
        assert_eq!(ours.err.lines().count(), usize::from(ours.code != 0), "{}", ours.err);
    }
    assert_same(&skiff.ctl("iptables -S"), &kernel.run("iptables-legacy -S"));
    let refused = skiff.try_ctl("iptables-restore /nowhere");
    assert_eq!((refused.code, refused.err.lines().count()), (1, 1), "{refused:?}");
    skiff.stop_cleanly();
}

#[test]
fn rules_of_the_file_come_and_go_with_it() {
    let host = Netns::new("skiff");
    let base = format!("{}[interface.lan]\ndevice = \"vdev:net_null0\"\n", Lab::system());
    let with = |rule: &str| {
        format!(
            "{base}[netfilter]\nsets = '''\ncreate web hash:ip\n'''\nrules = '''\n*filter\n-A INPUT {rule}\nCOMMIT\n'''\n"
        )
    };
    let mut skiff = Skiff::start(&host, &with("-m set --match-set web src -j DROP"));
    let shown = |skiff: &Skiff| skiff.ctl("iptables -S INPUT");
    assert_eq!(shown(&skiff), "-P INPUT ACCEPT\n-A INPUT -m set --match-set web src -j DROP\n");
    skiff.ctl("ipset add web 10.0.0.1");
    skiff.ctl("iptables -P INPUT DROP");

    // A file with a mistake changes nothing.
    let reload = |skiff: &Skiff, config: &str| {
        fs::write(skiff.config_path(), config).expect("our own file");
        skiff.signal(Signal::SIGHUP);
    };
    reload(&skiff, &with("--dport 22"));
    eventually("the refusal", Duration::from_secs(10), || {
        skiff.stderr().contains("skiff.toml:16:1: unknown option")
    });
    assert!(skiff.is_running() && shown(&skiff).starts_with("-P INPUT DROP\n"), "{}", skiff.stderr());

    reload(&skiff, &with("-p icmp -j DROP"));
    eventually("the new rules", Duration::from_secs(10), || {
        shown(&skiff) == "-P INPUT ACCEPT\n-A INPUT -p icmp -j DROP\n"
    });
    reload(&skiff, &base);
    eventually("no rules", Duration::from_secs(10), || skiff.ctl("iptables-save").is_empty());
    assert_eq!(skiff.ctl("ipset list"), "");
    skiff.stop_cleanly();
}
