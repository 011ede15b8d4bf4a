//! Programs the demo runs. Each has a process group of its own, so that Ctrl-C reaches the demo alone and it can end
//! them in the right order; none outlives its [`Job`].

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::stop::Stop;

/// How long a program gets to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// Programs and the Debian packages they are in.
const PACKAGES: &[(&str, &str)] = &[("ip", "iproute2"), ("ping", "iputils-ping"), ("ethtool", "ethtool")];

/// Whether a program is on the path.
pub(super) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| {
        std::fs::metadata(dir.join(program))
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })
}

/// Checks that all programs are there.
///
/// # Errors
/// Names the first that is not, and its package.
pub(super) fn need(programs: &[&str]) -> Result<()> {
    if let Some(program) = programs.iter().find(|program| !is_installed(program)) {
        let package =
            PACKAGES.iter().find(|(name, _)| name == program).map_or(*program, |(_, package)| package);
        bail!("needs `{program}`: apt-get install {package}");
    }
    Ok(())
}

/// A command of these words, the program's name first; without input.
pub(super) fn command<S: AsRef<str>>(words: &[S]) -> Command {
    let mut words = words.iter().map(AsRef::as_ref);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).stdin(Stdio::null()).process_group(0);
    command
}

/// Runs a short command to its end.
///
/// # Errors
/// If it fails, with what it said.
pub(super) fn run(line: &str) -> Result<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = command(&words).output().with_context(|| format!("cannot run `{line}`"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed: {}", last_line(&why));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn last_line(text: &str) -> &str {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim()
}

/// A program that is running.
pub(super) struct Job {
    name: String,
    child: Child,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
    /// SIGTERM was not enough.
    killed: bool,
}

impl Job {
    /// Starts one; `name` is for messages.
    pub(super) fn start(name: &str, mut command: Command) -> Result<Job> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let stderr = child.stderr.take().map(|mut stderr| {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                let _ = stderr.read_to_end(&mut text);
                String::from_utf8_lossy(&text).into_owned()
            })
        });
        Ok(Job { name: name.to_owned(), child, lines, stderr, killed: false })
    }

    /// Waits for a line of its output that holds `word`.
    ///
    /// # Errors
    /// If it ends before, or does not say it within `limit`; [`Stop`].
    pub(super) fn wait_for(&mut self, word: &str, limit: Duration, stop: &Stop) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            match self.lines.try_recv() {
                Ok(line) if line.contains(word) => return Ok(()),
                Ok(_) => {}
                Err(TryRecvError::Disconnected) => {
                    let why = self.last_words();
                    bail!("{} ended: {why}", self.name)
                }
                Err(TryRecvError::Empty) if Instant::now() > end => {
                    bail!("{} did not say \"{word}\" within {} s", self.name, limit.as_secs())
                }
                Err(TryRecvError::Empty) => stop.nap()?,
            }
        }
    }

    /// Waits for its end, hands each line of its output to `line` and calls `turn` in between.
    ///
    /// # Errors
    /// If it takes longer than `limit`; what `turn` says; [`Stop`].
    pub(super) fn finish(
        &mut self,
        limit: Duration,
        stop: &Stop,
        mut line: impl FnMut(String),
        mut turn: impl FnMut() -> Result<()>,
    ) -> Result<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            match self.lines.try_recv() {
                Ok(text) => line(text),
                Err(TryRecvError::Disconnected) => return Ok(self.child.wait()?),
                Err(TryRecvError::Empty) if Instant::now() > end => {
                    bail!("{} took longer than {} s", self.name, limit.as_secs())
                }
                Err(TryRecvError::Empty) => {
                    turn()?;
                    stop.nap()?;
                }
            }
        }
    }

    /// Its process ID.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is still running.
    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it with SIGTERM; the rest of its output, and how it ended (`None`: it had to be killed).
    pub(super) fn terminate(mut self) -> (Vec<String>, Option<ExitStatus>) {
        self.end();
        let status = self.child.try_wait().ok().flatten().filter(|_| !self.killed);
        (self.lines.iter().collect(), status)
    }

    /// The last line it said on standard error; ends it if need be.
    pub(super) fn last_words(&mut self) -> String {
        self.end();
        let text = self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        last_line(&text).to_owned()
    }

    fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// SIGTERM, some time to act on it, and SIGKILL if that was not enough.
    fn end(&mut self) {
        if self.is_running() {
            self.signal(Signal::SIGTERM);
        }
        let end = Instant::now() + GRACE;
        while self.is_running() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.is_running() {
            self.killed = true;
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.end();
    }
}

/// The words as one would type them in a shell; they hold no quotes.
pub(super) fn typed(words: &[String]) -> String {
    words.join(" ")
}
