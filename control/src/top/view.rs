//! What `skiff top` shows: rates between two readings, as panes of rows.

use std::fmt::Write as _;

use super::reading::{Reading, Series};

/// Rows of drop reasons that are shown.
const MOST_REASONS: usize = 20;

/// A cell: what is shown, and what it is sorted by.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Shown.
    pub text: String,
    /// Sorted by, largest first; words have none.
    pub value: Option<f64>,
}

impl Cell {
    fn word(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), value: None }
    }

    fn number(value: f64) -> Cell {
        Cell { text: short(value), value: Some(value) }
    }

    fn percent(value: f64) -> Cell {
        Cell { text: format!("{value:.1}"), value: Some(value) }
    }
}

/// One of the tables.
#[derive(Clone, Debug, PartialEq)]
pub struct Pane {
    /// Its name.
    pub title: &'static str,
    /// The heads of its columns.
    pub columns: &'static [&'static str],
    /// Its rows.
    pub rows: Vec<Vec<Cell>>,
}

impl Pane {
    /// Puts the rows in the order of a column: words by the alphabet, numbers with the largest first.
    pub fn sort_by(&mut self, column: usize) {
        self.rows.sort_by(|a, b| match (a.get(column), b.get(column)) {
            (Some(Cell { value: Some(a), .. }), Some(Cell { value: Some(b), .. })) => b.total_cmp(a),
            (Some(a), Some(b)) => a.text.cmp(&b.text),
            _ => std::cmp::Ordering::Equal,
        });
    }

    /// How wide each column has to be.
    pub fn widths(&self) -> Vec<usize> {
        let cell = |row: &Vec<Cell>, at: usize| row.get(at).map_or(0, |cell| cell.text.chars().count());
        let widest = |(at, head): (usize, &&str)| {
            self.rows.iter().map(|row| cell(row, at)).chain([head.len()]).max().unwrap_or(0)
        };
        self.columns.iter().enumerate().map(widest).collect()
    }

    /// Whether a column has numbers, which stand at its right.
    pub fn is_numeric(&self, column: usize) -> bool {
        self.rows.iter().any(|row| row.get(column).is_some_and(|cell| cell.value.is_some()))
    }
}

/// Everything on the screen.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The lines at the top.
    pub header: Vec<String>,
    /// The tables: lcores, interfaces, drops, and classes if there are any.
    pub panes: Vec<Pane>,
}

impl View {
    /// What happened between two readings.
    pub fn between(old: &Reading, new: &Reading) -> View {
        let delta = Delta { old, new };
        let mut panes = vec![lcores(&delta), interfaces(&delta), drops(&delta)];
        if !new.family("skiff_class_rate_bytes").is_empty() {
            panes.push(classes(&delta));
        }
        View { header: header(&delta), panes }
    }

    /// All of it as plain text, the way `top -b` prints.
    pub fn text(&self) -> String {
        let mut text = self.header.join("\n");
        text.push('\n');
        for pane in self.panes.iter().filter(|pane| !pane.rows.is_empty()) {
            let widths = pane.widths();
            let line = |cells: Vec<&str>| {
                let mut line = String::new();
                for (at, (cell, &width)) in cells.iter().zip(&widths).enumerate() {
                    let gap = if at == 0 { "" } else { "  " };
                    let _ = match pane.is_numeric(at) {
                        true => write!(line, "{gap}{cell:>width$}"),
                        false => write!(line, "{gap}{cell:<width$}"),
                    };
                }
                format!("{}\n", line.trim_end())
            };
            text.push('\n');
            text.push_str(&line(pane.columns.to_vec()));
            for row in &pane.rows {
                text.push_str(&line(row.iter().map(|cell| cell.text.as_str()).collect()));
            }
        }
        text
    }
}

/// Two readings, the later one second.
struct Delta<'a> {
    old: &'a Reading,
    new: &'a Reading,
}

