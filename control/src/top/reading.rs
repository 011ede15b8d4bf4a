//! A page of metrics, read back.

use std::collections::HashMap;

/// What one look at the router's metrics said, and when.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Seconds on any clock that goes on.
    pub at: f64,
    /// Unix time, seconds.
    pub unix: f64,
    /// By family.
    series: HashMap<String, Vec<Series>>,
}

/// A value and its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

impl Series {
    /// What a label says; nothing if it is not there.
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }

    fn has(&self, wanted: &[(&str, &str)]) -> bool {
        wanted.iter().all(|(name, value)| self.label(name) == *value)
    }
}

impl Reading {
    /// Reads a page in the Prometheus text format; lines that are not in it are passed over.
    pub fn parse(at: f64, unix: f64, page: &str) -> Reading {
        let mut series: HashMap<String, Vec<Series>> = HashMap::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            if let Some((family, one)) = parse_line(line) {
                series.entry(family.to_owned()).or_default().push(one);
            }
        }
        Reading { at, unix, series }
    }

    /// All of a family, in the page's order.
    pub fn family(&self, name: &str) -> &[Series] {
        self.series.get(name).map_or(&[], Vec::as_slice)
    }

    /// The sum over a family's series with these labels.
    pub fn sum(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        self.family(family).iter().filter(|series| series.has(labels)).map(|series| series.value).sum()
    }
}

fn parse_line(line: &str) -> Option<(&str, Series)> {
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => parse_labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = value.trim().parse().ok()?;
    Some((name, Series { labels, value }))
}

/// Labels up to the closing brace, and what stands behind it.
fn parse_labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(value) = rest.strip_prefix('}') {
            return Some((labels, value));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, behind) = unquote(quoted)?;
        labels.push((name.to_owned(), value));
        rest = behind;
    }
}

/// A value up to its closing quote, and what stands behind that.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read() {
        let page = "# HELP a_total Packets.\n# TYPE a_total counter\na_total{dev=\"x\",why=\"q\\\"{},=\\\\\"} 3\n\
                    a_total{dev=\"y\",why=\"\"} 4.5\nb 1e3\nnonsense\nc{open=\"} 1\nd{} 2\n";
        let reading = Reading::parse(7.0, 0.0, page);
        let whys: Vec<_> = reading.family("a_total").iter().map(|s| (s.label("why"), s.value)).collect();
        assert_eq!(whys, [("q\"{},=\\", 3.0), ("", 4.5)]);
        assert_eq!(reading.sum("a_total", &[("dev", "y")]), 4.5);
        assert_eq!(
            (reading.sum("a_total", &[]), reading.sum("b", &[]), reading.sum("d", &[])),
            (7.5, 1000.0, 2.0)
        );
        assert_eq!((reading.family("c").len(), reading.family("none").len(), reading.at), (0, 0, 7.0));
    }
}
