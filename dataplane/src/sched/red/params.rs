//! What the words of `tc qdisc add ... red` mean (tc-red(8)): thresholds, weight and probability from what is given.

use std::fmt;

use thiserror::Error;

use crate::sched::params::RedParams;

/// What an operator says; 0 is not said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RedOptions {
    /// Most bytes that wait. Mandatory.
    pub limit: u32,
    /// Lower threshold, bytes.
    pub min: u32,
    /// Upper threshold, bytes.
    pub max: u32,
    /// Mean packet, bytes. Mandatory.
    pub avpkt: u32,
    /// Packets that may come at once without a mark.
    pub burst: u32,
    /// Speed of the line, bytes a second.
    pub bandwidth: u64,
    /// Largest probability; 1 and above is certainty.
    pub probability: f64,
    /// See [`RedParams`].
    pub ecn: bool,
    /// See [`RedParams`].
    pub harddrop: bool,
    /// See [`RedParams`].
    pub nodrop: bool,
    /// See [`RedParams`].
    pub adaptive: bool,
    /// See [`RedParams`].
    pub gentle: bool,
}

impl Default for RedOptions {
    fn default() -> Self {
        RedOptions {
            limit: 0,
            min: 0,
            max: 0,
            avpkt: 0,
            burst: 0,
            bandwidth: 0,
            probability: 0.02,
            ecn: false,
            harddrop: false,
            nodrop: false,
            adaptive: false,
            gentle: false,
        }
    }
}

/// What tc refuses, or the kernel; printed as they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RedError {
    /// Limit or mean packet are not said.
    #[error("RED: Required parameter (limit, avpkt) is missing")]
    Missing,
    /// No weight lets such a burst pass below the lower threshold.
    #[error(
        "tc_red_eval_ewma() burst {burst} is too small ? Try burst {least}\n\
         RED: failed to calculate EWMA constant."
    )]
    BurstTooSmall {
        /// As given, or derived.
        burst: u32,
        /// One that may do.
        least: u32,
    },
    /// No weight of 2^-1 to 2^-31 does.
    #[error("RED: failed to calculate EWMA constant.")]
    Ewma,
    /// The upper threshold is below the lower, or the probability is too small.
    #[error("RED: failed to calculate probability.")]
    Probability,
    /// Refused by the kernel, not by tc.
    #[error("nodrop mode is only meaningful with ECN")]
    NodropWithoutEcn,
}

impl RedError {
    /// True if tc takes it and the kernel refuses, which is another exit status.
    pub const fn is_kernels(&self) -> bool {
        matches!(self, RedError::NodropWithoutEcn)
    }
}

/// What tc says on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedNote {
    /// The speed was not said.
    DefaultBandwidth,
    /// The average will follow very slowly.
    BurstTooLarge(u32),
}

impl fmt::Display for RedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RedNote::DefaultBandwidth => f.write_str("RED: set bandwidth to 10Mbit"),
            RedNote::BurstTooLarge(burst) => write!(f, "RED: WARNING. Burst {burst} seems to be too large."),
        }
    }
}

const TEN_MBIT: u64 = 1_250_000;
/// tc warns of a weight from 2^-10 down.
const LARGE_WLOG: u8 = 10;
const CERTAIN: u64 = 1 << 32;

impl RedOptions {
    /// The parameters; `note` gets what tc would say, in its order, also before an error.
    ///
    /// Thresholds need not fit the kernel's 32-bit averages (`max << Wlog`): ours have 64 bits.
    ///
    /// # Errors
    /// What tc or the kernel refuses.
    pub fn derive(&self, note: &mut dyn FnMut(RedNote)) -> Result<RedParams, RedError> {
        if self.limit == 0 || self.avpkt == 0 {
            return Err(RedError::Missing);
        }
        let (min, max) = self.thresholds();
        let burst = match self.burst {
            0 => ((2 * u64::from(min) + u64::from(max)) / (3 * u64::from(self.avpkt))) as u32,
            burst => burst,
        };
        if self.bandwidth == 0 {
            note(RedNote::DefaultBandwidth);
        }
        let bandwidth = if self.bandwidth == 0 { TEN_MBIT } else { self.bandwidth };
        let wlog = eval_ewma(min, burst, self.avpkt)?;
        if wlog >= LARGE_WLOG {
            note(RedNote::BurstTooLarge(burst));
        }
        plog(min, max, self.probability).ok_or(RedError::Probability)?;
        if self.nodrop && !self.ecn {
            return Err(RedError::NodropWithoutEcn);
        }
        Ok(RedParams {
            limit: self.limit,
            min,
            max,
            wlog,
            avpkt: self.avpkt,
            bandwidth,
            max_p: max_p(self.probability),
            ecn: self.ecn,
            harddrop: self.harddrop,
            nodrop: self.nodrop,
            adaptive: self.adaptive,
            gentle: self.gentle,
        })
    }

