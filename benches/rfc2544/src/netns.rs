//! Two network namespaces and two veth pairs between them: the cables of `--link af_packet`.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns};

use crate::process::run;

/// Where `ip netns` keeps the namespaces it knows by name.
const NETNS_DIR: &str = "/run/netns";
/// Names start with this and the process that made them, so that what a killed run left behind can be told.
const PREFIX: &str = "rfc2544";

/// The generator's ends of the cables.
pub const GENERATOR_PORTS: [&str; 2] = ["ga", "gb"];
/// The router's ends.
pub const ROUTER_PORTS: [&str; 2] = ["ra", "rb"];

/// The namespaces, deleted with all that is in them on drop.
#[derive(Debug)]
pub struct Cables {
    generator: String,
    router: String,
}

impl Cables {
    /// Makes them, and moves the calling thread, which must be the only one so far, to the generator's side.
    ///
    /// # Errors
    /// If not root, or if the kernel or a tool refuses.
    pub fn lay() -> Result<Cables> {
        ensure!(nix::unistd::geteuid().is_root(), "network namespaces need root");
        delete_leftovers();
        let name = |side| format!("{PREFIX}-{}-{side}", std::process::id());
        let cables = Cables { generator: name("generator"), router: name("router") };
        for netns in [&cables.generator, &cables.router] {
            run(&["ip", "netns", "add", netns])?;
            let quiet = ["net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"];
            run(&["ip", "netns", "exec", netns, "sysctl", "-qw", quiet[0], quiet[1]])?;
        }
        for (port, peer) in GENERATOR_PORTS.into_iter().zip(ROUTER_PORTS) {
            let ends =
                ["link", "add", port, "netns", &cables.generator, "type", "veth", "peer", "name", peer];
            run(&[&["ip"], &ends[..], &["netns", &cables.router]].concat())?;
            bring_up(&cables.generator, port)?;
            bring_up(&cables.router, peer)?;
        }
        let path = Path::new(NETNS_DIR).join(&cables.generator);
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        setns(file, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")?;
        Ok(cables)
    }

    /// The namespace for the router.
    pub fn router(&self) -> &str {
        &self.router
    }
}

impl Drop for Cables {
    fn drop(&mut self) {
        for netns in [&self.router, &self.generator] {
            let _ = run(&["ip", "netns", "del", netns]);
        }
    }
}

/// Keeps the kernel of the namespace, which has no use for them, from working on the frames; a packet socket sees them
/// first.
fn bring_up(netns: &str, port: &str) -> Result<()> {
    let chain = format!("{{ type filter hook ingress device {port} priority -500 ; policy drop ; }}");
    for line in [
        &["ip", "link", "set", port, "up"][..],
        &["nft", "add", "table", "netdev", "hidden"],
        &["nft", "add", "chain", "netdev", "hidden", port, &chain],
    ] {
        run(&[&["ip", "netns", "exec", netns], line].concat())?;
    }
    Ok(())
}

/// What a run that was killed left behind.
fn delete_leftovers() {
    let Ok(entries) = fs::read_dir(NETNS_DIR) else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let mut parts = name.split('-');
        if let (Some(PREFIX), Some(pid)) = (parts.next(), parts.next())
            && !Path::new("/proc").join(pid).exists()
        {
            let _ = run(&["ip", "netns", "del", &name]);
        }
    }
}
