//! `[system]`, `[api]` and `[metrics]`.

use std::path::PathBuf;

use super::diag::{At, Fault, Source, quote};
use super::model::{Api, DEFAULT_METRICS, Hugepages, Idle, Lcores, Metrics, System};
use super::section::{Section, Value, narrow};
use super::value::{MAX_CPUS, lcores, listen, size};
use crate::metrics::MAX_SERIES_PER_FAMILY;

/// Reads `[system]`; what it leaves out has its default.
pub(super) fn read_system<'t>(source: &'t Source<'t>, value: &'t Value<'t>) -> System {
    const KEYS: &[&str] = &["lcores", "main-lcore", "memory", "hugepages", "idle", "mbufs"];
    const HUGEPAGES: &[(&str, Hugepages)] =
        &[("prefer", Hugepages::Prefer), ("require", Hugepages::Require), ("off", Hugepages::Off)];
    const IDLE: &[(&str, Idle)] = &[("adaptive", Idle::Adaptive), ("poll", Idle::Poll)];
    const MBUFS: std::ops::RangeInclusive<i64> = 1024..=(1 << 26);

    let default = System::default();
    let Some(section) = Section::of(source, "system", value, KEYS) else { return default };
    let system = System {
        lcores: section.parsed("lcores", lcores).unwrap_or(default.lcores),
        main_lcore: section.integer("main-lcore", 0..=i64::from(MAX_CPUS) - 1).and_then(narrow),
        memory: section.parsed("memory", size).unwrap_or(At::new(default.memory.value, section.pos)),
        hugepages: section.word("hugepages", HUGEPAGES).unwrap_or(default.hugepages),
        idle: section.word("idle", IDLE).unwrap_or(default.idle),
        mbufs: section.integer("mbufs", MBUFS).and_then(narrow),
    };
    if let (Some(main), Lcores::List(workers)) = (&system.main_lcore, &system.lcores.value)
        && workers.contains(main)
    {
        source.report(main.pos, format!("CPU {} is already one of \"lcores\"", main.value));
    }
    system
}

/// Reads `[api]`.
pub(super) fn read_api<'t>(source: &'t Source<'t>, value: &'t Value<'t>) -> Api {
    let Some(section) = Section::of(source, "api", value, &["socket"]) else { return Api::default() };
    Api { socket: section.parsed("socket", socket_path) }
}

/// Reads `[metrics]`.
pub(super) fn read_metrics<'t>(source: &'t Source<'t>, value: &'t Value<'t>) -> Option<Metrics> {
    const KEYS: &[&str] = &["listen", "xstats", "stage-timing", "max-series-per-family"];
    const SERIES: std::ops::RangeInclusive<i64> = 1..=1_000_000;

    let section = Section::of(source, "metrics", value, KEYS)?;
    let listen = match section.get("listen") {
        Some(_) => section.parsed("listen", listen)?,
        None => At::new(listen(DEFAULT_METRICS).ok()?, section.pos),
    };
    let off = At::new(false, section.pos);
    let series = section.integer("max-series-per-family", SERIES).and_then(narrow);
    Some(Metrics {
        listen,
        xstats: section.boolean("xstats").unwrap_or(off),
        stage_timing: section.boolean("stage-timing").unwrap_or(off),
        max_series_per_family: series.unwrap_or(At::new(MAX_SERIES_PER_FAMILY, section.pos)),
    })
}

/// The path of a UNIX socket: absolute, because the daemon's directory is not the user's, and short enough for
/// `sun_path`, which has 108 bytes with the final zero.
fn socket_path(text: &str) -> Result<PathBuf, Fault> {
    const LONGEST: usize = 107;
    if !text.starts_with('/') || text.contains('\0') {
        return Err(format!("{} is not an absolute path", quote(text)).into());
    }
    if text.len() > LONGEST {
        return Err(format!("{}: the path of a socket has at most {LONGEST} bytes", quote(text)).into());
    }
    Ok(PathBuf::from(text))
}
