//! The Prometheus page.
//!
//! A scrape sums up the cells every lcore writes for itself, and asks the control thread for a picture of the rest
//! ([`Facts`]); no lcore notices. The rules of the names: one prefix, base units, counters end in `_total`, receive and
//! transmit are families of their own, a family's sum means something, what is known in advance is there as 0 from the
//! start, and nothing that strangers can multiply (addresses, flows) is a label.

mod bonds;
mod drops;
mod interfaces;
mod lcores;
mod mib;
mod multicast;
mod netfilter;
mod page;
mod ports;
mod process;
mod tables;
mod tc;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Registry, TextEncoder};
use skiff_dataplane::core::histogram::TimeHistogram;
use skiff_dataplane::core::shared::Shared;

use crate::facts::Facts;
use page::{Listed, Page, families};

/// The `Content-Type` of a page.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;
/// Series a family may have unless configured otherwise.
pub const MAX_SERIES_PER_FAMILY: usize = 2000;

/// Writes pages.
#[derive(Debug)]
pub struct Exporter {
    registry: Registry,
}

impl Exporter {
    /// An exporter that reads the cells of `shared` and calls `facts` for each page. Families are cut down to
    /// `max_series_per_family` series, and say so in `skiff_metrics_series_dropped_total`.
    ///
    /// # Errors
    /// Two families bear the same name, or a name is not one.
    pub fn new<F>(
        shared: Arc<Shared>,
        facts: F,
        max_series_per_family: usize,
    ) -> Result<Self, prometheus::Error>
    where
        F: Fn() -> Facts + Send + Sync + 'static,
    {
        let source = Source {
            shared,
            facts,
            limit: max_series_per_family,
            dropped: Mutex::default(),
            descs: listed().map(describe).collect::<Result<_, _>>()?,
        };
        let registry = Registry::new();
        registry.register(Box::new(source))?;
        Ok(Exporter { registry })
    }

    /// The page, in the text format of [`CONTENT_TYPE`]. Calls the function that gives the facts: whoever holds a lock
    /// that takes lets go of it first.
    ///
    /// # Errors
    /// None is known; the encoder's interface has them.
    pub fn page(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

families! {
    SCRAPE_DURATION: gauge "skiff_scrape_duration_seconds" [] = "Time the daemon took to gather this page.";
    SERIES_DROPPED: counter "skiff_metrics_series_dropped_total" ["family"] =
        "Series left out of pages because the family passed max_series_per_family.";
}

/// The router as a collector: one for all families, so that a page is of one moment.
struct Source<F> {
    shared: Arc<Shared>,
    facts: F,
    limit: usize,
    dropped: Mutex<BTreeMap<&'static str, u64>>,
    descs: Vec<Desc>,
}

impl<F: Fn() -> Facts + Send + Sync> Collector for Source<F> {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let started = Instant::now();
        let mut page = collect(&self.shared, &(self.facts)());
        let cut = page.cut(self.limit);
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        for (family, series) in cut {
            *dropped.entry(family).or_default() += series;
        }
        dropped.iter().for_each(|(family, &series)| page.add(&SERIES_DROPPED, [family], series));
        page.set(&SCRAPE_DURATION, [], started.elapsed().as_secs_f64());
        page.into_families()
    }
}

/// All that is known, but for what the exporter says about itself.
fn collect(shared: &Shared, facts: &Facts) -> Page {
    let (mut page, snapshot) = (Page::default(), shared.snapshot());
    process::collect(&mut page, snapshot.generation, facts);
    ports::collect(&mut page, shared, facts);
    interfaces::collect(&mut page, shared, &snapshot);
    lcores::collect(&mut page, shared, facts);
    drops::collect(&mut page, shared, facts);
    mib::collect(&mut page, shared);
    netfilter::collect(&mut page, shared, facts);
    tables::collect(&mut page, shared, facts);
    multicast::collect(&mut page, &facts.multicast);
    bonds::collect(&mut page, shared, &facts.bonds);
    tc::collect(&mut page, &facts.trees);
    page
}

/// Every family there is.
fn listed() -> impl Iterator<Item = &'static Listed> {
    let groups = [
        ALL,
        process::ALL,
        ports::ALL,
        interfaces::ALL,
        lcores::ALL,
        drops::ALL,
        mib::ALL,
        netfilter::ALL,
        tables::ALL,
        multicast::ALL,
        bonds::ALL,
        tc::ALL,
    ];
    groups.into_iter().flatten()
}

fn describe(&(name, help, labels): &Listed) -> Result<Desc, prometheus::Error> {
    let labels = labels.iter().map(|&label| label.to_owned()).collect();
    Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())
}

fn flag(on: bool) -> f64 {
    if on { 1.0 } else { 0.0 }
}

/// Sets a histogram of durations.
fn duration<const N: usize, const BOUNDS: usize, const FIRST: u64, const DOUBLINGS: u32>(
    page: &mut Page,
    family: &page::Family<N>,
    labels: [&str; N],
    times: &TimeHistogram<BOUNDS, FIRST, DOUBLINGS>,
) {
    let seconds = |bound: Option<Duration>| bound.map_or(f64::INFINITY, |bound| bound.as_secs_f64());
    let buckets = times.buckets().map(|(bound, n)| (seconds(bound), n));
    page.histogram(family, labels, buckets, times.sum().as_secs_f64());
}

/// A number for a label; empty, which is as good as no label, if there is none.
fn number(n: Option<impl std::fmt::Display>) -> String {
    n.map(|n| n.to_string()).unwrap_or_default()
}
