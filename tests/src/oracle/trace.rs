//! Why the kernel freed packets: its `skb:kfree_skb` tracepoint, read in a trace instance of our own.
//!
//! The tracepoint tells neither the device nor the namespace, and the whole machine writes to it. What tells our packets
//! from others is who sent them: a frame put on a virtual wire is received, routed and dropped within the system call
//! that sent it, so by our own thread. Reasons that come of a timer are taken from every thread.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::OFlag;

use crate::command::run;
use crate::tempdir::TempDir;

/// Reasons that timers have.
const LATE: [&str; 4] = ["NEIGH_FAILED", "FRAG_REASM_TIMEOUT", "NEIGH_QUEUEFULL", "NEIGH_DEAD"];

/// Drops as they happen.
#[derive(Debug)]
pub struct DropTrace {
    instance: PathBuf,
    pipe: File,
    thread: String,
    /// Where the file system was mounted for this, if it was not there.
    mounted: Option<TempDir>,
}

impl DropTrace {
    /// Starts to look at what this thread drops. `None` where the kernel has no such tracepoint.
    pub fn start() -> Option<DropTrace> {
        let usual = Path::new("/sys/kernel/tracing");
        let (root, mounted) = match usual.join("instances").exists() {
            true => (usual.to_owned(), None),
            false => {
                let dir = TempDir::new();
                let path = dir.path().to_owned();
                let mount = run(Command::new("mount").args(["-t", "tracefs", "none"]).arg(&path));
                if mount.code != 0 {
                    return None;
                }
                (path, Some(dir))
            }
        };
        let instance = root.join("instances").join(format!("skt-{}", std::process::id()));
        fs::create_dir(&instance).ok()?;
        fs::write(instance.join("events/skb/kfree_skb/enable"), "1").ok()?;
        let mut options = OpenOptions::new();
        let pipe =
            options.read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(instance.join("trace_pipe"));
        Some(DropTrace { instance, pipe: pipe.ok()?, thread: nix::unistd::gettid().to_string(), mounted })
    }

    /// The reasons since the last call, in lower case.
    pub fn take(&mut self) -> Vec<String> {
        let mut text = Vec::new();
        let mut buffer = [0; 65536];
        loop {
            match self.pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => text.extend(&buffer[..n]),
                Err(why) if why.kind() == ErrorKind::WouldBlock => break,
                Err(why) => panic!("{}: {why}", self.instance.display()),
            }
        }
        let text = String::from_utf8_lossy(&text);
        text.lines().filter_map(|line| self.reason(line)).collect()
    }

    /// Reads `comm-TID [CPU] flags time: kfree_skb: skbaddr=... location=... reason: WORD`.
    fn reason(&self, line: &str) -> Option<String> {
        let (head, reason) = line.split_once(" reason: ")?;
        let (task, _) = head.split_once(" [")?;
        let (_, thread) = task.trim_end().rsplit_once('-')?;
        let reason = reason.trim();
        // What the hosts' ends and skiff's wires do to keep frames from the kernel.
        let ours = thread == self.thread && reason != "NETFILTER_DROP";
        (ours || LATE.contains(&reason)).then(|| reason.to_ascii_lowercase())
    }
}

impl Drop for DropTrace {
    fn drop(&mut self) {
        let _ = fs::write(self.instance.join("events/skb/kfree_skb/enable"), "0");
        // An instance in use cannot go: the pipe is closed first.
        if let Ok(null) = File::open("/dev/null") {
            self.pipe = null;
        }
        let _ = fs::remove_dir(&self.instance);
        if let Some(dir) = &self.mounted {
            let _ = Command::new("umount").arg(dir.path()).status();
        }
    }
}
