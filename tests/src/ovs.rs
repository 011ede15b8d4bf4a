//! Open vSwitch with its datapath in user space, as a switch with daemons, sockets and a database of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::{Outcome, run};
use crate::netns::Netns;
use crate::tempdir::TempDir;

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A running switch. Told to end on drop.
#[derive(Debug)]
pub struct OpenVswitch {
    // In the order they are ended: the switch before its database.
    _switch: Daemon,
    _database: Daemon,
    dir: TempDir,
}

impl OpenVswitch {
    /// Starts the database and the switch inside `netns`.
    ///
    /// # Panics
    /// If they are not installed, or not ready in time.
    #[track_caller]
    pub fn start(netns: &Netns) -> Self {
        let dir = TempDir::new();
        let file = dir.file("conf.db");
        run(Command::new("ovsdb-tool").args(["create", &file, SCHEMA])).ok();
        let socket = dir.file("db.sock");
        let line = format!(
            "ovsdb-server {file} --remote=punix:{socket} --unixctl={} -vconsole:warn",
            dir.file("db.ctl")
        );
        let database = Daemon::start(netns, &line, &dir);
        crate::eventually("ovsdb-server", START_LIMIT, || Path::new(&socket).exists());

        let line = format!("ovs-vswitchd unix:{socket} --unixctl={} -vconsole:warn", dir.file("ovs.ctl"));
        // The kernel sees the frames of a switch's ports too: only the interface that has an address may answer ARP.
        netns.run("sysctl -qw net.ipv4.conf.all.arp_ignore=1");
        let ovs = OpenVswitch { _switch: Daemon::start(netns, &line, &dir), _database: database, dir };
        ovs.vsctl("--no-wait init");
        ovs
    }

    /// Runs `ovs-vsctl LINE`, which waits until the switch has done what it is told.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn vsctl(&self, line: &str) -> String {
        let mut command = Command::new("ovs-vsctl");
        command.arg("--timeout=20").arg(format!("--db=unix:{}", self.dir.file("db.sock")));
        run(command.args(line.split_whitespace())).ok()
    }

    /// Runs `ovs-appctl LINE` against the switch.
    pub fn appctl(&self, line: &str) -> Outcome {
        let mut command = Command::new("ovs-appctl");
        run(command.arg("-t").arg(self.dir.file("ovs.ctl")).args(line.split_whitespace()))
    }
}

/// A process that ends when it is told to, and is killed if it does not.
#[derive(Debug)]
struct Daemon(Child);

impl Daemon {
    #[track_caller]
    fn start(netns: &Netns, line: &str, dir: &TempDir) -> Daemon {
        let mut command = netns.command(line);
        for name in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
            command.env(name, dir.path());
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Daemon(command.spawn().unwrap_or_else(|why| panic!("{line}: {why}")))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        let deadline = Instant::now() + STOP_LIMIT;
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
