//! `skiff demo`: a router one can watch, made of nothing but this machine.
//!
//! As root it stands between two hosts of network namespaces, and pings and TCP go through it. Without root, or where
//! there are no namespaces, it forwards packets from a capture that never ends. Either way it is `skiff run` itself
//! that runs, and what is shown comes from its API.

mod generated;
mod hosts;
mod job;
mod lab;
mod rates;
mod router;
mod screen;
mod stop;
mod traffic;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::cli::{Demo, Exit, error_line};
use rates::Sample;
use router::Router;
use screen::Screen;
use stop::Stop;

/// How often the table of rates is new.
const PERIOD: Duration = Duration::from_secs(1);

/// `skiff demo`.
pub fn main(args: &Demo) -> ExitCode {
    let stop = match Stop::on_signals().context("signals") {
        Ok(stop) => stop,
        Err(error) => return fail(&error),
    };
    let mut screen = Screen::new(stop.clone());
    let with_hosts = !args.no_hosts && nix::unistd::geteuid().is_root();
    let played = if with_hosts {
        hosts::play(args, &mut screen, &stop)
    } else {
        generated::play(args, &mut screen, &stop)
    };
    match played {
        Ok(()) => Exit::Ok.into(),
        // Whatever else failed then, failed because of it.
        Err(_) if stop.is_set() => fail(&anyhow::anyhow!("interrupted; everything is cleaned up")),
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprint!("{}", error_line("demo", format!("{error:#}")));
    Exit::Failed.into()
}

/// The table of rates while something happens.
struct Live<'r> {
    router: &'r mut Router,
    first: Sample,
    last: Sample,
    next: Instant,
}

impl<'r> Live<'r> {
    /// Starts the table, and its first second.
    fn start(router: &'r mut Router) -> Result<Live<'r>> {
        let first = router.sample()?;
        Ok(Live { router, last: first.clone(), first, next: Instant::now() + PERIOD })
    }

    /// Shows the second that has passed, if one has.
    fn turn(&mut self, screen: &mut Screen) -> Result<()> {
        if Instant::now() < self.next {
            return Ok(());
        }
        self.next += PERIOD;
        let now = self.router.sample()?;
        if self.first == self.last {
            screen.line(rates::header());
        }
        let label = format!("{:.0} s", now.at.saturating_sub(self.first.at).as_secs_f64());
        screen.rows(&rates::rows(&label, &self.last, &now));
        self.last = now;
        Ok(())
    }

    /// Watches for so long.
    fn watch(&mut self, how_long: Duration, screen: &mut Screen, stop: &Stop) -> Result<()> {
        let end = Instant::now() + how_long;
        while Instant::now() < end {
            self.turn(screen)?;
            stop.nap()?;
        }
        self.turn(screen)
    }
}

/// With `--keep`: waits for Ctrl-C, which is then the way to end and no interruption.
fn keep(args: &Demo, screen: &mut Screen, stop: &Stop) {
    if args.keep {
        screen.title("Yours until Ctrl-C.");
        while stop.nap().is_ok() {}
        stop.clear();
    }
}

/// Both outcomes: of what was shown, and of stopping the router.
fn both(seen: Result<()>, stopped: Result<()>) -> Result<()> {
    match (seen, stopped) {
        (Err(seen), Err(stopped)) => Err(anyhow::anyhow!("{seen:#}; {stopped:#}")),
        (seen, stopped) => seen.and(stopped),
    }
}
