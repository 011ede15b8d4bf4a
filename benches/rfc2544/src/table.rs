//! A report for people.

use std::fmt::Write as _;

use crate::bench::{SizeReport, Throughput};
use crate::cli::{Dut, Source};
use crate::report::Report;
use crate::search::{Found, LimitedBy};
use crate::trial::{Trial, gbps};

/// The CPU share of a thread that has its CPU to itself, but for the kernel's own work.
const ENOUGH_CPU: f64 = 0.95;

/// The report as text.
pub fn text(report: &Report) -> String {
    let mut out = heading(report);
    throughput(&mut out, report);
    curve(&mut out, &report.sizes);
    latency(&mut out, &report.sizes);
    conditions(&mut out, &report.sizes);
    if let Some(drops) = &report.dut_drops {
        let _ = writeln!(
            out,
            "\nwhat the router says it dropped, all trials and overload together\n{}",
            drops.trim_end()
        );
    }
    out
}

/// What was measured, in one line.
pub fn title(report: &Report) -> String {
    let args = &report.arguments;
    let dut = match args.dut {
        Dut::Skiff => "skiff",
        Dut::Testpmd => "testpmd",
        Dut::None => "the router",
    };
    let generator = match args.generator {
        Source::Own => "own generator",
        Source::Testpmd => "testpmd as generator",
        Source::Trafgen => "trafgen",
    };
    let link = match args.dut {
        Dut::None => "its ports".to_owned(),
        _ => serde_json::to_value(args.link)
            .ok()
            .and_then(|link| Some(link.as_str()?.to_owned()))
            .unwrap_or_default(),
    };
    let directions = if args.bidirectional { "both directions, rates of each" } else { "one direction" };
    let vlan = args.vlan.map_or_else(String::new, |id| format!(", VLAN {id}"));
    format!(
        "{dut} over {link}, {generator}, {directions}, flows {}, routes {}{vlan}, trials of {} s",
        args.flows, args.routes, args.trial
    )
}

/// Where it was measured, in one line.
pub fn place(report: &Report) -> String {
    let machine = &report.machine;
    let pages = match machine.generator_uses_hugepages {
        Some(true) => "hugepages",
        Some(false) => "no hugepages",
        None => "memory of another program",
    };
    format!(
        "{}, {} CPUs, TSC {:.0} MHz, {pages}, kernel {}, {}, {}; load {} before, {} after",
        machine.cpu,
        machine.cpus,
        machine.tsc_mhz,
        machine.kernel,
        machine.dpdk,
        machine.dut,
        machine.load_before,
        report.load_after
    )
}

fn heading(report: &Report) -> String {
    format!("rfc2544: {}\n{}\n", title(report), place(report))
}

fn throughput(out: &mut String, report: &Report) {
    let pdr = report.arguments.pdr;
    let _ = writeln!(out, "\nthroughput, Mpps of each direction (Gbit/s with FCS, without preamble and gap)");
    let _ = writeln!(
        out,
        "{:>5} | {:>8} {:>6} | {:>17} | {:>17} {:>7} | {:>17} {:>7} | ended by",
        "size",
        "flood",
        "lost",
        "NDR, strict",
        "NDR",
        "retried",
        format!("PDR {pdr} %"),
        "retried"
    );
    for size in &report.sizes {
        let flood = format!("{:>8.3} {:>5.1}%", size.flood.offered_pps() / 1e6, size.flood.loss() * 100.0);
        let Some(found) = &size.throughput else {
            let _ = writeln!(
                out,
                "{:>5} | {flood} | received {}: the generator knows only full speed",
                size.size,
                rate(size.flood.received_pps(), size.size)
            );
            continue;
        };
        let _ = writeln!(
            out,
            "{:>5} | {flood} | {:>17} | {:>17} {:>7} | {:>17} {:>7} | {}",
            size.size,
            found_rate(found.ndr_strict, size.size),
            found_rate(found.ndr, size.size),
            found.ndr_retried,
            found_rate(found.pdr, size.size),
            found.pdr_retried,
            ended_by(found)
        );
    }
}

fn found_rate(found: Found, size: usize) -> String {
    rate(found.pps, size)
}

fn rate(pps: f64, size: usize) -> String {
    format!("{:.3} ({:.3})", pps / 1e6, gbps(pps, size))
}

/// What ended the search of the PDR, the last.
fn ended_by(found: &Throughput) -> &'static str {
    match found.pdr.limited_by {
        LimitedBy::Loss => "loss",
        LimitedBy::Generator => "generator: at least this",
        LimitedBy::Ceiling => "highest rate: at least this",
    }
}

