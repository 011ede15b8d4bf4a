//! The metrics page, as a scraper sees it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::netns::in_netns;

const HTTP_LIMIT: Duration = Duration::from_secs(5);

/// One scrape.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// The page as served.
    pub text: String,
    samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// The law of conservation: `rx + created = tx + dropped + delivered + held`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Taken from receive queues.
    pub rx: u64,
    /// Made by the router itself.
    pub created: u64,
    /// Handed to drivers.
    pub tx: u64,
    /// Dropped, over all stages and reasons.
    pub dropped: u64,
    /// Consumed by a protocol of the router.
    pub delivered: u64,
    /// Waiting for a neighbour or for other fragments.
    pub held: u64,
}

impl Ledger {
    /// Packets in minus packets out; 0 when nothing is on its way.
    pub fn imbalance(&self) -> i64 {
        (self.rx + self.created) as i64 - (self.tx + self.dropped + self.delivered + self.held) as i64
    }
}

impl Metrics {
    /// Scrapes `http://ADDRESS/metrics` from inside a namespace.
    ///
    /// # Panics
    /// If the page is not served with status 200, or a line of it makes no sense.
    #[track_caller]
    pub fn fetch(netns: &str, address: &str) -> Self {
        let (status, body) = http_get(netns, address, "/metrics");
        assert_eq!(status, 200, "{body}");
        Self::parse(&body)
    }

    /// Reads a page in Prometheus' text format.
    ///
    /// # Panics
    /// If a line makes no sense.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(|line| parse_sample(line).unwrap_or_else(|| panic!("bad sample: {line}")));
        Metrics { samples: samples.collect(), text: text.to_owned() }
    }

    /// Sum of the samples of `name` that carry all of `labels`; 0 if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let matches = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value))
        };
        self.samples.iter().filter(matches).map(|sample| sample.value).sum::<f64>() as u64
    }

    /// True if the page has a sample of `name`.
    pub fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|sample| sample.name == name)
    }

    /// Every drop reason that has happened, with its count, over all stages.
    pub fn drops(&self) -> BTreeMap<String, u64> {
        let mut drops = BTreeMap::new();
        for sample in self.samples.iter().filter(|s| s.name == "skiff_drop_packets_total" && s.value > 0.0) {
            *drops.entry(sample.labels["reason"].clone()).or_default() += sample.value as u64;
        }
        drops
    }

    /// The numbers of the law of conservation.
    ///
    /// # Panics
    /// If the page lacks one of them: a sum over nothing would hold any law.
    #[track_caller]
    pub fn ledger(&self) -> Ledger {
        let sum = |name: &str| {
            assert!(self.has(name), "no {name} on the page");
            self.sum(name, &[])
        };
        Ledger {
            rx: sum("skiff_queue_receive_packets_total"),
            created: sum("skiff_created_packets_total"),
            tx: sum("skiff_queue_transmit_packets_total"),
            dropped: sum("skiff_drop_packets_total"),
            delivered: sum("skiff_delivered_packets_total"),
            held: self.sum("skiff_neighbour_hold_packets", &[]) + self.sum("skiff_frag_hold_packets", &[]),
        }
    }
}

/// Sends one GET from inside a namespace; the status and the body.
///
/// # Panics
/// If nobody answers with HTTP.
#[track_caller]
pub fn http_get(netns: &str, address: &str, path: &str) -> (u16, String) {
    let answer = in_netns(netns, || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(HTTP_LIMIT))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    let answer = answer.unwrap_or_else(|why| panic!("http://{address}{path}: {why}"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("not HTTP: {answer}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body) } else { body.to_owned() };
    (status.unwrap_or_else(|| panic!("no status: {head}")), body)
}

/// Joins the chunks of a chunked body (RFC 9112 section 7.1).
fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        body.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    body
}

/// `name{key="value",...} number`
fn parse_sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, parse_labels(labels.strip_suffix('}')?)?),
        None => (series, BTreeMap::new()),
    };
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}

fn parse_labels(mut text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (key, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.insert(key.trim_start_matches(',').to_owned(), value);
        text = &rest[end + 1..];
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP skiff_drop_packets_total Packets dropped.\n\
        # TYPE skiff_drop_packets_total counter\n\
        skiff_drop_packets_total{node=\"ip_rcv\",reason=\"ip_csum\"} 3\n\
        skiff_drop_packets_total{node=\"ip_forward\",reason=\"ip_csum\"} 4\n\
        skiff_drop_packets_total{node=\"ip_forward\",reason=\"ip_inhdr\"} 0\n\
        skiff_port_info{port=\"lan\",device=\"a,b=\\\"c\\\"\"} 1\n\
        skiff_created_packets_total 5\n";

    #[test]
    fn sums_by_label_and_lists_drops() {
        let metrics = Metrics::parse(PAGE);
        assert_eq!(metrics.sum("skiff_drop_packets_total", &[]), 7);
        assert_eq!(metrics.sum("skiff_drop_packets_total", &[("node", "ip_rcv")]), 3);
        assert_eq!(metrics.sum("skiff_created_packets_total", &[]), 5);
        assert_eq!(metrics.sum("skiff_port_info", &[("device", "a,b=\"c\"")]), 1);
        assert_eq!(metrics.drops(), BTreeMap::from([("ip_csum".to_owned(), 7)]));
        assert!(!metrics.has("skiff_drop"));
    }

    #[test]
    #[should_panic(expected = "no skiff_queue_receive_packets_total")]
    fn a_ledger_needs_all_its_families() {
        Metrics::parse(PAGE).ledger();
    }

    #[test]
    fn joins_chunks() {
        assert_eq!(unchunk("4\r\nabcd\r\n3\r\nefg\r\n0\r\n\r\n"), "abcdefg");
    }
}
