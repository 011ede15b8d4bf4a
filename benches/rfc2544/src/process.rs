//! Programs this one starts, and how they end.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::interrupt;

/// How long a program may take to end before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How often a program's output is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Lines of a log that an error shows.
const LAST_LINES: usize = 15;

/// A running program. Told to stop on drop, and killed if it does not.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program with its output in a file. It dies with this one, however that ends.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(name: &str, line: &[String], log: &Path) -> Result<Process> {
        let file = File::create(log).with_context(|| log.display().to_string())?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).args(line);
        // Ctrl-C is for this program, which then stops its children in order.
        command.process_group(0).stdin(Stdio::piped()).stderr(file.try_clone()?).stdout(file);
        let child = command.spawn().with_context(|| format!("cannot start {}", line.join(" ")))?;
        Ok(Process { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input.
    ///
    /// # Errors
    /// If it is closed.
    pub fn stdin(&mut self) -> Result<&mut ChildStdin> {
        self.child.stdin.as_mut().context("standard input is closed")
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until `is_there` is true of what it printed from byte `from` on, and returns that.
    ///
    /// # Errors
    /// If it ends before, if that takes longer than `limit`, or if the user interrupts.
    pub fn wait_for(
        &mut self,
        from: usize,
        limit: Duration,
        is_there: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            interrupt::check()?;
            let log = self.log();
            let news = log.get(from..).unwrap_or_default();
            if is_there(news) {
                return Ok(news.to_owned());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} has ended ({status}):\n{}", self.name, last_lines(&log));
            }
            if Instant::now() > deadline {
                bail!("{} did not answer within {limit:?}:\n{}", self.name, last_lines(&log));
            }
            thread::sleep(LOOK);
        }
    }

    /// Still running?
    ///
    /// # Errors
    /// With its last words, if not.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended ({status}):\n{}", self.name, last_lines(&self.log())),
        }
    }

    /// To it and to what it has started: trafgen leaves its workers behind.
    fn signal(&self, signal: Signal) {
        // They may be gone already.
        let _ = killpg(Pid::from_raw(self.child.id() as i32), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // testpmd, of which standard input is its prompt, ends with it or with the signal.
        drop(self.child.stdin.take());
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + STOP_LIMIT;
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > deadline {
                self.signal(Signal::SIGKILL);
                let _ = self.child.wait();
                return;
            }
            thread::sleep(LOOK);
        }
    }
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// If it fails, with what it said.
pub fn run(line: &[&str]) -> Result<String> {
    let (program, args) = line.split_first().context("an empty command")?;
    let output =
        Command::new(program).args(args).output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("{}: {}", line.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The words of a line.
pub fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_ends_too_early_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let line = ["sh", "-c", "echo oh dear; exit 3"].map(str::to_owned);
        let mut process = Process::start("the shell", &line, &dir.path().join("log")).unwrap();
        let why = process.wait_for(0, Duration::from_secs(60), |log| log.contains("ready")).unwrap_err();
        assert!(why.to_string().contains("the shell has ended"), "{why}");
        assert!(why.to_string().contains("oh dear"), "{why}");
    }

    #[test]
    fn what_it_has_started_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let line = ["sh", "-c", "sleep 1000 & echo $!; trap '' TERM; wait; wait"].map(str::to_owned);
        let mut process = Process::start("the shell", &line, &dir.path().join("log")).unwrap();
        let child = process.wait_for(0, Duration::from_secs(60), |log| log.ends_with('\n')).unwrap();
        drop(process);
        let state = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{state}");
    }

    #[test]
    fn failures_say_what_failed() {
        assert_eq!(run(&["echo", "a", "b"]).unwrap(), "a b\n");
        assert!(run(&["ls", "/nowhere/at/all"]).unwrap_err().to_string().contains("/nowhere/at/all"));
        assert!(run(&[]).is_err());
    }
}
