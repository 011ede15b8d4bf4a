//! `rfc2544`: throughput, loss and latency of a router between two generator ports, after RFC 2544.
//!
//! The parts, from the outside in: [`cli`] says what is wanted, [`setup`] brings up links, generator and router, [`bench`]
//! runs the procedure, [`report`], [`table`] and [`plot`] say what was found. A [`trial::Generator`] is anything that can
//! run a trial; `own` is this program's, over skiff's drivers.

mod bench;
mod cli;
mod dut;
mod frame;
mod interrupt;
mod lab;
mod latency;
mod links;
mod machine;
mod netns;
mod own;
mod pace;
mod plot;
mod process;
mod report;
mod search;
mod setup;
mod table;
mod tally;
mod testpmd;
mod trafgen;
mod trial;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use crate::bench::Plan;
use crate::cli::Args;
use crate::machine::{Machine, Watched};
use crate::report::Report;

/// What a shell expects of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rfc2544: {error:#}");
            if interrupt::asked() { INTERRUPTED.into() } else { ExitCode::FAILURE }
        }
    }
}

fn run(args: &Args) -> Result<()> {
    args.check()?;
    if args.print_config {
        print!("{}", setup::printed_config(args)?);
        return Ok(());
    }
    interrupt::install()?;
    let report = measure(args)?;
    print!("{}", table::text(&report));
    if let Some(path) = &args.json {
        write(path, &(serde_json::to_string_pretty(&report)? + "\n"))?;
    }
    if let Some(path) = &args.plot {
        write(path, &plot::svg(&report))?;
    }
    Ok(())
}

fn measure(args: &Args) -> Result<Report> {
    let mut bench = setup::start(args)?;
    let machine = Machine::look(setup::dut_version(args), bench.uses_hugepages());
    let mut say = |line: &str| {
        if !args.quiet {
            eprintln!("{line}");
        }
    };
    let (generator, router) = bench.parts();
    let mut watched = Watched::new(generator, router.pid());
    let sizes = bench::measure(&mut watched, &plan(args), &mut say);
    // A router that died is the better explanation.
    router.check()?;
    Ok(Report::new(args, machine, sizes?, router.drops()))
}

fn plan(args: &Args) -> Plan {
    Plan {
        sizes: args.sizes.clone(),
        seconds: args.trial,
        warm_up: args.warm_up,
        precision: args.precision / 100.0,
        pdr: args.pdr / 100.0,
        max_pps: args.max_rate.map(|mpps| mpps * 1e6),
        curve: !args.no_curve,
        latency: !args.no_latency,
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    fs::write(path, text).with_context(|| path.display().to_string())
}
