//! `skiff bench rules --swap`: rule sets replaced while one lcore forwards at full load, and not one packet may meet some
//! rules of the old set and some of the new.
//!
//! The router is the daemon's own, and the sets come in by `iptables-restore`. Set A marks packets with 1 before they are
//! routed and lets only mark 1 through; set B does the same with 2. A packet that met the mangle table of the one and the
//! filter table of the other is dropped, and the bench first makes sure that it would see that.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;
use skiff_dataplane::core::drop_reason::DropReason;

use super::machine::{Machine, PHASE, SLICE, median, phase};
use crate::drops;
use crate::netfilter::{Call, Program};
use crate::router::Router;

/// Swaps a second.
const RATE: u32 = 100;
/// Packets that show what a rule set does with them, and how long they may take to come.
const SEEN: u64 = 1000;
const PATIENCE: Duration = Duration::from_secs(5);

/// What came out for rule sets of one size.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Rules of a set.
    pub rules: usize,
    /// Swaps done.
    pub swaps: u64,
    /// Time of one on the control thread, from text to the old rules let go: milliseconds, median.
    pub milliseconds_per_swap: f64,
    /// Packets forwarded meanwhile.
    pub forwarded: u64,
    /// Packets dropped by rules: each met a mixture.
    pub netfilter_drop: u64,
    /// Packets that came in and are neither sent nor dropped by rules.
    pub lost: i64,
    /// Cycles a packet while nothing is swapped, median.
    pub quiet: f64,
    /// Cycles a packet while sets are swapped, median.
    pub swapping: f64,
}

/// Swaps sets of 2 and of 1000 rules for `seconds` each. The lcore runs on `cpu`.
///
/// # Errors
/// EAL, the ports or the router could not be set up, or a mixture went unseen.
pub fn run(seconds: f64, cpu: Option<u16>) -> Result<Vec<Row>> {
    let mut machine = Machine::start()?;
    machine.mixture_shows(cpu)?;
    [2, 1000].into_iter().map(|rules| machine.measure(rules, seconds, cpu)).collect()
}

/// The text of a set of `rules` rules around `mark`.
fn restore_text(set: u32, filter: u32, rules: usize) -> String {
    let mut text = format!(
        "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j MARK --set-mark {set}\nCOMMIT\n*filter\n:FORWARD DROP [0:0]\n"
    );
    for i in 2..rules {
        text += &format!("-A FORWARD -s 198.19.{}.{}/32 -j DROP\n", i / 250, i % 250);
    }
    text + &format!("-A FORWARD -m mark --mark {filter} -j ACCEPT\nCOMMIT\n")
}

impl Machine {
    /// A mixture drops every packet.
    fn mixture_shows(&mut self, cpu: Option<u16>) -> Result<()> {
        for (set, filter, passes) in [(1, 2, false), (2, 1, false), (1, 1, true), (2, 2, true)] {
            restore(&mut self.router, &restore_text(set, filter, 2))?;
            let (before, sent) = (self.netfilter_drops(), self.router.shared.ledger().tx);
            self.while_forwarding(cpu, |router, _| {
                // On a busy machine the lcore may take its time to start.
                let (began, end) = (router.shared.ledger().rx, Instant::now() + PATIENCE);
                while router.shared.ledger().rx < began + SEEN && Instant::now() < end {
                    thread::sleep(SLICE);
                }
                Ok(())
            })?;
            let seen = (self.netfilter_drops() > before, self.router.shared.ledger().tx > sent);
            ensure!(
                seen == (!passes, passes),
                "mark {set} under a filter for {filter}: (dropped, sent) is {seen:?}"
            );
        }
        Ok(())
    }

    fn measure(&mut self, rules: usize, seconds: f64, cpu: Option<u16>) -> Result<Row> {
        let sets = [1, 2].map(|mark| restore_text(mark, mark, rules));
        restore(&mut self.router, &sets[0])?;
        let (before, dropped) = (self.router.shared.ledger(), self.netfilter_drops());
        let mut times = Vec::new();
        let samples = self.while_forwarding(cpu, |router, phase| {
            let end = Instant::now() + Duration::from_secs_f64(seconds);
            while Instant::now() < end {
                phase.store(phase::QUIET, Ordering::Relaxed);
                thread::sleep(PHASE);
                phase.store(phase::WORKING, Ordering::Relaxed);
                swap_for(PHASE, router, &sets, &mut times)?;
            }
            Ok(())
        })?;
        let after = self.router.shared.ledger();
        let netfilter_drop = self.netfilter_drops() - dropped;
        let (came, sent) = (after.rx - before.rx, after.tx - before.tx);
        Ok(Row {
            rules,
            swaps: times.len() as u64,
            milliseconds_per_swap: median(times),
            forwarded: sent,
            netfilter_drop,
            lost: came as i64 - sent as i64 - netfilter_drop as i64,
            quiet: median(samples.quiet),
            swapping: median(samples.working),
        })
    }

    fn netfilter_drops(&self) -> u64 {
        let rows = drops::rows(&self.router.shared);
        rows.iter().filter(|row| row.reason == DropReason::NetfilterDrop).map(|row| row.packets).sum()
    }
}

/// Swaps the sets in turn, and notes the milliseconds each swap took.
fn swap_for(time: Duration, router: &mut Router, sets: &[String; 2], times: &mut Vec<f64>) -> Result<()> {
    let end = Instant::now() + time;
    let mut due = Instant::now();
    while Instant::now() < end {
        let began = Instant::now();
        restore(router, &sets[(times.len() + 1) % 2])?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        due += Duration::from_secs(1) / RATE;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// `iptables-restore`, and all that was replaced let go.
fn restore(router: &mut Router, text: &str) -> Result<()> {
    let call = Call { args: Vec::new(), input: text.to_owned(), input_name: "bench".to_owned() };
    let reply = router.netfilter(Program::IptablesRestore, &call);
    ensure!(reply.exit == 0, "iptables-restore: {}", reply.stderr);
    router.reclaim();
    Ok(())
}