fn curve(out: &mut String, sizes: &[SizeReport]) {
    if sizes.iter().all(|size| size.curve.is_empty()) {
        return;
    }
    let _ = writeln!(out, "\nloss, per cent at per cent of the highest rate (* the generator fell short)");
    for size in sizes {
        let steps: Vec<String> = size.curve.iter().map(|trial| step(trial, size.ceiling_pps)).collect();
        let _ =
            writeln!(out, "{:>5} | of {:.3} Mpps | {}", size.size, size.ceiling_pps / 1e6, steps.join("  "));
    }
}

fn step(trial: &Trial, ceiling: f64) -> String {
    let share = trial.target_pps.unwrap_or(0.0) / ceiling * 100.0;
    let short = if trial.is_generator_bound() { "*" } else { "" };
    format!("{share:.0}: {:.3}{short}", trial.loss() * 100.0)
}

fn latency(out: &mut String, sizes: &[SizeReport]) {
    if sizes.iter().all(|size| size.latency.is_empty()) {
        return;
    }
    let _ = writeln!(out, "\nlatency, us, at a share of the NDR");
    let _ = writeln!(
        out,
        "{:>5} | {:>5} {:>8} | {:>8} {:>8} {:>8} {:>9} {:>9} | {:>6} {:>9}",
        "size", "share", "Mpps", "min", "p50", "p99", "p99.9", "max", "lost", "reordered"
    );
    for (size, point) in sizes.iter().flat_map(|size| size.latency.iter().map(move |point| (size, point))) {
        let (trial, latency) = (&point.trial, point.trial.latency.unwrap_or_default());
        let _ = writeln!(
            out,
            "{:>5} | {:>4.0}% {:>8.3} | {:>8.1} {:>8.1} {:>8.1} {:>9.1} {:>9.1} | {:>6} {:>9}",
            size.size,
            point.share * 100.0,
            trial.offered_pps() / 1e6,
            latency.min_us,
            latency.p50_us,
            latency.p99_us,
            latency.p999_us,
            latency.max_us,
            trial.lost(),
            trial.reordered.unwrap_or(0)
        );
    }
}

/// Who else had the CPUs: without this no figure can be believed.
fn conditions(out: &mut String, sizes: &[SizeReport]) {
    let trials = || sizes.iter().flat_map(|size| size.trials.iter().chain(&size.curve).chain([&size.flood]));
    let least = |of: fn(&Trial) -> Option<f64>| trials().filter_map(of).min_by(f64::total_cmp);
    let most = |of: fn(&Trial) -> Option<f64>| trials().filter_map(of).max_by(f64::total_cmp);
    let share = |least: Option<f64>| {
        least.map_or_else(|| "unknown".into(), |share| format!("{:.1} %", share * 100.0))
    };
    let us = |us: Option<f64>| us.map_or_else(|| "unknown".into(), |us| format!("{us:.0} us"));
    let bound = trials().filter(|trial| trial.is_generator_bound()).count();
    let _ = writeln!(
        out,
        "\n{} trials, {bound} generator-bound; least CPU share of the generator {}, of the router {}; the generator was away \
         for {} at most; load up to {:.1}",
        trials().count(),
        share(least(|trial| trial.generator_cpu)),
        share(least(|trial| trial.dut_cpu)),
        us(most(|trial| trial.longest_gap_us)),
        most(|trial| trial.load).unwrap_or(0.0)
    );
    let worst = least(|trial| trial.generator_cpu)
        .into_iter()
        .chain(least(|trial| trial.dut_cpu))
        .fold(1.0, f64::min);
    if worst < ENOUGH_CPU {
        let _ = writeln!(
            out,
            "warning: others had the CPUs: these are figures of a busy machine, not of the router"
        );
    }
    let odd = |of: fn(&Trial) -> Option<u64>| trials().filter_map(of).sum::<u64>();
    let (reordered, duplicates) = (odd(|trial| trial.reordered), odd(|trial| trial.duplicates));
    if reordered + duplicates > 0 {
        let _ = writeln!(out, "{reordered} frames out of order, {duplicates} twice");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_table_has_every_figure() {
        let text = text(&sample());
        for part in [
            "skiff over memif, own generator, one direction, flows 1, routes 1, trials of 2 s",
            "   64 |    1.100   9.1% |     1.000 (0.512) |     1.050 (0.538)       1 |     1.100 (0.563)       0 | loss",
            "   64 | of 1.210 Mpps | 100: 9.091*  50: 0.000",
            "   64 |   50%    0.500 |      1.0      2.0      3.0       4.0       5.0 |      0         0",
            "least CPU share of the generator 98.0 %, of the router 97.0 %; the generator was away for 1200 us at most",
            "14 frames out of order, 0 twice",
        ] {
            assert!(text.contains(part), "{part}\nis not in\n{text}");
        }
    }

    #[test]
    fn a_flood_alone_is_a_report_too() {
        let mut report = sample();
        report.sizes[0].throughput = None;
        assert!(text(&report).contains("received 1.000 (0.512): the generator knows only full speed"));
    }
}
