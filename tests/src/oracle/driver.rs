//! Puts probes through both routers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::compare::{self, Outcome, Rule, Verdict, differences, forgive_better_words, judge};
use super::dut::{Counted, Dut};
use super::kernel::Kernel;
use super::normal;
use super::probe::{Host, Multicast, Probe, Scene, Step};
use super::shape::{self, Port};
use super::trace::DropTrace;
use crate::frames::{Frame, RawSocket};

/// How long nothing must have come before a probe is over.
const QUIET: Duration = Duration::from_millis(5);
/// How long frames may take to reach skiff's first counter.
const RECEIVE_LIMIT: Duration = Duration::from_millis(500);
/// How long two outcomes may take to become the same.
const AGREE_LIMIT: Duration = Duration::from_millis(150);

/// How long a router reports a change of its memberships (RFC 3376 section 8: twice, within a second each).
const REPORTS: Duration = Duration::from_millis(2200);
/// How often a probe is put again whose outcomes differ.
const REPEATS: usize = 2;

/// Both labs.
pub struct Driver {
    kernel: Kernel,
    skiff: Dut,
    trace: Option<DropTrace>,
    /// What both have to do with multicast now.
    multicast: Multicast,
    /// Who the probe is.
    host: Host,
    seen: Seen,
    /// Drops of the last probe that skiff has a word for and the kernel has none.
    better_words: i64,
    /// Counters of the kernel that rose and that skiff does not have.
    missing: BTreeSet<String>,
}

/// What has come out since the probe began.
#[derive(Default)]
struct Seen {
    kernel: [Vec<Frame>; 3],
    skiff: [Vec<Frame>; 3],
    drops: BTreeMap<String, i64>,
    /// Frames sent to skiff, those that answer its ARP too.
    sent: i64,
    last: Option<Instant>,
}

/// Counters before a probe.
struct Before {
    kernel: BTreeMap<String, i64>,
    skiff: Counted,
}