impl Delta<'_> {
    /// Growth of a sum; what began again at zero grew by what it is.
    fn growth(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        let (old, new) = (self.old.sum(family, labels), self.new.sum(family, labels));
        if new >= old { new - old } else { new }
    }

    /// The same a second.
    fn rate(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        let seconds = self.new.at - self.old.at;
        if seconds > 0.0 { self.growth(family, labels) / seconds } else { 0.0 }
    }
}

fn header(delta: &Delta<'_>) -> Vec<String> {
    let new = delta.new;
    let version = new.family("skiff_build_info").first().map_or("", |info| info.label("version"));
    let up = new.unix - new.sum("skiff_start_time_seconds", &[]);
    let ports: Vec<&str> = names(new, "port");
    let over =
        |family: &str| ports.iter().map(|port| delta.rate(family, &[("interface", port)])).sum::<f64>();
    let way = |name: &str, direction: &str| {
        let packets = over(&format!("skiff_interface_{direction}_packets_total"));
        let bytes = over(&format!("skiff_interface_{direction}_bytes_total"));
        format!("{name} {:.3} Mpps {:.3} Gbit/s", packets / 1e6, bytes * 8.0 / 1e9)
    };
    let dropped = delta.rate("skiff_drop_packets_total", &[]);
    vec![
        format!("skiff {version}  up {}", uptime(up)),
        format!("{}   {}   drops {}/s", way("in", "receive"), way("out", "transmit"), short(dropped)),
    ]
}

/// Interfaces of a kind; of any if it is empty.
fn names<'a>(reading: &'a Reading, kind: &str) -> Vec<&'a str> {
    let wanted = |info: &&Series| kind.is_empty() || info.label("kind") == kind;
    reading.family("skiff_interface_info").iter().filter(wanted).map(|info| info.label("interface")).collect()
}

fn lcores(delta: &Delta<'_>) -> Pane {
    let workers = delta.new.family("skiff_lcore_info").iter().filter(|info| !info.label("cpu").is_empty());
    let row = |info: &Series| {
        let lcore = [("lcore", info.label("lcore"))];
        let cycles = |state| delta.growth("skiff_lcore_cycles_total", &[lcore[0], ("state", state)]);
        let all = delta.growth("skiff_lcore_cycles_total", &lcore).max(1.0);
        let share = |state| Cell::percent(100.0 * cycles(state) / all);
        let packets = delta.growth("skiff_lcore_packets_total", &lcore);
        let bursts = delta.growth("skiff_lcore_rx_burst_packets_count", &lcore);
        let per = |sum: f64, n: f64| if n > 0.0 { sum / n } else { 0.0 };
        vec![
            Cell::word(info.label("lcore")),
            Cell::word(info.label("cpu")),
            share("busy"),
            share("idle"),
            share("sleep"),
            Cell::number(delta.rate("skiff_lcore_packets_total", &lcore)),
            Cell::number(per(cycles("busy"), packets)),
            Cell::percent(per(packets, bursts)),
        ]
    };
    Pane {
        title: "lcores",
        columns: &["LCORE", "CPU", "BUSY%", "IDLE%", "SLEEP%", "RX-PPS", "CYC/PKT", "BURST"],
        rows: workers.map(row).collect(),
    }
}

fn interfaces(delta: &Delta<'_>) -> Pane {
    let row = |name: &str| {
        let (of, port) = ([("interface", name)], [("port", name)]);
        let rate = |what: &str| delta.rate(&format!("skiff_interface_{what}_total"), &of);
        // What the driver of a port loses has no interface yet.
        let lost = delta.rate("skiff_port_receive_missed_total", &port)
            + delta.rate("skiff_port_receive_nombuf_total", &port);
        vec![
            Cell::word(name),
            Cell::number(rate("receive_packets")),
            Cell::number(rate("receive_bytes") * 8.0),
            Cell::number(rate("transmit_packets")),
            Cell::number(rate("transmit_bytes") * 8.0),
            Cell::number(rate("receive_dropped") + rate("transmit_dropped") + lost),
        ]
    };
    Pane {
        title: "interfaces",
        columns: &["INTERFACE", "RX-PPS", "RX-BIT/S", "TX-PPS", "TX-BIT/S", "DROPS/S"],
        rows: names(delta.new, "").into_iter().filter(|name| *name != "lo").map(row).collect(),
    }
}

