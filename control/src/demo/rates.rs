//! What the router counts, read twice, is a rate: readings of the API's JSON and the table they make.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

/// One reading of the router's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// When, since any fixed moment.
    pub at: Duration,
    /// Counters of each interface but the loopback, in the router's order.
    pub links: Vec<(String, Traffic)>,
    /// Packets dropped, by node and reason; only those that happened.
    pub drops: BTreeMap<(String, String), u64>,
    /// TSC cycles all lcores worked.
    pub busy_cycles: u64,
    /// TSC cycles of all lcores.
    pub cycles: u64,
    /// Packets all lcores received.
    pub packets: u64,
}

/// Counters of one interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received, with their Ethernet header.
    pub rx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent, with their Ethernet header.
    pub tx_bytes: u64,
}

impl Sample {
    /// Makes one of what `skiff ip -j -s link`, `skiff drops -j` and `skiff lcore -j` print.
    ///
    /// # Errors
    /// If one of them is not the JSON it should be.
    pub fn parse(at: Duration, links: &str, drops: &str, lcores: &str) -> Result<Sample> {
        let links: Vec<LinkJson> = serde_json::from_str(links).context("ip -j -s link")?;
        let drops: DropsJson = serde_json::from_str(drops).context("drops -j")?;
        let lcores: Vec<LcoreJson> = serde_json::from_str(lcores).context("lcore -j")?;
        let links = links.into_iter().filter(|link| link.link_type != "loopback");
        let drops = drops.drops.into_iter().filter(|row| row.packets > 0);
        Ok(Sample {
            at,
            links: links.map(|link| (link.ifname, link.stats64.into())).collect(),
            drops: drops.map(|row| ((row.node, row.reason), row.packets)).collect(),
            busy_cycles: lcores.iter().map(|lcore| lcore.cycles.busy).sum(),
            cycles: lcores.iter().map(|lcore| lcore.cycles.total()).sum(),
            packets: lcores.iter().map(|lcore| lcore.packets).sum(),
        })
    }

    /// Packets sent by any interface.
    pub fn sent(&self) -> u64 {
        self.links.iter().map(|(_, traffic)| traffic.tx_packets).sum()
    }
}

#[derive(Deserialize)]
struct LinkJson {
    ifname: String,
    link_type: String,
    stats64: StatsJson,
}

#[derive(Deserialize)]
struct StatsJson {
    rx: CountJson,
    tx: CountJson,
}

#[derive(Deserialize)]
struct CountJson {
    packets: u64,
    bytes: u64,
}

impl From<StatsJson> for Traffic {
    fn from(stats: StatsJson) -> Self {
        Traffic {
            rx_packets: stats.rx.packets,
            rx_bytes: stats.rx.bytes,
            tx_packets: stats.tx.packets,
            tx_bytes: stats.tx.bytes,
        }
    }
}

#[derive(Deserialize)]
struct DropsJson {
    drops: Vec<DropJson>,
}

#[derive(Deserialize)]
struct DropJson {
    node: String,
    reason: String,
    packets: u64,
}

#[derive(Deserialize)]
struct LcoreJson {
    cycles: CyclesJson,
    packets: u64,
}

#[derive(Deserialize)]
struct CyclesJson {
    busy: u64,
    idle: u64,
    sleep: u64,
    control: u64,
}

impl CyclesJson {
    fn total(&self) -> u64 {
        self.busy + self.idle + self.sleep + self.control
    }
}

/// The names of the columns of [`rows`].
pub fn header() -> String {
    format!(
        "{:<6}{:<12}{:>12}{:>12}{:>14}{:>12}",
        "TIME", "INTERFACE", "RX PKT/S", "RX MBIT/S", "TX PKT/S", "TX MBIT/S"
    )
}

/// What happened between two readings: a line an interface, one of drops and one of the CPU. `label` marks the first.
pub fn rows(label: &str, before: &Sample, after: &Sample) -> Vec<String> {
    let seconds = after.at.saturating_sub(before.at).as_secs_f64();
    let mut lines: Vec<String> = after
        .links
        .iter()
        .enumerate()
        .map(|(i, (name, now))| {
            let then = before.links.iter().find(|(n, _)| n == name).map_or(Traffic::default(), |(_, t)| *t);
            let packets = |now: u64, then: u64| grouped(rate(now, then, seconds).round() as u64);
            let mbits = |now: u64, then: u64| format!("{:.1}", rate(now, then, seconds) * 8.0 / 1e6);
            format!(
                "{:<6}{:<12}{:>12}{:>12}{:>14}{:>12}",
                if i == 0 { label } else { "" },
                name,
                packets(now.rx_packets, then.rx_packets),
                mbits(now.rx_bytes, then.rx_bytes),
                packets(now.tx_packets, then.tx_packets),
                mbits(now.tx_bytes, then.tx_bytes),
            )
        })
        .collect();
    lines.push(format!("      {}; {}", drops(before, after), cpu(before, after)));
    lines
}