impl Driver {
    /// Sets both labs up.
    ///
    /// # Panics
    /// If not root, or if there is no skiff.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Driver {
        let kernel = Kernel::new();
        let skiff = Dut::new();
        Driver {
            kernel,
            skiff,
            trace: DropTrace::start(),
            multicast: Multicast::default(),
            host: Host(0),
            seen: Seen::default(),
            better_words: 0,
            missing: BTreeSet::new(),
        }
    }

    /// Runs every probe whose name matches `wanted` and judges it by `rules`.
    pub fn run(&mut self, scenes: &[Scene], wanted: &str, rules: &[Rule]) -> Report {
        let mut report = Report { traced: self.trace.is_some(), ..Report::default() };
        for scene in scenes {
            if !scene.probes.iter().any(|probe| compare::matches(wanted, &probe.name)) {
                continue;
            }
            let refused = self.enter(scene);
            for probe in scene.probes.iter().filter(|probe| compare::matches(wanted, &probe.name)) {
                let (kernel, skiff) = self.again_if_need_be(probe, &refused, rules, &mut report);
                report.better_words += self.better_words;
                report.add(scene, &probe.name, kernel, skiff, rules);
            }
            self.leave(scene);
        }
        report.missing = std::mem::take(&mut self.missing);
        report
    }

    /// A probe whose outcomes differ is put again, as another host: limiters and timers of a busy machine may have gone
    /// different ways. What differs each time differs.
    fn again_if_need_be(
        &mut self,
        probe: &Probe,
        refused: &Option<String>,
        rules: &[Rule],
        report: &mut Report,
    ) -> (Outcome, Outcome) {
        let mut left = REPEATS;
        loop {
            let (kernel, mut skiff) = self.probe(probe, rules);
            skiff.refused.clone_from(refused);
            let verdict = judge(&probe.name, &differences(&kernel, &skiff), rules);
            if left == 0 || verdict != Verdict::Unexpected {
                return (kernel, skiff);
            }
            left -= 1;
            report.repeated += 1;
        }
    }

    /// Brings both routers to the settings of a scene. Returns what skiff refused.
    fn enter(&mut self, scene: &Scene) -> Option<String> {
        self.kernel.set(&scene.sysctl);
        let mut refused = self.skiff.set(&scene.sysctl).err();
        if refused.is_some() {
            // Not those of the scene before.
            let _ = self.skiff.set(&[]);
        }
        for command in &scene.setup {
            self.kernel.ip(command);
            refused = refused.or(self.skiff.ip(command).err());
        }
        refused = refused.or(self.set_multicast(&scene.multicast).err());
        self.settle(0);
        refused
    }

    /// Joins groups and routes multicast, instead of what the scene before wanted.
    fn set_multicast(&mut self, wanted: &Multicast) -> Result<(), String> {
        if self.multicast == *wanted {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.multicast, wanted.clone());
        self.kernel.set_multicast(wanted);
        let _ = self.skiff.set_multicast(&before, false);
        let done = self.skiff.set_multicast(wanted, true);
        self.pump_for(REPORTS);
        done
    }

    /// Undoes what a scene set up.
    fn leave(&mut self, scene: &Scene) {
        for command in scene.undo.iter().rev() {
            self.kernel.ip(command);
            let _ = self.skiff.ip(command);
        }
    }

    fn probe(&mut self, probe: &Probe, rules: &[Rule]) -> (Outcome, Outcome) {
        self.pump(Duration::ZERO);
        self.host = Host(self.host.0 + 1);
        let host = self.host;
        if let Some(trace) = &mut self.trace {
            trace.take();
        }
        self.seen = Seen::default();
        let before = Before { kernel: self.kernel.counters(), skiff: self.skiff.counted() };
        for step in (probe.build)(host) {
            match step {
                Step::Send(port, frame) => self.send(port, &frame),
                Step::Wait(time) => {
                    self.settle(before.skiff.rx);
                    self.pump_for(time);
                }
            }
        }
        self.settle(before.skiff.rx);
        let deadline = Instant::now() + AGREE_LIMIT;
        loop {
            let mut outcomes = self.outcomes(&before);
            self.better_words = forgive_better_words(&mut outcomes.0, &mut outcomes.1);
            let found = differences(&outcomes.0, &outcomes.1);
            let settled = judge(&probe.name, &found, rules) != Verdict::Unexpected;
            if settled || Instant::now() > deadline {
                return outcomes;
            }
            self.pump_for(Duration::from_millis(10));
        }
    }

    fn send(&mut self, port: Port, frame: &[u8]) {
        self.kernel.ends[port.index()].send(frame);
        self.skiff.ends[port.index()].send(frame);
        self.seen.sent += 1;
    }

    /// Until skiff has received everything, nothing comes any more, and its balance stands still.
    fn settle(&mut self, rx_before: i64) {
        let deadline = Instant::now() + RECEIVE_LIMIT;
        let mut last = [0; 4];
        loop {
            self.pump_for(Duration::from_millis(2));
            let (rx, balance) = self.skiff.balance();
            let received = rx_before == 0 || rx >= rx_before + self.seen.sent;
            let still = balance == last && self.seen.last.is_none_or(|at| at.elapsed() >= QUIET);
            last = balance;
            if (received && still) || Instant::now() > deadline {
                return;
            }
        }
    }

    fn pump_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            self.pump(left);
            if left.is_zero() {
                return;
            }
        }
    }

    /// Takes what is there, waiting at most `time` for the first, and answers ARP.
    fn pump(&mut self, time: Duration) {
        let ends = [(true, &self.kernel.ends), (false, &self.skiff.ends)];
        let sockets: Vec<(bool, Port, &RawSocket)> = ends
            .into_iter()
            .flat_map(|(kernel, ends)| {
                Port::ALL.into_iter().zip(ends).map(move |(port, end)| (kernel, port, end))
            })
            .collect();
        let mut fds: Vec<PollFd> =
            sockets.iter().map(|(.., s)| PollFd::new(s.as_fd(), PollFlags::POLLIN)).collect();
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO);
        let _ = poll(&mut fds, timeout);
        for (kernel, port, socket) in sockets {
            while let Some(frame) = socket.receive() {
                if let Some(answer) = arp_answer(port, &frame) {
                    socket.send(&answer);
                    self.seen.sent += i64::from(!kernel);
                }
                if is_late(self.host, &frame) {
                    continue;
                }
                self.seen.last = Some(Instant::now());
                let seen = if kernel { &mut self.seen.kernel } else { &mut self.seen.skiff };
                seen[port.index()].push(frame);
            }
        }
        for reason in self.trace.iter_mut().flat_map(DropTrace::take) {
            *self.seen.drops.entry(reason).or_default() += 1;
        }
    }

    fn outcomes(&mut self, before: &Before) -> (Outcome, Outcome) {
        let (kernel, skiff) = (self.kernel.counters(), self.skiff.counted());
        let rise = |after: &BTreeMap<String, i64>, before: &BTreeMap<String, i64>| -> BTreeMap<String, i64> {
            after.iter().map(|(name, n)| (name.clone(), n - before.get(name).copied().unwrap_or(0))).collect()
        };
        let mut kernel_counters = rise(&kernel, &before.kernel);
        // A type of message has a row from its first one on.
        let has = |name: &String| skiff.mibs.contains_key(name) || name.starts_with("IcmpMsg");
        let missing = kernel_counters.iter().filter(|(name, n)| **n != 0 && !has(name));
        self.missing.extend(missing.map(|(name, _)| name.clone()));
        kernel_counters.retain(|name, _| has(name));
        let kernel = Outcome {
            frames: self.seen.kernel.clone(),
            counters: kernel_counters,
            drops: self.trace.is_some().then(|| self.seen.drops.clone()),
            refused: None,
        };
        let skiff = Outcome {
            frames: self.seen.skiff.clone(),
            counters: rise(&skiff.mibs, &before.skiff.mibs),
            drops: Some(rise(&skiff.drops, &before.skiff.drops)),
            refused: None,
        };
        (kernel, skiff)
    }
}

