//! `skiff bench`: what the journey costs on this machine, in cycles a packet.

mod bond;
mod churn;
mod forward;
mod htb;
mod machine;
mod rules;
mod scrape;
mod swap;
mod traffic;

use std::process::{Command, ExitCode};
use std::time::Duration;

pub use forward::{Options, Report, run};
pub use traffic::Case;
pub(crate) use traffic::write_pcap;

use crate::cli::{BenchForward, BenchHtb, BenchRoutes, BenchRules, BenchScrape, Exit, error_line};

/// Length of one measurement; rounds alternate generator and forwarding.
const SLICE: Duration = Duration::from_millis(100);

/// `skiff bench forward`. Without a case it runs itself once for each, since EAL starts once in a process.
pub fn main(args: &BenchForward) -> ExitCode {
    let Some(case) = args.case else { return every_case(args) };
    if case == Case::Bond {
        return bonds(args);
    }
    let rounds = (args.seconds / (2.0 * SLICE.as_secs_f64())).ceil().clamp(1.0, 10_000.0) as u32;
    let options =
        Options { case, rounds, slice: SLICE, stages: args.stages, cpu: args.cpu, pcap: args.pcap.clone() };
    match run(&options) {
        Ok(report) => {
            print(&report, args.json);
            Exit::Ok.into()
        }
        Err(error) => {
            eprint!("{}", error_line("bench forward", format!("{error:#}")));
            Exit::Failed.into()
        }
    }
}

/// The case of bonds: what each costs beyond a plain port.
fn bonds(args: &BenchForward) -> ExitCode {
    let rounds = (args.seconds / bond::ROUND.as_secs_f64()).ceil().clamp(1.0, 10_000.0) as u32;
    let rows = match bond::run(rounds, args.cpu) {
        Ok(rows) => rows,
        Err(error) => {
            eprint!("{}", error_line("bench forward", format!("{error:#}")));
            return Exit::Failed.into();
        }
    };
    if args.json {
        println!("{}", serde_json::to_string(&rows).unwrap_or_default());
        return Exit::Ok.into();
    }
    for row in rows {
        println!(
            "{:<24} {:>7.1} cycles/packet beyond a plain port (best rounds {:.1})",
            row.bond, row.median, row.best
        );
    }
    Exit::Ok.into()
}

/// `skiff bench routes`.
pub fn routes(args: &BenchRoutes) -> ExitCode {
    let report = match churn::run(args.updates, args.cpu) {
        Ok(report) => report,
        Err(error) => {
            eprint!("{}", error_line("bench routes", format!("{error:#}")));
            return Exit::Failed.into();
        }
    };
    if args.json {
        println!("{}", serde_json::to_string(&report).unwrap_or_default());
    } else {
        println!(
            "{} routes loaded in {:.2} s ({} MiB); {} random updates at {:.2} us each while {} packets were forwarded, \
             {} lost",
            report.routes,
            report.load_seconds,
            report.memory_bytes >> 20,
            report.updates,
            report.microseconds_per_update,
            report.forwarded,
            report.lost,
        );
    }
    if report.lost == 0 { Exit::Ok.into() } else { Exit::Failed.into() }
}

/// `skiff bench rules`.
pub fn rules(args: &BenchRules) -> ExitCode {
    if args.swap {
        return swap(args);
    }
    let rows = match rules::run(args.rounds, args.cpu) {
        Ok(rows) => rows,
        Err(error) => {
            eprint!("{}", error_line("bench rules", format!("{error:#}")));
            return Exit::Failed.into();
        }
    };
    if args.json {
        println!("{}", serde_json::to_string(&rows).unwrap_or_default());
        return Exit::Ok.into();
    }
    for row in rows {
        println!(
            "{:<24} {:>7.1} cycles/packet beyond none (best rounds {:.1}); compiled in {:.1} ms",
            row.rules, row.median, row.best, row.compile_ms
        );
    }
    Exit::Ok.into()
}

/// `skiff bench scrape`.
pub fn scrape(args: &BenchScrape) -> ExitCode {
    let report = match scrape::run(args.seconds, args.cpu) {
        Ok(report) => report,
        Err(error) => {
            eprint!("{}", error_line("bench scrape", format!("{error:#}")));
            return Exit::Failed.into();
        }
    };
    if args.json {
        println!("{}", serde_json::to_string(&report).unwrap_or_default());
    } else {
        println!(
            "{} scrapes of {} bytes at {:.2} ms each; {:.1} cycles/packet under {:.0} scrapes a second, {:.1} without: \
             {:.4} % of the lcore for one a second; {} packets forwarded, {} lost",
            report.scrapes,
            report.page_bytes,
            report.milliseconds_per_scrape,
            report.scraping,
            report.scrapes_per_second,
            report.quiet,
            report.share_of_one_a_second * 100.0,
            report.forwarded,
            report.lost,
        );
    }
    if report.lost == 0 { Exit::Ok.into() } else { Exit::Failed.into() }
}

