//! `skiff bench scrape`: what scraping the metrics costs an lcore at full load, and that no packet is lost by it.
//!
//! One scrape a second costs less than can be seen, so that the lcore is scraped many times a second and the difference
//! divided by that.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::machine::{Machine, PHASE, median, phase};
use crate::facts::Facts;
use crate::metrics::{Exporter, MAX_SERIES_PER_FAMILY};
use crate::router::Router;

/// Scrapes a second while they are measured.
const RATE: u32 = 50;

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Pages made.
    pub scrapes: u64,
    /// Bytes of one.
    pub page_bytes: usize,
    /// Time of one on the control side, milliseconds, median.
    pub milliseconds_per_scrape: f64,
    /// Scrapes a second while they went on.
    pub scrapes_per_second: f64,
    /// Cycles a packet without scrapes, median.
    pub quiet: f64,
    /// Cycles a packet with them, median.
    pub scraping: f64,
    /// Of the lcore's time, what one scrape a second takes: the difference of both divided by the rate. Below 0 if noise
    /// hides it.
    pub share_of_one_a_second: f64,
    /// Packets forwarded meanwhile.
    pub forwarded: u64,
    /// Packets that came in and were not sent.
    pub lost: i64,
}

/// Forwards for `seconds`, half of them under scrapes. The lcore runs on `cpu`.
///
/// # Errors
/// EAL, the ports or the router could not be set up.
pub fn run(seconds: f64, cpu: Option<u16>) -> Result<Report> {
    let mut machine = Machine::start()?;
    let before = machine.router.shared.ledger();
    let facts = Arc::new(Mutex::new(Facts::default()));
    let source = Arc::clone(&facts);
    let facts_of = move || source.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let exporter = Exporter::new(Arc::clone(&machine.router.shared), facts_of, MAX_SERIES_PER_FAMILY)?;
    let (mut times, mut page_bytes, mut phases) = (Vec::new(), 0, 0u32);
    let samples = machine.while_forwarding(cpu, |router, now| {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        while Instant::now() < end {
            now.store(phase::QUIET, std::sync::atomic::Ordering::Relaxed);
            thread::sleep(PHASE);
            now.store(phase::WORKING, std::sync::atomic::Ordering::Relaxed);
            page_bytes = scrape_for(PHASE, router, &facts, &exporter, &mut times)?;
            phases += 1;
        }
        Ok(())
    })?;
    let after = machine.router.shared.ledger();
    let (quiet, scraping) = (median(samples.quiet), median(samples.working));
    let scrapes = times.len() as u64;
    let scrapes_per_second = scrapes as f64 / (PHASE * phases).as_secs_f64();
    Ok(Report {
        scrapes,
        page_bytes,
        milliseconds_per_scrape: median(times),
        scrapes_per_second,
        quiet,
        scraping,
        share_of_one_a_second: (scraping / quiet - 1.0) / scrapes_per_second,
        forwarded: after.tx - before.tx,
        lost: (after.rx - before.rx) as i64 - (after.tx - before.tx) as i64,
    })
}

/// Makes pages, as the daemon does for a scraper, and notes the milliseconds each took. The length of the last.
fn scrape_for(
    time: Duration,
    router: &Router,
    facts: &Mutex<Facts>,
    exporter: &Exporter,
    times: &mut Vec<f64>,
) -> Result<usize> {
    let end = Instant::now() + time;
    let (mut due, mut bytes) = (Instant::now(), 0);
    while Instant::now() < end {
        let began = Instant::now();
        let picture = router.picture(Facts::default());
        *facts.lock().unwrap_or_else(PoisonError::into_inner) = picture;
        bytes = exporter.page()?.len();
        times.push(began.elapsed().as_secs_f64() * 1e3);
        due += Duration::from_secs(1) / RATE;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(bytes)
}
