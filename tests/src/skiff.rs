//! The router under test, as a process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::command::{Outcome, run};
use crate::lab::METRICS_ADDR;
use crate::metrics::{Ledger, Metrics};
use crate::netns::Netns;
use crate::tempdir::TempDir;

/// How long a start may take: EAL, and every port's link.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// What makes a command run as an ordinary user with no privilege left.
const NOBODY: &str = "setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all";

/// The binary under test: `$SKIFF_BIN`, else the one built with the same profile as this test.
///
/// # Panics
/// If there is none.
#[track_caller]
pub fn skiff_binary() -> PathBuf {
    let path = match std::env::var_os("SKIFF_BIN") {
        Some(path) => PathBuf::from(path),
        // PROFILE/deps/TEST-HASH
        None => {
            let test = std::env::current_exe().expect("a running program has a path");
            test.ancestors().nth(2).expect("cargo puts tests two below the profile").join("skiff")
        }
    };
    assert!(
        path.exists(),
        "{}: not there: run `cargo build -p skiff-control`, or set SKIFF_BIN",
        path.display()
    );
    path
}

/// A copy of the binary that any user may reach.
///
/// # Panics
/// If it cannot be copied.
#[track_caller]
pub fn skiff_binary_for_anybody(dir: &TempDir) -> PathBuf {
    let copy = dir.path().join("skiff");
    fs::copy(skiff_binary(), &copy).unwrap_or_else(|why| panic!("{}: {why}", copy.display()));
    copy
}

/// A running `skiff run`. Killed on drop; [`Skiff::stop`] is the kind way.
#[derive(Debug)]
pub struct Skiff {
    child: Child,
    dir: TempDir,
    netns: String,
}

/// What a router that was told to stop left behind.
#[derive(Debug)]
pub struct Stopped {
    /// How it ended.
    pub status: ExitStatus,
    /// Everything it printed, standard output first.
    pub log: String,
}

impl Skiff {
    /// Starts the router inside `netns` and waits until it says it is ready.
    ///
    /// # Panics
    /// If it ends or is not ready in time, with what it printed.
    #[track_caller]
    pub fn start(netns: &Netns, config: &str) -> Self {
        Self::start_as(netns, "", config)
    }

    /// The same, as an ordinary user without any privilege.
    #[track_caller]
    pub fn start_unprivileged(netns: &Netns, config: &str) -> Self {
        Self::start_as(netns, NOBODY, config)
    }

    /// Runs one `skiff` command to its end as an ordinary user without any privilege.
    #[track_caller]
    pub fn run_unprivileged(netns: &Netns, args: &str) -> Outcome {
        let dir = TempDir::new();
        netns.try_run(&format!("{NOBODY} {} {args}", skiff_binary_for_anybody(&dir).display()))
    }

    /// The same with `prefix` before the command line.
    #[track_caller]
    fn start_as(netns: &Netns, prefix: &str, config: &str) -> Self {
        let mut skiff = Self::spawn(netns, prefix, config);
        let deadline = Instant::now() + START_LIMIT;
        while !skiff.stdout().lines().any(|line| line == "skiff: ready") {
            if let Some(status) = skiff.child.try_wait().expect("our own child") {
                panic!("skiff ended before it was ready: {status}");
            }
            assert!(Instant::now() < deadline, "skiff was not ready within {START_LIMIT:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        skiff
    }

    #[track_caller]
    fn spawn(netns: &Netns, prefix: &str, config: &str) -> Self {
        let dir = TempDir::new();
        let config = dir.write("skiff.toml", config);
        let socket = dir.file("skiff.sock");
        // Where it was built others may not look.
        let binary = if prefix.is_empty() { skiff_binary() } else { skiff_binary_for_anybody(&dir) };
        let line = format!("{prefix} {} run -c {config} --socket {socket}", binary.display());
        let log = |name: &str| File::create(dir.path().join(name)).expect("the directory is ours");
        // `ip netns exec` and setpriv become the program they start, so the child's PID is the router's.
        let child = netns
            .command(&line)
            .stdin(Stdio::null())
            .stdout(log("stdout"))
            .stderr(log("stderr"))
            .spawn()
            .unwrap_or_else(|why| panic!("{line}: {why}"));
        Skiff { child, dir, netns: netns.name().to_owned() }
    }

    /// Runs `skiff LINE` against this router.
    #[track_caller]
    pub fn try_ctl(&self, line: &str) -> Outcome {
        let mut command = Command::new(skiff_binary());
        run(command.arg("--socket").arg(self.socket()).args(line.split_whitespace()))
    }

    /// Runs `skiff LINE` against this router, which has to succeed, and returns what it printed.
    ///
    /// # Panics
    /// If the command fails.
    #[track_caller]
    pub fn ctl(&self, line: &str) -> String {
        let outcome = self.try_ctl(line);
        assert_eq!(outcome.code, 0, "skiff {line}\nstdout: {}\nstderr: {}", outcome.out, outcome.err);
        outcome.out
    }

    /// The same for a command that prints JSON.
    #[track_caller]
    pub fn json(&self, line: &str) -> Value {
        let text = self.ctl(line);
        serde_json::from_str(&text).unwrap_or_else(|why| panic!("skiff {line}: {why} in {text}"))
    }

    /// Reads the metrics page.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        Metrics::fetch(&self.netns, METRICS_ADDR)
    }

    /// The file the router was started with.
    pub fn config_path(&self) -> String {
        self.dir.file("skiff.toml")
    }

    /// The router's API socket.
    pub fn socket(&self) -> String {
        self.dir.file("skiff.sock")
    }

    /// The router's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(self.nix_pid(), signal).expect("the router runs");
    }