/// The reasons that drop most at the moment, and then those that have dropped most.
fn drops(delta: &Delta<'_>) -> Pane {
    let dropped = delta.new.family("skiff_drop_packets_total").iter().filter(|series| series.value > 0.0);
    let mut rows: Vec<Vec<Cell>> = dropped
        .map(|series| {
            let (node, reason) = (series.label("node"), series.label("reason"));
            let rate = delta.rate("skiff_drop_packets_total", &[("node", node), ("reason", reason)]);
            vec![Cell::word(reason), Cell::word(node), Cell::number(rate), Cell::number(series.value)]
        })
        .collect();
    let order = |row: &Vec<Cell>| (row[2].value.unwrap_or(0.0), row[3].value.unwrap_or(0.0));
    rows.sort_by(|a, b| {
        let ((rate_a, all_a), (rate_b, all_b)) = (order(a), order(b));
        rate_b.total_cmp(&rate_a).then(all_b.total_cmp(&all_a))
    });
    rows.truncate(MOST_REASONS);
    Pane { title: "drops", columns: &["REASON", "STAGE", "DROPS/S", "TOTAL"], rows }
}

fn classes(delta: &Delta<'_>) -> Pane {
    let row = |series: &Series| {
        let of = [("port", series.label("port")), ("class", series.label("class"))];
        vec![
            Cell::word(of[0].1),
            Cell::word(of[1].1),
            Cell::number(series.value * 8.0),
            Cell::number(delta.new.sum("skiff_class_ceil_bytes", &of) * 8.0),
            Cell::number(delta.rate("skiff_class_bytes_total", &of) * 8.0),
            Cell::number(delta.rate("skiff_class_packets_total", &of)),
            Cell::number(delta.new.sum("skiff_class_backlog_packets", &of)),
            Cell::number(delta.new.sum("skiff_class_backlog_bytes", &of)),
            Cell::number(delta.rate("skiff_class_drops_total", &of)),
        ]
    };
    Pane {
        title: "classes",
        columns: &["DEV", "CLASS", "RATE", "CEIL", "BIT/S", "PPS", "QUEUED", "BYTES", "DROPS/S"],
        rows: delta.new.family("skiff_class_rate_bytes").iter().map(row).collect(),
    }
}

/// A number in three or four digits: `999`, `12.3k`, `4.56M`.
fn short(value: f64) -> String {
    const UNITS: [&str; 5] = ["", "k", "M", "G", "T"];
    let (mut value, mut unit) = (value, 0);
    // What would be rounded up to four digits has the next unit already.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 && value.fract() == 0.0 => 0,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$}{}", UNITS[unit])
}

