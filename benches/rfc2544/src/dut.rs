//! The router under test, running.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::process::{self, Process, words};
use crate::testpmd::Testpmd;

/// How long a start may take, many routes included.
const START_LIMIT: Duration = Duration::from_secs(60);
/// What skiff prints when it forwards.
const READY: &str = "skiff: ready";

/// A router.
#[derive(Debug)]
pub enum Router {
    /// skiff.
    Skiff(Skiff),
    /// testpmd, which forwards whatever comes.
    Testpmd(Testpmd),
    /// Somebody else's.
    Foreign,
}

impl Router {
    /// Its process, if it is ours.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Router::Skiff(skiff) => Some(skiff.process.pid()),
            Router::Testpmd(testpmd) => Some(testpmd.pid()),
            Router::Foreign => None,
        }
    }

    /// Whether it lives.
    ///
    /// # Errors
    /// With its last words, if it does not.
    pub fn check(&mut self) -> Result<()> {
        match self {
            Router::Skiff(skiff) => skiff.process.check(),
            Router::Testpmd(testpmd) => testpmd.check(),
            Router::Foreign => Ok(()),
        }
    }

    /// Why it dropped packets, in its own words.
    pub fn drops(&self) -> Option<String> {
        match self {
            Router::Skiff(skiff) => skiff.drops(),
            Router::Testpmd(_) | Router::Foreign => None,
        }
    }
}

/// A running skiff.
#[derive(Debug)]
pub struct Skiff {
    process: Process,
    binary: PathBuf,
    socket: PathBuf,
}

impl Skiff {
    /// Starts it with a configuration. `prefix` comes before its command line.
    ///
    /// # Errors
    /// If it is not ready in time, with what it printed.
    pub fn start(binary: &Path, config: &str, prefix: &str, dir: &Path) -> Result<Skiff> {
        ensure!(binary.exists(), "{}: not there: run `make release`, or say --skiff PATH", binary.display());
        let binary = fs::canonicalize(binary)?;
        let (file, socket) = (dir.join("skiff.toml"), dir.join("skiff.sock"));
        fs::write(&file, config).with_context(|| file.display().to_string())?;
        let mut line = words(prefix);
        line.extend(
            [&binary, Path::new("run"), Path::new("-c"), &file, Path::new("--socket"), &socket]
                .map(|word| word.display().to_string()),
        );
        let mut process = Process::start("skiff", &line, &dir.join("skiff.log"))?;
        process.wait_for(0, START_LIMIT, |log| log.lines().any(|line| line == READY))?;
        Ok(Skiff { process, binary, socket })
    }

    fn drops(&self) -> Option<String> {
        let (binary, socket) = (self.binary.to_str()?, self.socket.to_str()?);
        process::run(&[binary, "--socket", socket, "drops"]).ok()
    }
}