    fn thresholds(&self) -> (u32, u32) {
        let max = match (self.max, self.min) {
            (0, 0) => self.limit / 4,
            (0, min) => min.saturating_mul(3),
            (max, _) => max,
        };
        (if self.min == 0 { max / 3 } else { self.min }, max)
    }
}

/// The weight 2^-w of a new value that lets `burst` packets into an empty queue before its average is at `min` (tc's
/// reading of Floyd and Jacobson's section on the weight).
///
/// # Errors
/// There is none.
pub fn eval_ewma(min: u32, burst: u32, avpkt: u32) -> Result<u8, RedError> {
    let over = f64::from(burst) + 1.0 - f64::from(min) / f64::from(avpkt);
    if over < 1.0 {
        return Err(RedError::BurstTooSmall { burst, least: 1 + min / avpkt });
    }
    let fits = |wlog: &u8| {
        let weight = 0.5f64.powi(i32::from(*wlog));
        over <= (1.0 - (1.0 - weight).powf(f64::from(burst))) / weight
    };
    (1..32).find(fits).ok_or(RedError::Ewma)
}

/// The largest probability times 2^32.
pub fn max_p(probability: f64) -> u64 {
    ((probability * CERTAIN as f64) as u64).min(CERTAIN)
}

/// The kernel's older form of the largest probability (`Plog`): it is about (max - min) * 2^-plog. `None` if the thresholds
/// are the wrong way round or it does not fit.
pub fn plog(min: u32, max: u32, probability: f64) -> Option<u8> {
    let delta = max.checked_sub(min)?;
    if delta == 0 {
        return Some(0);
    }
    let each = probability / f64::from(delta);
    (0..32).find(|&doublings| each * 2f64.powi(i32::from(doublings)) > 1.0)
}