/// `2d 03:04:05`, without days if there are none.
fn uptime(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let clock = format!("{hours:02}:{:02}:{:02}", seconds / 60 % 60, seconds % 60);
    if days == 0 { clock } else { format!("{days}d {clock}") }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn page(n: u64) -> String {
        let mut page = String::from(
            "skiff_build_info{version=\"0.1.0\",dpdk=\"22.11\"} 1\n\
             skiff_start_time_seconds 1000\n\
             skiff_interface_info{interface=\"lan\",kind=\"port\"} 1\n\
             skiff_interface_info{interface=\"lan.5\",kind=\"vlan\"} 1\n\
             skiff_lcore_info{lcore=\"0\",cpu=\"3\"} 1\n\
             skiff_class_rate_bytes{port=\"lan\",class=\"1:10\"} 125000\n\
             skiff_class_ceil_bytes{port=\"lan\",class=\"1:10\"} 12500000\n\
             skiff_class_backlog_packets{port=\"lan\",class=\"1:10\"} 7\n\
             skiff_class_backlog_bytes{port=\"lan\",class=\"1:10\"} 10500\n",
        );
        for (name, step) in [
            ("skiff_interface_receive_packets_total{interface=\"lan\"}", 1_500_000),
            ("skiff_interface_receive_bytes_total{interface=\"lan\"}", 150_000_000),
            ("skiff_interface_receive_packets_total{interface=\"lan.5\"}", 500),
            ("skiff_interface_transmit_packets_total{interface=\"lan\"}", 12),
            ("skiff_port_receive_missed_total{port=\"lan\"}", 3),
            ("skiff_drop_packets_total{node=\"ip_error\",reason=\"ip_innoroutes\"}", 2),
            ("skiff_drop_packets_total{node=\"ip_forward\",reason=\"netfilter_drop\"}", 40),
            ("skiff_lcore_cycles_total{lcore=\"0\",state=\"busy\"}", 750),
            ("skiff_lcore_cycles_total{lcore=\"0\",state=\"idle\"}", 250),
            ("skiff_lcore_packets_total{lcore=\"0\"}", 15),
            ("skiff_lcore_rx_burst_packets_count{lcore=\"0\"}", 2),
            ("skiff_class_bytes_total{port=\"lan\",class=\"1:10\"}", 125_000),
        ] {
            page.push_str(&format!("{name} {}\n", step * n));
        }
        page
    }

    /// Two seconds of which every rate is known.
    pub fn example() -> View {
        let (old, new) = (Reading::parse(10.0, 0.0, &page(1)), Reading::parse(12.0, 91_003.0, &page(3)));
        View::between(&old, &new)
    }

    #[test]
    fn rates_are_growth_by_time() {
        let expect = "skiff 0.1.0  up 1d 01:00:03\n\
            in 1.500 Mpps 1.200 Gbit/s   out 0.000 Mpps 0.000 Gbit/s   drops 42/s\n\
            \n\
            LCORE  CPU  BUSY%  IDLE%  SLEEP%  RX-PPS  CYC/PKT  BURST\n\
            0      3     75.0   25.0     0.0      15    50.00    7.5\n\
            \n\
            INTERFACE  RX-PPS  RX-BIT/S  TX-PPS  TX-BIT/S  DROPS/S\n\
            lan         1.50M     1.20G      12         0        3\n\
            lan.5         500         0       0         0        0\n\
            \n\
            REASON          STAGE       DROPS/S  TOTAL\n\
            netfilter_drop  ip_forward       40    120\n\
            ip_innoroutes   ip_error          2      6\n\
            \n\
            DEV  CLASS   RATE  CEIL  BIT/S  PPS  QUEUED  BYTES  DROPS/S\n\
            lan  1:10   1.00M  100M  1.00M    0       7  10.5k        0\n";
        assert_eq!(example().text(), expect.replace("   50.00", "      50"));
    }

    #[test]
    fn a_router_that_began_again_counts_from_zero() {
        let (old, new) = (Reading::parse(0.0, 0.0, "a_total 90\n"), Reading::parse(1.0, 0.0, "a_total 5\n"));
        assert_eq!(Delta { old: &old, new: &new }.rate("a_total", &[]), 5.0);
        assert_eq!(Delta { old: &new, new: &new }.rate("a_total", &[]), 0.0, "no time has passed");
    }

    #[test]
    fn rows_are_sorted_by_any_column() {
        let mut pane = example().panes.remove(1);
        let names = |pane: &Pane| pane.rows.iter().map(|row| row[0].text.clone()).collect::<Vec<_>>();
        pane.sort_by(1);
        assert_eq!(names(&pane), ["lan", "lan.5"]);
        pane.rows.reverse();
        pane.sort_by(0);
        assert_eq!(names(&pane), ["lan", "lan.5"]);
        pane.sort_by(99);
        assert_eq!(names(&pane), ["lan", "lan.5"]);
    }

    #[test]
    fn numbers_are_short() {
        let numbers = [0.0, 0.5, 7.0, 999.0, 999.6, 1000.0, 12_345.0, 999_499.0, 1e6, 1.5e9, 3e15];
        let texts = ["0", "0.50", "7", "999", "1.00k", "1.00k", "12.3k", "999k", "1.00M", "1.50G", "3000T"];
        assert_eq!(numbers.map(short), texts);
        assert_eq!(uptime(59.9), "00:00:59");
    }
}
