//! Statistics of disciplines and classes: written by the tree's owner, read by anybody.

use std::sync::atomic::{AtomicI64, Ordering};

use super::params::QdiscSpec;
use super::qdisc::{Enqueued, Held, Xmit};
use crate::core::counters::Counter;
use crate::core::histogram::TimeHistogram;

/// What `tc -s qdisc show` prints of a discipline.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct QdiscCells {
    /// Bytes that left it.
    pub bytes: Counter,
    /// Packets that left it.
    pub packets: Counter,
    /// Packets dropped in it and below.
    pub drops: Counter,
    /// Times something had to wait for its rate, or was over a threshold.
    pub overlimits: Counter,
    /// Packets the driver gave back.
    pub requeues: Counter,
    /// Packets in it and below.
    pub qlen: Counter,
    /// Their bytes.
    pub backlog: Counter,
    /// What only some disciplines count.
    pub special: Special,
}

impl QdiscCells {
    /// Those of a discipline of this kind.
    pub fn for_spec(spec: &QdiscSpec) -> Self {
        let special = match spec {
            QdiscSpec::Htb(_) => Special::Htb(HtbCells::default()),
            QdiscSpec::Red(_) => Special::Red(Box::default()),
            _ => Special::None,
        };
        QdiscCells { special, ..Self::default() }
    }

    /// Counts a packet that came in.
    #[inline]
    pub fn came(&self, bytes: u32) {
        self.qlen.add(1);
        self.backlog.add(u64::from(bytes));
    }

    /// Counts a packet that was sent.
    #[inline]
    pub fn sent(&self, bytes: u32) {
        self.sent_all(1, bytes.into());
    }

    /// Counts packets that were sent.
    #[inline]
    pub fn sent_all(&self, packets: u64, bytes: u64) {
        self.packets.add(packets);
        self.bytes.add(bytes);
        self.gone(packets, bytes);
    }

    /// Counts what the enqueue of a discipline below did.
    #[inline]
    pub fn enqueued(&self, below: &Enqueued) {
        if below.code == Xmit::Success {
            return self.came(below.bytes as u32);
        }
        self.drops.add(u64::from(below.is_drop()));
        self.qlen.add(i64::from(below.packets) as u64);
        self.backlog.add(i64::from(below.bytes) as u64);
    }

    /// Counts packets of those held as dropped.
    pub fn lost(&self, dropped: Held) {
        self.drops.add(dropped.packets);
        self.gone(dropped.packets, dropped.bytes);
    }

    /// Says how much is held now.
    #[inline]
    pub fn holds(&self, packets: u32, bytes: u32) {
        self.qlen.set(packets.into());
        self.backlog.set(bytes.into());
    }

    /// Starts again from zero, for a discipline that takes another's place.
    pub fn clear(&self) {
        for counter in [&self.bytes, &self.packets, &self.drops, &self.overlimits, &self.requeues] {
            counter.set(0);
        }
        self.holds(0, 0);
    }

    /// Takes packets that left otherwise out of what is held.
    #[inline]
    pub fn gone(&self, packets: u64, bytes: u64) {
        self.qlen.set(self.qlen.get().wrapping_sub(packets));
        self.backlog.set(self.backlog.get().wrapping_sub(bytes));
    }
}

/// Statistics of one kind of discipline.
#[derive(Debug, Default)]
pub enum Special {
    /// None.
    #[default]
    None,
    /// Of htb.
    Htb(HtbCells),
    /// Of red.
    Red(Box<RedCells>),
}

/// What htb counts beside.
#[derive(Debug, Default)]
pub struct HtbCells {
    /// Packets sent unshaped (`direct_packets_stat`).
    pub direct_packets: Counter,
    /// Times a class was looked at because its tokens had come.
    pub events: Counter,
    /// How much later than they had: from a microsecond to 4 ms, each bound four times the one before.
    pub event_lag: TimeHistogram<7, 1024, 2>,
}

impl HtbCells {
    /// Counts an event that came `lag` nanoseconds late.
    #[inline]
    pub fn event(&self, lag: u64) {
        self.events.add(1);
        self.event_lag.record(lag);
    }
}

/// What red counts beside (`tc -s`: marked, early, pdrop), and where it stands.
#[derive(Debug, Default)]
pub struct RedCells {
    /// Dropped by chance, between the thresholds.
    pub prob_drop: Counter,
    /// Marked by chance.
    pub prob_mark: Counter,
    /// Dropped above the upper threshold.
    pub forced_drop: Counter,
    /// Marked there.
    pub forced_mark: Counter,
    /// Refused by the queue.
    pub pdrop: Counter,
    /// Average queue, bytes.
    pub average: Counter,
    /// The largest probability now, times 2^32.
    pub max_p: Counter,
}

/// What `tc -s class show` prints of a class. What every packet changes is in the first cache line.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct ClassCells {
    /// Bytes that left it.
    pub bytes: Counter,
    /// Packets that left it.
    pub packets: Counter,
    /// Packets sent with its own tokens.
    pub lended: Counter,
    /// Packets sent with those of an ancestor.
    pub borrowed: Counter,
    /// Tokens of its rate, in units of 64 ns as tc prints them.
    pub tokens: Gauge,
    /// Tokens of its ceiling, likewise.
    pub ctokens: Gauge,
    /// Packets that wait in its queue.
    pub qlen: Counter,
    /// Their bytes.
    pub backlog: Counter,
    /// Times it ran out of its ceiling.
    pub overlimits: Counter,
    /// Packets dropped on their way into it; not those that a change of the tree drops.
    pub drops: Counter,
    /// How long some of its packets waited: from 4 us to 4 s, each bound four times the one before.
    pub sojourn: TimeHistogram<11, 4096, 2>,
}

/// A signed value with one writer.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Writes it.
    #[inline]
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Reads it.
    #[inline]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}
