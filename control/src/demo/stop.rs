//! How a demo ends before its time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Longest time until a signal is noticed.
const TURN: Duration = Duration::from_millis(20);

/// Set by SIGINT, SIGTERM and SIGHUP, and when nobody reads what is printed.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// One that the signals set from now on.
    pub(super) fn on_signals() -> io::Result<Stop> {
        let stop = Stop::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&stop.0))?;
        }
        Ok(stop)
    }

    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Forgets it.
    pub(super) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error if it is set: what every step of the demo asks before it goes on.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_set() { bail!("interrupted") } else { Ok(()) }
    }

    /// Sleeps for a moment, or less.
    pub(super) fn nap(&self) -> Result<()> {
        self.check()?;
        std::thread::sleep(TURN);
        self.check()
    }
}
