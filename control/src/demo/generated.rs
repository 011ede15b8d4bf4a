//! The demo without hosts: packets from a capture that never ends, forwarded into nothing. Needs no privileges.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use skiff_dataplane::net::MacAddr;

use super::router::{Router, TempDir, pick, scrape};
use super::screen::Screen;
use super::stop::Stop;
use super::{Live, both, keep, rates};
use crate::bench::{Case, write_pcap};
use crate::cli::Demo;

/// The port of the metrics if it is free.
const METRICS_PORT: u16 = 9477;
/// The address of the first net_pcap port, which cannot be set.
const PCAP_MAC: MacAddr = MacAddr([0x02, b'p', b'c', b'a', b'p', 0]);
const CAPTURE: &str = "flows.pcap";

/// Starts a router over a capture, shows how it forwards, and takes everything down again.
///
/// # Errors
/// Whatever did not work. Nothing is left behind either way.
pub(super) fn play(args: &Demo, screen: &mut Screen, stop: &Stop) -> Result<()> {
    let dir = TempDir::new()?;
    let flows = Case::Flows1024.destinations(&Case::Flows1024.routes());
    let capture = dir.path().join(CAPTURE);
    write_pcap(&capture, PCAP_MAC, &flows).with_context(|| capture.display().to_string())?;
    let metrics = metrics_address().context("no TCP port for the metrics")?;
    let text = config(&capture.to_string_lossy(), metrics);
    let file = dir.write("demo.toml", &text)?;

    screen.line(
        "skiff demo: a router without privileges, huge pages or a NIC (as root there are two real hosts)",
    );
    screen.line(format!(
        "
  {CAPTURE} over and over ------> in0 [skiff] out0 ------> nowhere
  ({} flows, 64-byte UDP)",
        rates::grouped(flows.len() as u64)
    ));
    screen.title(&format!("1. Start the router: its whole configuration is {}", file.display()));
    text.lines().for_each(|line| screen.line(format!("    {line}")));
    let mut router = Router::start(&[], &file, &dir, screen, stop)?;

    let seen = watch(args, metrics, &mut router, screen, stop);
    if seen.is_ok() {
        keep(args, screen, stop);
    }
    screen.title("5. Stop: every packet is accounted for, every buffer is back");
    let stopped = router.stop(screen);
    both(seen, stopped)
}

fn config(capture: &str, metrics: SocketAddr) -> String {
    format!(
        r#"[system]
hugepages = "off"

[metrics]
listen = "{metrics}"

[interface.in0]
device = "vdev:net_pcap0,rx_pcap={capture},infinite_rx=1"
addresses = ["10.0.0.1/24"]

[interface.out0]
device = "vdev:net_null0,no-rx=1"
addresses = ["10.0.1.1/24"]

[[route]]                       # half of the Internet by one gateway,
to = "0.0.0.0/1"
via = "10.0.1.2"

[[route]]                       # half by the other
to = "128.0.0.0/1"
via = "10.0.1.3"

[[neighbour]]                   # nobody is there to answer ARP
address = "10.0.1.2"
mac = "02:bb:00:00:00:02"
dev = "out0"

[[neighbour]]
address = "10.0.1.3"
mac = "02:bb:00:00:00:03"
dev = "out0"
"#
    )
}

/// The usual address, or one with another port where that is taken.
fn metrics_address() -> std::io::Result<SocketAddr> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    bind(METRICS_PORT).or_else(|_| bind(0))?.local_addr()
}

fn watch(
    args: &Demo,
    metrics: SocketAddr,
    router: &mut Router,
    screen: &mut Screen,
    stop: &Stop,
) -> Result<()> {
    screen.title("2. Forwarding, each second");
    let mut live = Live::start(router)?;
    live.watch(Duration::from_secs(args.seconds.into()), screen, stop)?;

    screen.title("3. Ask the router, in the language of iproute2");
    for words in ["ip route", "ip neigh", "drops", "lcore"] {
        router.show(words, screen)?;
    }
    screen.line("CYC/PKT is everything a packet costs here, the capture's own copying included.");

    screen.title("4. Metrics for Prometheus");
    screen.command(&format!("curl -s http://{metrics}/metrics"));
    let page = scrape(metrics)?;
    let lines =
        pick(&page, &["skiff_interface_transmit_packets_total", "skiff_accounting", "skiff_mempool_objects"]);
    lines.iter().for_each(|line| screen.line(line));
    screen.line(format!("... ({} lines in all)", page.lines().count()));

    if router.sample()?.sent() == 0 {
        bail!("no packet was forwarded");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_valid() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("generated.toml", config("/tmp/x.pcap", SocketAddr::from(([127, 0, 0, 1], 9477)))),
            ("hosts.toml", super::super::lab::CONFIG.to_owned()),
        ] {
            let file = dir.path().join(name);
            std::fs::write(&file, text).unwrap();
            let config = crate::config::load(&file).unwrap_or_else(|why| panic!("{name}: {why:?}"));
            config.checked_memory_plan().unwrap();
        }
    }
}