/// The kernel's table of how far the average falls while idle (`Scell_log` and `Stab`), which `tc -d` shows: after
/// `i << Scell_log` ticks of 64 ns it is shifted right by `Stab[i]`.
///
/// We compute the same from nanoseconds instead, see [`super::average`].
pub fn idle_table(wlog: u8, avpkt: u32, bandwidth: u64) -> (u8, [u8; 256]) {
    const TICKS_PER_USEC: f64 = 15.625;
    let xmit = (TICKS_PER_USEC * f64::from(avpkt) * 1e6 / bandwidth as f64).ceil();
    let shift_per_tick = -(-0.5f64.powi(wlog.into())).ln_1p() / xmit;
    let longest = 31.0 / shift_per_tick;
    let cell_log = (0..31).find(|&log: &u8| longest / 2f64.powi(log.into()) < 512.0).unwrap_or(31);
    let table = std::array::from_fn(|i| match i {
        0 => 0,
        255 => 31,
        _ => (((i as u64) << cell_log) as f64 * shift_per_tick).min(31.0) as u8,
    });
    (cell_log, table)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MBIT: u64 = 125_000;

    fn derive(options: &RedOptions) -> (Result<RedParams, RedError>, Vec<RedNote>) {
        let mut notes = Vec::new();
        (options.derive(&mut |note| notes.push(note)), notes)
    }

    /// min, max, Wlog, Plog, Scell_log, max_P.
    fn shown(options: &RedOptions) -> (u32, u32, u8, u8, u8, u64) {
        let params = derive(options).0.unwrap();
        let plog = plog(params.min, params.max, options.probability).unwrap();
        let (cell_log, table) = idle_table(params.wlog, params.avpkt, params.bandwidth);
        assert_eq!((table[0], table[255]), (0, 31));
        assert!(table.is_sorted());
        (params.min, params.max, params.wlog, plog, cell_log, params.max_p)
    }

    fn options(limit: u32, avpkt: u32) -> RedOptions {
        RedOptions { limit, avpkt, bandwidth: 10 * MBIT, ..RedOptions::default() }
    }

    #[test]
    fn derives_what_tc_puts_on_netlink() {
        const P: u64 = 0x051e_b851;
        let row = RedOptions { min: 30000, max: 90000, burst: 55, ..options(400_000, 1000) };
        assert_eq!(shown(&row), (30000, 90000, 5, 22, 15, P));
        assert_eq!(shown(&options(400_000, 1000)), (33333, 100_000, 5, 22, 15, P));
        let row = RedOptions { min: 15 << 10, max: 45 << 10, burst: 20, ..options(60 << 10, 1000) };
        assert_eq!(shown(&row), (15360, 46080, 3, 21, 13, P));
        let row = RedOptions {
            min: 500 << 10,
            max: 1500 << 10,
            burst: 600,
            bandwidth: 1000 * MBIT,
            probability: 0.1,
            ..options(10 << 20, 1500)
        };
        assert_eq!(shown(&row), (512_000, 1_536_000, 9, 24, 13, 0x1999_9999));
        let row =
            RedOptions { min: 10 << 10, max: 30 << 10, bandwidth: 100 * MBIT, ..options(100 << 10, 1000) };
        assert_eq!(shown(&row), (10240, 30720, 4, 20, 11, P));
        // tc 6.1 makes 0 of certainty; here it is certainty.
        let row =
            RedOptions { min: 30000, max: 30001, burst: 38, probability: 1.0, ..options(1 << 20, 1400) };
        assert_eq!(shown(&row), (30000, 30001, 5, 1, 16, CERTAIN));
        let row = RedOptions { min: 20 << 10, max: 60 << 10, burst: 5, ..options(100 << 10, 1000) };
        assert_eq!(derive(&row).0, Err(RedError::BurstTooSmall { burst: 5, least: 21 }));
    }

    #[test]
    fn says_what_tc_says() {
        let (result, notes) = derive(&RedOptions { bandwidth: 0, burst: 3000, ..options(1 << 20, 1000) });
        assert_eq!(result.unwrap().bandwidth, TEN_MBIT);
        assert_eq!(notes, [RedNote::DefaultBandwidth, RedNote::BurstTooLarge(3000)]);
        assert_eq!(notes[0].to_string(), "RED: set bandwidth to 10Mbit");
        assert_eq!(notes[1].to_string(), "RED: WARNING. Burst 3000 seems to be too large.");

        let row = RedOptions { min: 20480, max: 61440, burst: 5, bandwidth: 0, ..options(102_400, 1000) };
        let (result, notes) = derive(&row);
        assert_eq!(notes, [RedNote::DefaultBandwidth]);
        assert_eq!(
            result.unwrap_err().to_string(),
            "tc_red_eval_ewma() burst 5 is too small ? Try burst 21\nRED: failed to calculate EWMA constant."
        );
        for missing in [options(0, 1000), options(1000, 0)] {
            let (result, notes) = derive(&RedOptions { bandwidth: 0, ..missing });
            assert_eq!((result, notes), (Err(RedError::Missing), vec![]));
        }
        let nodrop = RedOptions { nodrop: true, ..options(100_000, 1000) };
        assert_eq!(derive(&nodrop).0, Err(RedError::NodropWithoutEcn));
        assert!(RedError::NodropWithoutEcn.is_kernels());
        assert!(derive(&RedOptions { ecn: true, ..nodrop }).0.is_ok());
    }

    #[test]
    fn refuses_what_cannot_be() {
        let swapped = RedOptions { min: 60 << 10, max: 20 << 10, burst: 200, ..options(100 << 10, 1000) };
        assert_eq!(derive(&swapped).0, Err(RedError::Probability));
        for probability in [0.0, -1.0, 1e-12, f64::NAN] {
            let row = RedOptions { probability, ..options(100_000, 1000) };
            assert_eq!(derive(&row).0, Err(RedError::Probability), "{probability}");
        }
        let equal = RedOptions { min: 30000, max: 30000, burst: 55, ..options(100_000, 1000) };
        assert_eq!(derive(&equal).0.map(|params| (params.min, params.max)), Ok((30000, 30000)));
        // Too wide for the kernel's average, not for ours.
        let wide = RedOptions { min: 10 << 20, max: 30 << 20, burst: 12_000, ..options(100 << 20, 1500) };
        let wide = derive(&wide).0.unwrap();
        assert!(u64::from(wide.max) << wide.wlog > u32::MAX.into());
    }
}