/// Events a second; 0 if no time went by or the counter started again.
fn rate(now: u64, then: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { now.saturating_sub(then) as f64 / seconds } else { 0.0 }
}

fn drops(before: &Sample, after: &Sample) -> String {
    let fresh: Vec<String> = after
        .drops
        .iter()
        .filter_map(|(key, now)| {
            let more = now.saturating_sub(before.drops.get(key).copied().unwrap_or(0));
            (more > 0).then(|| format!("{} {} at {}", grouped(more), key.1, key.0))
        })
        .collect();
    if fresh.is_empty() { "dropped 0".to_owned() } else { format!("dropped {}", fresh.join(", ")) }
}

fn cpu(before: &Sample, after: &Sample) -> String {
    let busy = after.busy_cycles.saturating_sub(before.busy_cycles);
    let cycles = after.cycles.saturating_sub(before.cycles);
    let packets = after.packets.saturating_sub(before.packets);
    match (cycles, packets) {
        (0, _) => "CPU idle".to_owned(),
        (_, 0) => format!("CPU {:.0}% busy", busy as f64 * 100.0 / cycles as f64),
        _ => format!(
            "CPU {:.0}% busy, {} cycles a packet",
            busy as f64 * 100.0 / cycles as f64,
            grouped(busy / packets)
        ),
    }
}

/// A number with commas between its thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINKS: &str = r#"[{"ifname":"lo","link_type":"loopback","stats64":{"rx":{"bytes":0,"packets":0,"errors":0},
        "tx":{"bytes":0,"packets":0}}},{"ifindex":2,"ifname":"lan0","link_type":"ether","stats64":{
        "rx":{"bytes":3000000,"packets":2000,"errors":0},"tx":{"bytes":64000,"packets":1000}}}]"#;
    const DROPS: &str = r#"{"drops":[{"bytes":60,"node":"ip_forward","packets":1,"reason":"ip_inhdr"},
        {"bytes":0,"node":"arp_rcv","packets":0,"reason":"nomem"}],"ledger":{"rx":1}}"#;
    const LCORES: &str = r#"[{"lcore":0,"cycles":{"busy":500000,"idle":300000,"sleep":200000,"control":0},
        "packets":2000}]"#;

    fn sample() -> Sample {
        Sample::parse(Duration::from_secs(3), LINKS, DROPS, LCORES).unwrap()
    }

    #[test]
    fn a_reading_holds_the_ports_and_the_drops_that_happened() {
        let sample = sample();
        let traffic = Traffic { rx_packets: 2000, rx_bytes: 3_000_000, tx_packets: 1000, tx_bytes: 64_000 };
        assert_eq!(sample.links, [("lan0".to_owned(), traffic)]);
        assert_eq!(sample.drops, BTreeMap::from([(("ip_forward".to_owned(), "ip_inhdr".to_owned()), 1)]));
        assert_eq!((sample.busy_cycles, sample.cycles, sample.packets), (500_000, 1_000_000, 2000));
        assert_eq!(sample.sent(), 1000);
    }

    #[test]
    fn what_is_not_the_answer_is_an_error_that_names_it() {
        let error = Sample::parse(Duration::ZERO, LINKS, "{}", LCORES).unwrap_err();
        assert!(format!("{error:#}").starts_with("drops -j: "), "{error:#}");
    }

    #[test]
    fn two_readings_make_a_table() {
        let before = Sample { at: Duration::from_secs(1), ..Sample::default() };
        let expected = [
            "2 s   lan0               1,000        12.0           500         0.3",
            "      dropped 1 ip_inhdr at ip_forward; CPU 50% busy, 250 cycles a packet",
        ];
        assert_eq!(rows("2 s", &before, &sample()), expected);
        assert_eq!(header(), "TIME  INTERFACE       RX PKT/S   RX MBIT/S      TX PKT/S   TX MBIT/S");
    }

    #[test]
    fn nothing_between_two_readings_is_zero_and_no_division_by_it() {
        let expected = [
            "x     lan0                   0         0.0             0         0.0",
            "      dropped 0; CPU idle",
        ];
        assert_eq!(rows("x", &sample(), &sample()), expected);
        let again = Sample { at: Duration::from_secs(4), ..sample() };
        let mut restarted = again.clone();
        restarted.links[0].1.rx_packets = 5;
        assert!(rows("x", &sample(), &restarted)[0].starts_with("x     lan0                   0"));
    }

    #[test]
    fn thousands_have_commas() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