/// True of a request that an earlier probe is the cause of: the timers of its neighbours run on.
fn is_late(host: Host, frame: &[u8]) -> bool {
    if normal::ethertype(frame) != 0x0806 || frame.get(20..22) != Some(&[0, 1]) {
        return false;
    }
    let Some(Ok(target)) = frame.get(38..42).map(<[u8; 4]>::try_from) else { return false };
    let confirms = frame[0] & 1 == 0;
    !host.owns(target) && (confirms || (0..host.0).any(|earlier| Host(earlier).owns(target)))
}

/// What the hosts at a port say to an ARP request of the router.
fn arp_answer(port: Port, frame: &[u8]) -> Option<Frame> {
    if normal::ethertype(frame) != 0x0806 || frame.get(20..22)? != [0, 1] {
        return None;
    }
    let target = <[u8; 4]>::try_from(frame.get(38..42)?).ok()?;
    let mac = shape::answers(port, target)?;
    let asker = frame.get(22..32)?;
    let mut answer = [&frame[6..12], &mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2], &mac, &target, asker].concat();
    answer.resize(60, 0);
    Some(answer)
}

/// What came of all probes.
#[derive(Default)]
pub struct Report {
    /// The kernel's drop reasons were compared.
    pub traced: bool,
    /// Probes without any difference.
    pub identical: usize,
    /// Probes for each rule that was needed.
    pub known: BTreeMap<usize, Vec<String>>,
    /// Probes with differences no rule knows, both sides readable.
    pub unexpected: Vec<String>,
    /// Drops that skiff has a word for and the kernel has none.
    pub better_words: i64,
    /// Counters of the kernel that rose and that skiff does not have.
    pub missing: BTreeSet<String>,
    /// How often probes were put again.
    pub repeated: usize,
    /// Probes in all.
    pub probes: usize,
    /// Everything about every probe, for a closer look.
    pub full: String,
}

impl Report {
    fn add(&mut self, scene: &Scene, name: &str, kernel: Outcome, skiff: Outcome, rules: &[Rule]) {
        self.probes += 1;
        let found = differences(&kernel, &skiff);
        let _ = writeln!(self.full, "== {name} ({})", scene.name);
        for (who, outcome) in [("kernel", &kernel), ("skiff ", &skiff)] {
            for line in outcome.lines() {
                let _ = writeln!(self.full, "  {who} {line}");
            }
        }
        match judge(name, &found, rules) {
            Verdict::Identical => self.identical += 1,
            Verdict::Known(used) => {
                for rule in used {
                    self.known.entry(rule).or_default().push(name.to_owned());
                }
            }
            Verdict::Unexpected => {
                let mut text = format!("{name} ({})", scene.name);
                for difference in found {
                    let _ = write!(text, "\n  {difference}");
                }
                self.unexpected.push(text);
            }
        }
    }

    /// The numbers, and the rules that were needed with why.
    pub fn summary(&self, rules: &[Rule]) -> String {
        let known: BTreeSet<_> = self.known.values().flatten().collect();
        let mut text = format!(
            "{} probes: {} identical, {} deviate as known, {} unexpectedly; {} put again{}\n",
            self.probes,
            self.identical,
            known.len(),
            self.unexpected.len(),
            self.repeated,
            if self.traced { "" } else { " (no tracefs: drop reasons not compared)" },
        );
        let _ = writeln!(text, "  {} drops have a word here that are not_specified there", self.better_words);
        if !self.missing.is_empty() {
            let names: Vec<_> = self.missing.iter().map(String::as_str).collect();
            let _ = writeln!(text, "  counted by the kernel alone: {}", names.join(", "));
        }
        for (rule, names) in &self.known {
            let _ = writeln!(text, "  {:3} x {}: {}", names.len(), rules[*rule].probe, rules[*rule].why);
        }
        text
    }

    /// Rules that nothing needed.
    pub fn unused<'r>(&self, rules: &'r [Rule]) -> Vec<&'r Rule> {
        let rules = rules.iter().enumerate().filter(|(at, _)| !self.known.contains_key(at));
        rules.map(|(_, rule)| rule).collect()
    }
}
