//! `skiff lcore`.

use serde_json::json;
use skiff_dataplane::core::counters::{Counter, LcoreCells};
use skiff_dataplane::core::shared::Shared;

use super::table::Table;
use super::{percent, quotient};
use crate::facts::{Facts, LcoreFacts};

/// What each worker has done since the start: shares of its time, packets, polls.
pub fn lcores(shared: &Shared, facts: &Facts, json: bool) -> String {
    let known = |lcore| facts.lcores.get(lcore).copied().unwrap_or_default();
    let lcores = (0..shared.lcores()).map(|lcore| (lcore, known(lcore), Work::of(shared.cells(lcore))));
    if json {
        let rows: Vec<_> = lcores.map(|(lcore, known, work)| work.json(lcore, known)).collect();
        return format!("{}\n", serde_json::Value::from(rows));
    }
    let mut table = Table::new(
        0,
        [
            "LCORE",
            "CPU",
            "BUSY",
            "IDLE",
            "SLEEP",
            "CONTROL",
            "PACKETS",
            "CYC/PKT",
            "POLLS",
            "EMPTY",
            "AVG-BURST",
            "WAKEUPS",
        ],
    );
    lcores.for_each(|(lcore, known, work)| table.row(work.row(lcore, known)));
    table.render()
}

/// One reading of an lcore's cells.
struct Work {
    busy: u64,
    idle: u64,
    sleep: u64,
    control: u64,
    packets: u64,
    polls: u64,
    empty_polls: u64,
    bursts: u64,
    wakeups: u64,
}

impl Work {
    fn of(cells: &LcoreCells) -> Self {
        Work {
            busy: cells.busy_cycles.get(),
            idle: cells.idle_cycles.get(),
            sleep: cells.sleep_cycles.get(),
            control: cells.control_cycles.get(),
            packets: cells.rx.get(),
            polls: cells.polls.get(),
            empty_polls: cells.empty_polls.get(),
            bursts: cells.rx_bursts.iter().map(Counter::get).sum(),
            wakeups: cells.interrupt_wakeups.get(),
        }
    }

    fn cycles(&self) -> u64 {
        self.busy + self.idle + self.sleep + self.control
    }

    fn cycles_per_packet(&self) -> Option<f64> {
        quotient(self.busy as f64, self.packets)
    }

    fn average_burst(&self) -> Option<f64> {
        quotient(self.packets as f64, self.bursts)
    }

    fn row(&self, lcore: usize, known: LcoreFacts) -> [String; 12] {
        let dash = || "-".to_owned();
        let share = |part| percent(part, self.cycles());
        [
            lcore.to_string(),
            known.cpu.map_or_else(dash, |cpu| cpu.to_string()),
            share(self.busy),
            share(self.idle),
            share(self.sleep),
            share(self.control),
            self.packets.to_string(),
            self.cycles_per_packet().map_or_else(dash, |n| format!("{n:.0}")),
            self.polls.to_string(),
            self.empty_polls.to_string(),
            self.average_burst().map_or_else(dash, |n| format!("{n:.1}")),
            self.wakeups.to_string(),
        ]
    }

    fn json(&self, lcore: usize, known: LcoreFacts) -> serde_json::Value {
        let share = |part: u64| quotient(part as f64, self.cycles());
        json!({
            "lcore": lcore,
            "cpu": known.cpu,
            "numa_node": known.numa_node,
            "cycles": {
                "busy": self.busy, "idle": self.idle, "sleep": self.sleep, "control": self.control,
            },
            "busy_ratio": share(self.busy),
            "idle_ratio": share(self.idle),
            "sleep_ratio": share(self.sleep),
            "control_ratio": share(self.control),
            "packets": self.packets,
            "cycles_per_packet": self.cycles_per_packet(),
            "polls": self.polls,
            "empty_polls": self.empty_polls,
            "average_burst": self.average_burst(),
            "interrupt_wakeups": self.wakeups,
        })
    }
}
