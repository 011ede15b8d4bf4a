//! What tcpdump sees on an interface, with the kernel's own times.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::run;
use crate::netns::Netns;
use crate::tempdir::TempDir;

const START_LIMIT: Duration = Duration::from_secs(10);

/// A running tcpdump. Killed on drop.
#[derive(Debug)]
pub struct Capture {
    child: Child,
    dir: TempDir,
}

/// A frame as tcpdump describes it, Ethernet header included.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// When, in seconds.
    pub at: f64,
    /// What.
    pub text: String,
}

impl Capture {
    /// Looks at what comes in by `iface` and matches `filter`.
    ///
    /// # Panics
    /// If tcpdump does not start.
    #[track_caller]
    pub fn start(netns: &Netns, iface: &str, filter: &str) -> Capture {
        let dir = TempDir::new();
        // It would rather not be root, but then it could not write here.
        let line = format!(
            "tcpdump -Z root -Q in -i {iface} -n -U --immediate-mode -B 16384 -w {} {filter}",
            dir.file("pcap")
        );
        let log = fs::File::create(dir.path().join("log")).expect("the directory is ours");
        let mut command = netns.command(&line);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.unwrap_or_else(|why| panic!("{line}: {why}"));
        let capture = Capture { child, dir };
        let log = capture.dir.file("log");
        crate::eventually("tcpdump", START_LIMIT, || {
            fs::read_to_string(&log).is_ok_and(|log| log.contains("listening on"))
        });
        capture
    }

    /// Ends it; what it saw, oldest first.
    ///
    /// # Panics
    /// If it has missed a frame.
    #[track_caller]
    pub fn stop(mut self) -> Vec<Seen> {
        // What has just come in it has to fetch yet.
        std::thread::sleep(Duration::from_millis(200));
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT);
        let _ = self.child.wait();
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        assert!(log.contains("\n0 packets dropped by kernel"), "{log}");
        let text = run(Command::new("tcpdump").args(["-n", "-e", "-tt", "-r", &self.dir.file("pcap")])).ok();
        text.lines().filter_map(parse).collect()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse(line: &str) -> Option<Seen> {
    let (at, text) = line.split_once(' ')?;
    Some(Seen { at: at.parse().ok()?, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line_of_tcpdump() {
        let seen =
            parse("1700000000.250000 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806)").unwrap();
        assert_eq!(seen.at, 1_700_000_000.25);
        assert!(seen.text.starts_with("02:00:00:00:00:01 > "));
        assert_eq!(parse("   (continued)"), None);
    }
}