/// `skiff bench htb`.
pub fn htb(args: &BenchHtb) -> ExitCode {
    let done = if args.fair { fair(args) } else { htb_costs(args) };
    match done {
        Ok(()) => Exit::Ok.into(),
        Err(error) => {
            eprint!("{}", error_line("bench htb", format!("{error:#}")));
            Exit::Failed.into()
        }
    }
}

fn htb_costs(args: &BenchHtb) -> anyhow::Result<()> {
    let trees = htb::trees(&args.tree);
    let [tree] = trees.as_slice() else {
        anyhow::ensure!(!trees.is_empty(), "no tree has \"{}\" in its name", args.tree);
        return trees.into_iter().try_for_each(|tree| htb_alone(args, tree));
    };
    let row = htb::run(tree, args.rounds, args.cpu)?;
    if args.json {
        println!("{}", serde_json::to_string(&row)?);
    } else {
        println!(
            "{:<48} {:>7.1} cycles/packet beyond noqueue (best rounds {:.1})",
            row.tree, row.median, row.best
        );
    }
    Ok(())
}

/// One tree in a process of its own.
fn htb_alone(args: &BenchHtb, tree: &str) -> anyhow::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bench", "htb", "--tree", tree, "--rounds", &args.rounds.to_string()]);
    command.args(args.json.then_some("-j")).args(args.cpu.map(|cpu| format!("--cpu={cpu}")));
    anyhow::ensure!(command.status()?.success(), "{tree}: not measured");
    Ok(())
}

fn fair(args: &BenchHtb) -> anyhow::Result<()> {
    let report = htb::fair(args.seconds, args.cpu)?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    println!(
        "{} leaves of {:.3} Mbit/s in {:.1} s: from {:.4} to {:.4} Mbit/s, {:.4} in the middle; {} more than 2 % off;          Jain's index {:.6}; {:.3} Gbit/s in all",
        report.leaves,
        report.promised,
        report.seconds,
        report.least,
        report.most,
        report.median,
        report.off,
        report.jain,
        report.total,
    );
    Ok(())
}

fn swap(args: &BenchRules) -> ExitCode {
    let rows = match swap::run(args.seconds, args.cpu) {
        Ok(rows) => rows,
        Err(error) => {
            eprint!("{}", error_line("bench rules", format!("{error:#}")));
            return Exit::Failed.into();
        }
    };
    let clean = rows.iter().all(|row| row.netfilter_drop == 0 && row.lost == 0);
    if args.json {
        println!("{}", serde_json::to_string(&rows).unwrap_or_default());
    } else {
        for row in &rows {
            println!(
                "sets of {} rules: {} swaps at {:.2} ms each; {} packets forwarded, {} dropped by rules, {} lost; \
                 {:.1} cycles/packet while swapping, {:.1} without",
                row.rules,
                row.swaps,
                row.milliseconds_per_swap,
                row.forwarded,
                row.netfilter_drop,
                row.lost,
                row.swapping,
                row.quiet,
            );
        }
    }
    if clean { Exit::Ok.into() } else { Exit::Failed.into() }
}

fn every_case(args: &BenchForward) -> ExitCode {
    for case in Case::ALL {
        let mut command = match std::env::current_exe() {
            Ok(exe) => Command::new(exe),
            Err(error) => {
                eprint!("{}", error_line("bench forward", error));
                return Exit::Failed.into();
            }
        };
        command.args(["bench", "forward", "--case", case.name(), "--seconds", &args.seconds.to_string()]);
        command.args(args.stages.then_some("--stages")).args(args.json.then_some("-j"));
        command.args(args.cpu.map(|cpu| format!("--cpu={cpu}")));
        match command.status() {
            Ok(status) if status.success() => {}
            _ => return Exit::Failed.into(),
        }
    }
    Exit::Ok.into()
}

fn print(report: &Report, json: bool) {
    if json {
        println!("{}", serde_json::to_string(report).unwrap_or_default());
        return;
    }
    let memory = if report.hugepages { "hugepages" } else { "no hugepages" };
    println!(
        "{:<10} {:>7.1} cycles/packet beyond the generator (min {:.1}); with it {:.1}, generator {:.1}; {} routes \
         loaded in {:.2} s; {} packets, {} dropped; {memory}, TSC {:.0} MHz",
        report.case,
        report.cycles_per_packet.median,
        report.cycles_per_packet.min,
        report.total.median,
        report.generator.median,
        report.routes,
        report.load_seconds,
        report.packets,
        report.dropped,
        report.tsc_hz as f64 / 1e6,
    );
    for (stage, cycles) in &report.stages {
        println!("    {stage:<24} {cycles:>7.1}");
    }
}
