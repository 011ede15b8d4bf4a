//! One trial: what was asked of a generator, and what came of it.

use anyhow::Result;
use serde::Serialize;

use crate::latency::Latency;

/// A trial whose generator offered less than this share of the rate says nothing about the router.
const LEAST_OFFERED: f64 = 0.99;

/// Something that sends frames into a router and counts what comes out.
pub trait Generator {
    /// Runs a trial.
    ///
    /// # Errors
    /// If the generator or the router failed, or the user interrupted.
    fn run(&mut self, spec: &Spec) -> Result<Trial>;

    /// Whether it can offer less than all it can.
    fn is_paced(&self) -> bool {
        true
    }

    /// Whether it stamps frames.
    fn measures_latency(&self) -> bool {
        true
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spec {
    /// Frames a second in each direction; `None` for as many as the link takes.
    pub rate_pps: Option<f64>,
    /// Bytes of a frame with its FCS.
    pub size: usize,
    /// How long frames are sent.
    pub seconds: f64,
    /// Whether to measure latency, which costs the generator some of its rate.
    pub latency: bool,
}

/// What came of it. Counts are of all directions together, rates of each.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Trial {
    /// Bytes of a frame with its FCS.
    pub size: usize,
    /// Directions.
    pub directions: usize,
    /// The rate asked for, frames a second in each direction; none for as many as the link takes.
    pub target_pps: Option<f64>,
    /// How long frames were sent.
    pub seconds: f64,
    /// Frames offered to the link.
    pub offered: u64,
    /// Frames of these that the router's receive ring had no room for.
    pub refused: u64,
    /// Frames that came back, each counted once.
    pub received: u64,
    /// Frames that came after one sent later; none if the generator cannot tell.
    pub reordered: Option<u64>,
    /// Frames that came again.
    pub duplicates: Option<u64>,
    /// Frames that are not of this trial.
    pub stray: Option<u64>,
    /// The longest time the generator was kept from its work, microseconds.
    pub longest_gap_us: Option<f64>,
    /// CPU time over time of the generator's thread.
    pub generator_cpu: Option<f64>,
    /// CPU time over time of the router's busiest thread.
    pub dut_cpu: Option<f64>,
    /// The machine's load average over the last minute.
    pub load: Option<f64>,
    /// Latency, if it was measured.
    pub latency: Option<Latency>,
}

impl Trial {
    /// Frames offered, a second in each direction.
    pub fn offered_pps(&self) -> f64 {
        self.pps(self.offered)
    }

    /// Frames received, a second in each direction.
    pub fn received_pps(&self) -> f64 {
        self.pps(self.received)
    }

    /// Frames that did not come back.
    pub fn lost(&self) -> u64 {
        self.offered.saturating_sub(self.received)
    }

    /// The same as a share of those offered; of none, all of it.
    pub fn loss(&self) -> f64 {
        if self.offered == 0 { 1.0 } else { self.lost() as f64 / self.offered as f64 }
    }

    /// Whether the generator fell short of the rate, so that the trial is none of the router.
    pub fn is_generator_bound(&self) -> bool {
        self.target_pps.is_some_and(|target| self.offered_pps() < target * LEAST_OFFERED)
    }

    fn pps(&self, frames: u64) -> f64 {
        frames as f64 / self.seconds / self.directions.max(1) as f64
    }
}

/// Gbit/s of so many frames, with their FCS, without preamble and gap.
pub fn gbps(pps: f64, size: usize) -> f64 {
    pps * size as f64 * 8.0 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(target: f64, offered: u64, received: u64) -> Trial {
        let target_pps = Some(target);
        Trial { size: 64, directions: 2, target_pps, seconds: 2.0, offered, received, ..Trial::default() }
    }

    #[test]
    fn rates_are_of_one_direction() {
        let trial = trial(250.0, 1000, 900);
        assert_eq!((trial.offered_pps(), trial.received_pps()), (250.0, 225.0));
        assert_eq!((trial.lost(), trial.loss()), (100, 0.1));
    }

    #[test]
    fn one_per_cent_short_is_the_generators_fault() {
        assert!(!trial(250.0, 990, 990).is_generator_bound());
        assert!(trial(250.0, 989, 989).is_generator_bound());
        assert!(!Trial { target_pps: None, ..trial(250.0, 1, 1) }.is_generator_bound());
    }

    #[test]
    fn nothing_offered_is_all_lost() {
        assert_eq!(trial(1.0, 0, 0).loss(), 1.0);
    }
}
