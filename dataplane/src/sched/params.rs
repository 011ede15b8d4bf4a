//! The parameters of disciplines and classes, in the units they work in.

/// How lengths become costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkLayer {
    /// Bytes added to every packet; may be negative.
    pub overhead: i16,
    /// Smallest length that is charged, bytes, overhead included.
    pub mpu: u16,
    /// What goes over the line is ATM cells: 53 bytes for each 48 begun.
    pub atm: bool,
}

impl LinkLayer {
    /// The length that a packet of `len` bytes is charged for.
    #[inline]
    pub fn charged(&self, len: u32) -> u64 {
        let len = (i64::from(len) + i64::from(self.overhead)).max(i64::from(self.mpu)).max(0) as u64;
        if self.atm { len.div_ceil(48) * 53 } else { len }
    }
}

/// htb, the discipline (tc-htb(8)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HtbParams {
    /// Minor number of the class for packets no filter knows; 0 for none.
    pub default: u32,
    /// A class's quantum is its rate in bytes a second divided by this.
    pub r2q: u32,
    /// Most packets that wait unshaped.
    pub direct_qlen: u32,
    /// Classes change between sending and borrowing a little late, which is cheaper.
    pub hysteresis: bool,
}

/// htb, a class. Rates in bytes a second, the rest in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HtbClassParams {
    /// Guaranteed rate.
    pub rate: u64,
    /// Highest rate.
    pub ceil: u64,
    /// What may be sent at once at the rate.
    pub burst: u64,
    /// What may be sent at once at the ceiling.
    pub cburst: u64,
    /// 0 to 7, 0 first. Of leaves only.
    pub prio: u8,
    /// What a leaf sends before it is another's turn.
    pub quantum: u32,
    /// How its rate is charged.
    pub rate_layer: LinkLayer,
    /// How its ceiling is charged.
    pub ceil_layer: LinkLayer,
}

/// red (tc-red(8)). Thresholds in bytes of the average queue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RedParams {
    /// Most bytes that wait.
    pub limit: u32,
    /// Below this nothing happens.
    pub min: u32,
    /// From here on every packet is marked or dropped.
    pub max: u32,
    /// The average takes 2^-wlog of a new value.
    pub wlog: u8,
    /// Mean packet, bytes: with `bandwidth`, how fast the average falls when idle.
    pub avpkt: u32,
    /// Bytes a second.
    pub bandwidth: u64,
    /// Largest probability, times 2^32; `u32::MAX + 1` is certainty.
    pub max_p: u64,
    /// Mark packets that know ECN.
    pub ecn: bool,
    /// Drop instead of marking above `max`.
    pub harddrop: bool,
    /// Let packets through that could only be dropped.
    pub nodrop: bool,
    /// Adjust `max_p` so that the average stays between the thresholds.
    pub adaptive: bool,
    /// Rise from the largest probability to certainty between `max` and twice of it (ours, off by default).
    pub gentle: bool,
}

/// tbf (tc-tbf(8)). Rates in bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TbfParams {
    /// The rate.
    pub rate: u64,
    /// What may be sent at once, bytes. Larger packets are dropped.
    pub burst: u64,
    /// Most bytes that wait.
    pub limit: u64,
    /// A second bucket, that bounds the speed of bursts: its rate and its size (`minburst`).
    pub peak: Option<(u64, u64)>,
    /// How packets are charged at the rate.
    pub rate_layer: LinkLayer,
    /// How packets are charged at the peak rate.
    pub peak_layer: LinkLayer,
}

/// prio (tc-prio(8)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrioParams {
    /// Bands, 2 to 16.
    pub bands: u8,
    /// The band of each priority.
    pub priomap: [u8; 16],
    /// Most packets in the pfifo that each band starts with (the device's `txqueuelen`).
    pub limit: u32,
}

/// The priomap of prio and pfifo_fast (tc-prio(8)).
pub const DEFAULT_PRIOMAP: [u8; 16] = [1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];

/// A discipline and its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum QdiscSpec {
    /// First in, first out, at most so many packets.
    Pfifo {
        /// Packets.
        limit: u32,
    },
    /// First in, first out, at most so many bytes.
    Bfifo {
        /// Bytes.
        limit: u32,
    },
    /// As pfifo, but the oldest is dropped.
    PfifoHeadDrop {
        /// Packets.
        limit: u32,
    },
    /// Three bands of so many packets, lowest first, by [`DEFAULT_PRIOMAP`].
    PfifoFast {
        /// Packets a band.
        limit: u32,
    },
    /// Bands, lowest first.
    Prio(PrioParams),
    /// Token bucket.
    Tbf(TbfParams),
    /// Random early detection.
    Red(RedParams),
    /// Hierarchical token bucket.
    Htb(HtbParams),
}

impl QdiscSpec {
    /// The kind, as tc names it.
    pub const fn kind(&self) -> &'static str {
        match self {
            QdiscSpec::Pfifo { .. } => "pfifo",
            QdiscSpec::Bfifo { .. } => "bfifo",
            QdiscSpec::PfifoHeadDrop { .. } => "pfifo_head_drop",
            QdiscSpec::PfifoFast { .. } => "pfifo_fast",
            QdiscSpec::Prio(_) => "prio",
            QdiscSpec::Tbf(_) => "tbf",
            QdiscSpec::Red(_) => "red",
            QdiscSpec::Htb(_) => "htb",
        }
    }
}
