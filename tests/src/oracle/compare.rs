//! What came of a probe, and where two outcomes differ.

use std::collections::BTreeMap;
use std::fmt;

use super::normal;
use super::shape::Port;
use crate::frames::Frame;

/// Reasons of skiff that say more where the kernel has no word, `not_specified`.
const SAYS_MORE: [&str; 8] = [
    "arp_ignored",
    "frag_discard",
    "no_socket",
    "pkt_too_big",
    "pkt_too_small",
    "invalid_proto",
    "unhandled_proto",
    "ip_invalid_source",
];

/// Everything that could be seen of a router during a probe.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What came out of each port.
    pub frames: [Vec<Frame>; 3],
    /// Counters that rose.
    pub counters: BTreeMap<String, i64>,
    /// Dropped packets by reason; `None` if it cannot be told.
    pub drops: Option<BTreeMap<String, i64>>,
    /// What the router said when it was set up, if it refused.
    pub refused: Option<String>,
}

impl Outcome {
    /// The outcome as lines. Frames of a port are numbered, so that their order counts; requests and answers of ARP
    /// by themselves, because they may come at any time.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.refused.iter().map(|why| format!("refuses: {}", why.trim())).collect();
        for port in Port::ALL {
            let of_port = &self.frames[port.index()];
            let (arp, rest): (Vec<_>, Vec<_>) = of_port.iter().partition(|f| normal::ethertype(f) == 0x0806);
            for frames in [rest, arp] {
                let numbered = frames.iter().enumerate();
                lines
                    .extend(numbered.map(|(n, f)| format!("{} #{n} {}", port.host_iface(), normal::line(f))));
            }
        }
        lines.extend(
            self.counters.iter().filter(|(_, n)| **n != 0).map(|(name, n)| format!("count {name} {n}")),
        );
        for (reason, n) in self.drops.iter().flatten().filter(|(_, n)| **n != 0) {
            lines.push(format!("drop {reason} {n}"));
        }
        lines
    }
}

/// Calls the reasons of skiff `not_specified` where the kernel says so and skiff says more. Returns how many.
pub fn forgive_better_words(kernel: &mut Outcome, skiff: &mut Outcome) -> i64 {
    let (Some(theirs), Some(ours)) = (&mut kernel.drops, &mut skiff.drops) else { return 0 };
    let count = |drops: &BTreeMap<String, i64>, reason: &str| drops.get(reason).copied().unwrap_or(0);
    let mut forgiven = 0;
    for reason in SAYS_MORE {
        let unnamed = count(theirs, "not_specified") - count(ours, "not_specified");
        let more = (count(ours, reason) - count(theirs, reason)).min(unnamed);
        if more > 0 {
            *ours.entry(reason.to_owned()).or_default() -= more;
            *ours.entry("not_specified".to_owned()).or_default() += more;
            forgiven += more;
        }
    }
    forgiven
}

/// A line that only one of the two has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// True if the kernel has it.
    pub kernel: bool,
    /// The line.
    pub line: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.kernel { "kernel" } else { "skiff " }, self.line)
    }
}

/// The lines that differ. Counters that only one of the two has at all are left out.
pub fn differences(kernel: &Outcome, skiff: &Outcome) -> Vec<Difference> {
    let (mut kernel, mut skiff) = (kernel.clone(), skiff.clone());
    if kernel.drops.is_none() || skiff.drops.is_none() {
        (kernel.drops, skiff.drops) = (None, None);
    }
    let (ours, theirs) = (skiff.lines(), kernel.lines());
    let only = |these: &[String], those: &[String], kernel| -> Vec<Difference> {
        let these = these.iter().filter(|line| !those.contains(line));
        these.map(|line| Difference { kernel, line: line.clone() }).collect()
    };
    let mut found = only(&theirs, &ours, true);
    found.extend(only(&ours, &theirs, false));
    found
}

/// A difference that is known.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The probes it is about; `*` stands for anything.
    pub probe: &'static str,
    /// The lines it is about, in the same way.
    pub line: &'static str,
    /// Why, or what is not there yet, in one line.
    pub why: &'static str,
}

/// What to make of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No difference.
    Identical,
    /// Every difference is known: by these rules.
    Known(Vec<usize>),
    /// Some are not.
    Unexpected,
}

/// Judges the differences of a probe.
pub fn judge(name: &str, found: &[Difference], rules: &[Rule]) -> Verdict {
    if found.is_empty() {
        return Verdict::Identical;
    }
    let mut used = Vec::new();
    for difference in found {
        let rule =
            rules.iter().position(|rule| matches(rule.probe, name) && matches(rule.line, &difference.line));
        match rule {
            Some(at) if used.contains(&at) => {}
            Some(at) => used.push(at),
            None => return Verdict::Unexpected,
        }
    }
    Verdict::Known(used)
}

/// True if `text` is what `pattern` says, where `*` stands for any number of characters.
pub fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => {
            let Some(tail) = text.strip_prefix(head) else { return false };
            (0..=tail.len()).filter(|at| tail.is_char_boundary(*at)).any(|at| matches(rest, &tail[at..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_a_shell_would() {
        assert!(
            matches("options/*", "options/rr") && matches("*rr*", "options/rr full") && matches("a", "a")
        );
        assert!(!matches("options/*", "header/rr") && !matches("a", "ab") && !matches("*b", "abc"));
    }

    #[test]
    fn a_rule_covers_its_lines_and_no_others() {
        let counters = |n| BTreeMap::from([("IpInReceives".to_owned(), n)]);
        let kernel = Outcome { counters: counters(1), drops: Some(BTreeMap::new()), ..Outcome::default() };
        let skiff = Outcome {
            counters: counters(2),
            drops: Some(BTreeMap::from([("nomem".to_owned(), 1)])),
            ..Outcome::default()
        };
        let found = differences(&kernel, &skiff);
        let lines: Vec<String> = found.iter().map(Difference::to_string).collect();
        assert_eq!(
            lines,
            ["kernel count IpInReceives 1", "skiff  count IpInReceives 2", "skiff  drop nomem 1"]
        );
        let rule = |line| Rule { probe: "a/*", line, why: "" };
        assert_eq!(judge("a/b", &found, &[rule("count *")]), Verdict::Unexpected);
        assert_eq!(judge("a/b", &found, &[rule("count *"), rule("drop nomem*")]), Verdict::Known(vec![0, 1]));
        assert_eq!(judge("b/b", &found, &[rule("*")]), Verdict::Unexpected);
        assert_eq!(judge("a/b", &[], &[]), Verdict::Identical);
    }

    #[test]
    fn frames_in_another_order_differ() {
        let [a, b] = [vec![1; 20], vec![2; 20]];
        let with = |frames: [&Frame; 2]| Outcome {
            frames: [frames.map(Frame::clone).to_vec(), vec![], vec![]],
            ..Outcome::default()
        };
        assert!(differences(&with([&a, &b]), &with([&a, &b])).is_empty());
        assert_eq!(differences(&with([&a, &b]), &with([&b, &a])).len(), 4);
    }
}
