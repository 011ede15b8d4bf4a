//! The highest rate at which a router loses no more than a given share, by bisection.
//!
//! A bracket is kept: the highest rate that is known to pass, and the lowest that is known to fail. What lies below the
//! one and above the other is never tried, and never reported. On a shared machine a trial fails now and then for reasons
//! that are none of the router's, so there are two answers: a strict one, in which a single failure counts, and one in
//! which only two at the same rate do.

use serde::Serialize;

/// A bracket whose upper end has sunk to this share of the ceiling holds nothing.
const NOTHING: f64 = 1e-3;
/// Trials after which the bracket is taken as it is. Bisection ends long before.
const MOST_PROBES: usize = 100;

/// Where to look.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// The highest rate to try, frames a second.
    pub ceiling: f64,
    /// How close the ends of the bracket must come, as a share of the upper one.
    pub precision: f64,
}

/// What a rate must do to pass.
#[derive(Clone, Copy, Debug)]
pub struct Criterion {
    /// The share of frames that may be lost.
    pub loss: f64,
    /// Failures at one rate that make it fail: 1 or 2.
    pub failures: usize,
}

/// How a trial went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// This share of the frames was lost.
    Loss(f64),
    /// The generator could not offer the rate. It fails, but not the router.
    GeneratorBound,
}

/// What kept the rate from being higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitedBy {
    /// Loss just above it.
    Loss,
    /// The generator: the router may do more.
    Generator,
    /// The highest rate tried: the router may do more.
    Ceiling,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Found {
    /// The highest rate that passed, frames a second; 0 if none did.
    pub pps: f64,
    /// What ended it.
    pub limited_by: LimitedBy,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    rate: f64,
    outcome: Outcome,
}

/// All trials so far; every search makes use of those before it.
#[derive(Clone, Debug)]
pub struct Search {
    range: Range,
    probes: Vec<Probe>,
}

/// What to do next.
enum Step {
    Try(f64),
    Done(Found),
}

impl Search {
    /// No trials yet.
    pub fn new(range: Range) -> Search {
        Search { range, probes: Vec::new() }
    }

    /// Finds the highest rate that meets the criterion, running trials as it needs them.
    ///
    /// # Errors
    /// The first of `run`.
    pub fn find<E>(
        &mut self,
        criterion: Criterion,
        mut run: impl FnMut(f64) -> Result<Outcome, E>,
    ) -> Result<Found, E> {
        for _ in 0..MOST_PROBES {
            match self.step(criterion) {
                Step::Try(rate) => {
                    let outcome = run(rate)?;
                    self.probes.push(Probe { rate, outcome });
                }
                Step::Done(found) => return Ok(found),
            }
        }
        Ok(self.answer(criterion))
    }

    /// Rates that failed once and then passed.
    pub fn retried(&self, loss: f64) -> usize {
        let criterion = Criterion { loss, failures: 1 };
        let mut rates: Vec<f64> =
            self.probes.iter().filter(|probe| criterion.fails(probe)).map(|probe| probe.rate).collect();
        rates.dedup();
        rates.iter().filter(|&&rate| self.at(rate).any(|probe| !criterion.fails(probe))).count()
    }

    fn step(&self, criterion: Criterion) -> Step {
        let (low, high) = self.bracket(criterion);
        if let Some(rate) = self.doubtful(criterion, low, high.unwrap_or(f64::INFINITY)) {
            return Step::Try(rate);
        }
        let Some(high) = high else {
            let top = self.range.ceiling;
            return if low >= top { Step::Done(self.answer(criterion)) } else { Step::Try(top) };
        };
        if high - low <= self.range.precision * high || high <= NOTHING * self.range.ceiling {
            return Step::Done(self.answer(criterion));
        }
        Step::Try(low + (high - low) / 2.0)
    }

    /// The highest rate that passed below the lowest that failed, and that one, if any did.
    fn bracket(&self, criterion: Criterion) -> (f64, Option<f64>) {
        // Passing once is enough where failing once is not.
        let is_failure = |probe: &&Probe| {
            self.failures_at(probe.rate, criterion) >= criterion.failures
                && (criterion.failures == 1 || self.at(probe.rate).all(|probe| criterion.fails(probe)))
        };
        let high = self.probes.iter().filter(is_failure).map(|probe| probe.rate).min_by(f64::total_cmp);
        let passed = self
            .probes
            .iter()
            .filter(|probe| !criterion.fails(probe))
            .map(|probe| probe.rate)
            .filter(|&rate| high.is_none_or(|high| rate < high));
        (passed.max_by(f64::total_cmp).unwrap_or(0.0), high)
    }

    /// The lowest rate within the bracket that has failed, but not often enough, and has not passed.
    fn doubtful(&self, criterion: Criterion, low: f64, high: f64) -> Option<f64> {
        let inside = |probe: &&Probe| probe.rate > low && probe.rate < high && criterion.fails(probe);
        self.probes.iter().filter(inside).map(|probe| probe.rate).min_by(f64::total_cmp)
    }

    fn answer(&self, criterion: Criterion) -> Found {
        let (pps, high) = self.bracket(criterion);
        let limited_by = match high {
            None => LimitedBy::Ceiling,
            Some(high) if self.at(high).any(|probe| probe.outcome.is_router_failure(criterion.loss)) => {
                LimitedBy::Loss
            }
            Some(_) => LimitedBy::Generator,
        };
        Found { pps, limited_by }
    }

    fn failures_at(&self, rate: f64, criterion: Criterion) -> usize {
        self.at(rate).filter(|probe| criterion.fails(probe)).count()
    }

