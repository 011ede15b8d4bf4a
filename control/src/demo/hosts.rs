//! The demo with two hosts.

use anyhow::{Result, bail};

use super::job;
use super::lab::{A, B, CONFIG, Lab};
use super::router::{Router, TempDir, pick, scrape};
use super::screen::Screen;
use super::stop::Stop;
use super::traffic;
use super::{Live, both, keep};
use crate::cli::Demo;

const METRICS: ([u8; 4], u16) = ([127, 0, 0, 1], 9477);

/// Builds two hosts and a router, sends packets through it, shows what it did, and takes everything down again.
///
/// # Errors
/// Whatever did not work. Nothing is left behind either way.
pub(super) fn play(args: &Demo, screen: &mut Screen, stop: &Stop) -> Result<()> {
    job::need(&["ip", "ping", "ethtool"])?;
    // In this order: the router stops before its namespace and its files go.
    let dir = TempDir::new()?;
    let lab = Lab::new()?;
    stop.check()?;
    let config = dir.write("demo.toml", CONFIG)?;
    introduce(&lab, screen);
    screen.title(&format!("1. Start the router: its whole configuration is {}", config.display()));
    CONFIG.lines().for_each(|line| screen.line(format!("    {line}")));
    let mut router = Router::start(&lab.router.exec(&[]), &config, &dir, screen, stop)?;

    let seen = watch(args, &lab, &mut router, screen, stop);
    if seen.is_ok() {
        invite(&lab, &router, args, screen);
        keep(args, screen, stop);
    }
    screen.title("6. Stop: every packet is accounted for, every buffer is back");
    let stopped = router.stop(screen);
    both(seen, stopped)?;
    drop((lab, dir));
    screen.line("The hosts, the cables and the files are gone again.");
    Ok(())
}

fn introduce(lab: &Lab, screen: &mut Screen) {
    screen.line("skiff demo: two hosts and a router between them, of network namespaces on this machine");
    screen.line(format!(
        "
  host A                      router                      host B
  {A} ------ 10.0.0.1 lan0 [skiff] wan0 10.0.1.1 ------ {B}
  {:<27} {:<27} {}",
        lab.a.name, lab.router.name, lab.b.name
    ));
}

fn watch(args: &Demo, lab: &Lab, router: &mut Router, screen: &mut Screen, stop: &Stop) -> Result<()> {
    screen.title("2. Ping from A to B, through the router");
    let (sent, answered) = traffic::ping(&lab.a, &["-c", "10", "-i", "0.2"], B, screen, stop)?;
    if answered != sent || sent == 0 {
        bail!("{} of {sent} pings were lost", sent.saturating_sub(answered));
    }
    screen.line("\nA packet may pass one router only (TTL 1): skiff drops it and says so.");
    traffic::ping(&lab.a, &["-c", "1", "-W", "1", "-t", "1"], B, screen, stop)?;

    let server = job::is_installed("iperf3").then(|| traffic::iperf_server(&lab.b, stop)).transpose()?;
    for (name, reverse) in [("A to B", false), ("B to A", true)] {
        screen.title(&format!("3. TCP from {name}"));
        let mut live = Live::start(router)?;
        let moved = if server.is_some() {
            traffic::iperf(&lab.a, args.seconds, reverse, screen, stop, |s| live.turn(s))
        } else {
            screen.line("(built in: there is no `iperf3`)");
            let ends = if reverse { (&lab.b, &lab.a, A) } else { (&lab.a, &lab.b, B) };
            traffic::transfer(ends, args.seconds, screen, stop, |s| live.turn(s))
        }?;
        screen.line(format!("TCP from {name}: {moved}"));
        if moved.bytes == 0 {
            bail!("TCP from {name} moved nothing");
        }
    }
    show(lab, router, screen)
}

fn show(lab: &Lab, router: &Router, screen: &mut Screen) -> Result<()> {
    screen.title("4. Ask the router, in the language of iproute2");
    for words in ["ip route", "ip neigh", "drops"] {
        router.show(words, screen)?;
    }
    screen.title("5. Metrics for Prometheus");
    screen.command(&format!(
        "ip netns exec {} curl -s http://127.0.0.1:{}/metrics",
        lab.router.name, METRICS.1
    ));
    let page = lab.router.enter(|| scrape(METRICS.into()))??;
    let lines =
        pick(&page, &["skiff_interface_receive_packets_total", "skiff_accounting", "skiff_mempool_objects"]);
    lines.iter().for_each(|line| screen.line(line));
    screen.line(format!("... ({} lines in all)", page.lines().count()));
    Ok(())
}

fn invite(lab: &Lab, router: &Router, args: &Demo, screen: &mut Screen) {
    if !args.keep {
        return;
    }
    screen.title("Try, in another terminal:");
    for line in [
        format!("ip netns exec {} ping {B}", lab.a.name),
        format!("{} ip -s link", router.cli),
        format!("{} ip route add blackhole 10.0.1.2/32", router.cli),
        format!("{} ip route del blackhole 10.0.1.2/32", router.cli),
        format!("{} drops", router.cli),
    ] {
        screen.command(&line);
    }
}