    /// True while the process has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_none()
    }

    /// Standard output so far.
    pub fn stdout(&self) -> String {
        read_log(self.dir.path(), "stdout")
    }

    /// Standard error so far.
    pub fn stderr(&self) -> String {
        read_log(self.dir.path(), "stderr")
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    /// If it takes too long.
    #[track_caller]
    pub fn stop(mut self) -> Stopped {
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + STOP_LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return Stopped { status, log: self.log() };
            }
            assert!(Instant::now() < deadline, "skiff did not stop within {STOP_LIMIT:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops the router and returns its closing balance.
    ///
    /// # Panics
    /// Unless it exits with 0, has accounted for every packet, and has every buffer back in its pool.
    #[track_caller]
    pub fn stop_cleanly(self) -> Ledger {
        let Stopped { status, log } = self.stop();
        assert_eq!(status.code(), Some(0), "{log}");
        let (ledger, full) = closing_line(&log).unwrap_or_else(|| panic!("no closing balance: {log}"));
        assert_eq!((ledger.imbalance(), ledger.held, full), (0, 0, true), "{log}");
        ledger
    }

    fn log(&self) -> String {
        self.stdout() + &self.stderr()
    }

    fn nix_pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }
}

impl Drop for Skiff {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- skiff printed:\n{}----", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_log(dir: &Path, name: &str) -> String {
    String::from_utf8_lossy(&fs::read(dir.join(name)).unwrap_or_default()).into_owned()
}

/// Reads `skiff: stopped: rx 9 + created 1 = tx 8 + dropped 1 + delivered 1 + held 0; pools full`: the balance, and
/// whether every buffer is back.
fn closing_line(log: &str) -> Option<(Ledger, bool)> {
    let line = log.lines().rev().find_map(|line| line.strip_prefix("skiff: stopped: "))?;
    let (balance, pools) = line.split_once("; ")?;
    let numbers: Vec<u64> = balance.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let &[rx, created, tx, dropped, delivered, held] = numbers.as_slice() else {
        return None;
    };
    Some((Ledger { rx, created, tx, dropped, delivered, held }, pools == "pools full"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_closing_balance() {
        let log = "skiff: ready\nskiff: stopped: rx 9 + created 1 = tx 7 + dropped 2 + delivered 1 + held 0; \
                   3 of 5120 mbufs missing\n";
        let ledger = Ledger { rx: 9, created: 1, tx: 7, dropped: 2, delivered: 1, held: 0 };
        assert_eq!(closing_line(log), Some((ledger, false)));
        assert_eq!(ledger.imbalance(), 0);
        let whole = log.replace("3 of 5120 mbufs missing", "pools full");
        assert_eq!(closing_line(&whole), Some((ledger, true)));
        assert_eq!(closing_line("skiff: ready\n"), None);
    }
}