    fn at(&self, rate: f64) -> impl Iterator<Item = &Probe> {
        self.probes.iter().filter(move |probe| probe.rate == rate)
    }
}

impl Criterion {
    fn fails(&self, probe: &Probe) -> bool {
        match probe.outcome {
            Outcome::Loss(loss) => loss > self.loss,
            Outcome::GeneratorBound => true,
        }
    }
}

impl Outcome {
    fn is_router_failure(self, tolerated: f64) -> bool {
        matches!(self, Outcome::Loss(loss) if loss > tolerated)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    const STRICT: Criterion = Criterion { loss: 0.0, failures: 1 };
    const RETRIED: Criterion = Criterion { loss: 0.0, failures: 2 };

    /// Loses what exceeds its capacity.
    fn loss_of(capacity: f64, rate: f64) -> Outcome {
        Outcome::Loss((1.0 - capacity / rate).max(0.0))
    }

    fn search() -> Search {
        Search::new(Range { ceiling: 1e6, precision: 0.01 })
    }

    fn find(search: &mut Search, criterion: Criterion, mut run: impl FnMut(f64) -> Outcome) -> Found {
        search.find(criterion, |rate| Ok::<_, Infallible>(run(rate))).unwrap()
    }

    #[test]
    fn a_router_that_keeps_up_is_limited_by_the_ceiling() {
        let mut trials = 0;
        let found = find(&mut search(), STRICT, |_| {
            trials += 1;
            Outcome::Loss(0.0)
        });
        assert_eq!(found, Found { pps: 1e6, limited_by: LimitedBy::Ceiling });
        assert_eq!(trials, 1);
    }

    #[test]
    fn a_router_that_loses_always_has_no_rate() {
        let found = find(&mut search(), STRICT, |_| Outcome::Loss(0.1));
        assert_eq!(found, Found { pps: 0.0, limited_by: LimitedBy::Loss });
    }

    #[test]
    fn a_weak_generator_is_not_the_routers_fault() {
        let found = find(&mut search(), STRICT, |rate| {
            if rate > 400e3 { Outcome::GeneratorBound } else { Outcome::Loss(0.0) }
        });
        assert_eq!(found.limited_by, LimitedBy::Generator);
        assert!((396e3..=400e3).contains(&found.pps), "{}", found.pps);
    }

    #[test]
    fn one_stumble_counts_strictly_and_is_forgiven_otherwise() {
        let mut search = search();
        let mut stumbles = 1;
        let mut run = |rate: f64| {
            if rate < 600e3 && stumbles > 0 {
                stumbles -= 1;
                return Outcome::Loss(1e-6);
            }
            loss_of(700e3, rate)
        };
        let strict = find(&mut search, STRICT, &mut run);
        assert!((495e3..500e3).contains(&strict.pps), "{strict:?}");
        let retried = find(&mut search, RETRIED, &mut run);
        assert!((693e3..=700e3).contains(&retried.pps), "{retried:?}");
        assert_eq!(search.retried(0.0), 1);
    }

    #[test]
    fn a_quiet_machine_pays_one_more_trial_for_the_second_answer() {
        let mut search = search();
        let mut trials = 0;
        let mut run = |rate: f64| {
            trials += 1;
            loss_of(700e3, rate)
        };
        let strict = find(&mut search, STRICT, &mut run);
        let before = search.probes.len();
        assert_eq!(find(&mut search, RETRIED, &mut run), strict);
        assert_eq!(trials, before + 1);
    }

    #[test]
    fn tolerated_loss_gives_a_higher_rate() {
        let mut search = search();
        let run = |rate: f64| loss_of(500e3, rate);
        let ndr = find(&mut search, STRICT, run);
        let pdr = find(&mut search, Criterion { loss: 0.1, failures: 2 }, run);
        assert!((495e3..=500e3).contains(&ndr.pps));
        // 10 % are lost at 555.6 kpps.
        assert!((549e3..=556e3).contains(&pdr.pps), "{pdr:?}");
    }

    proptest! {
        /// Whatever a noisy router does, the search ends, and no lossy trial lies at or below the strict answer.
        #[test]
        fn never_above_a_trial_that_lost(
            capacity in 1e3..2e6f64,
            noise in prop::collection::vec(prop::bool::weighted(0.2), 200),
        ) {
            let mut search = search();
            let mut noise = noise.into_iter();
            let mut lossy = Vec::new();
            let mut trials = 0;
            let mut run = |rate: f64| {
                trials += 1;
                let outcome = if noise.next() == Some(true) { Outcome::Loss(1e-5) } else { loss_of(capacity, rate) };
                if outcome != Outcome::Loss(0.0) {
                    lossy.push(rate);
                }
                outcome
            };
            let strict = find(&mut search, STRICT, &mut run);
            prop_assert!(trials <= 20, "{}", trials);
            prop_assert!(strict.pps <= capacity);
            prop_assert!(lossy.iter().all(|&rate| rate > strict.pps));
        }

        /// Without noise the answer is within the precision.
        #[test]
        fn finds_the_capacity(capacity in 2e3..1e6f64, failures in 1usize..3) {
            let found = find(&mut search(), Criterion { loss: 0.0, failures }, |rate| loss_of(capacity, rate));
            prop_assert!(found.pps <= capacity && found.pps >= capacity * 0.98, "{} of {capacity}", found.pps);
            prop_assert_eq!(found.limited_by, LimitedBy::Loss);
        }
    }
}
