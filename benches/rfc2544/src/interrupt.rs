//! Ctrl-C ends a run in order: the router is stopped and the namespaces go. A second one ends it at once.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Catches SIGINT, SIGTERM and SIGHUP from now on.
///
/// # Errors
/// If the kernel refuses.
pub fn install() -> Result<()> {
    let asked = ASKED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register_conditional_shutdown(signal, 130, asked.clone())?;
        flag::register(signal, asked.clone())?;
    }
    Ok(())
}

/// Whether the user has asked to stop.
pub fn asked() -> bool {
    ASKED.get().is_some_and(|asked| asked.load(Ordering::Relaxed))
}

/// Goes on only if the user has not asked to stop.
///
/// # Errors
/// If so.
pub fn check() -> Result<()> {
    ensure!(!asked(), "interrupted");
    Ok(())
}

/// Waits, but not for a user who has asked to stop.
///
/// # Errors
/// If so.
pub fn sleep(duration: Duration) -> Result<()> {
    let end = Instant::now() + duration;
    loop {
        check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(Duration::from_millis(50)));
    }
}
