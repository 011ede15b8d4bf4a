//! The block of statistics, which disciplines and classes have in common.

use skiff_dataplane::sched::cells::{ClassCells, QdiscCells};

use super::super::units;
use super::Out;

/// The numbers in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stats {
    bytes: u64,
    packets: u64,
    drops: u64,
    overlimits: u64,
    requeues: u64,
    backlog: u64,
    qlen: u64,
}

impl From<&QdiscCells> for Stats {
    fn from(cells: &QdiscCells) -> Stats {
        Stats {
            bytes: cells.bytes.get(),
            packets: cells.packets.get(),
            drops: cells.drops.get(),
            overlimits: cells.overlimits.get(),
            requeues: cells.requeues.get(),
            backlog: cells.backlog.get(),
            qlen: cells.qlen.get(),
        }
    }
}

impl From<&ClassCells> for Stats {
    fn from(cells: &ClassCells) -> Stats {
        Stats {
            bytes: cells.bytes.get(),
            packets: cells.packets.get(),
            drops: cells.drops.get(),
            overlimits: cells.overlimits.get(),
            requeues: 0,
            backlog: cells.backlog.get(),
            qlen: cells.qlen.get(),
        }
    }
}

impl Out<'_> {
    /// The block without its last newline; `rate` is what an estimator measured, bytes and packets a second.
    pub(super) fn stats(&mut self, stats: &Stats, rate: Option<(u64, u64)>) {
        self.field("bytes", stats.bytes, format!(" Sent {} bytes", stats.bytes));
        self.field("packets", stats.packets, format!(" {} pkt", stats.packets));
        self.field("drops", stats.drops, format!(" (dropped {}", stats.drops));
        self.field("overlimits", stats.overlimits, format!(", overlimits {}", stats.overlimits));
        self.field("requeues", stats.requeues, format!(" requeues {}) ", stats.requeues));
        self.newline();
        if let Some((bytes, packets)) = rate {
            self.rate("rate", bytes, " rate ", "");
            self.field("pps", packets, format!(" {packets}pps"));
        }
        self.field("backlog", stats.backlog, format!(" backlog {}", units::show_size(stats.backlog)));
        self.field("qlen", stats.qlen, format!(" {}p", stats.qlen));
        self.text(format!(" requeues {}", stats.requeues));
    }
}
