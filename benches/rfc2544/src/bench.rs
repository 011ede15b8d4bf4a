//! The procedure of RFC 2544 section 26 for one frame size after the other: throughput, loss, latency.

use anyhow::Result;
use serde::Serialize;

use crate::search::{Criterion, Found, Outcome, Range, Search};
use crate::trial::{Generator, Spec, Trial, gbps};

/// Floods that find out the highest rate.
const FLOODS: usize = 2;
/// How far above what a flood gets through the search begins: floods are measurements too.
const HEADROOM: f64 = 1.1;
/// Steps of the loss curve.
const STEPS: u32 = 10;
/// Shares of the throughput at which latency is measured.
const LATENCY_AT: [f64; 3] = [0.1, 0.5, 0.9];
/// Trials in a row without loss after which the loss curve ends (RFC 2544 section 26.3).
const CLEAN_STEPS: usize = 2;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Frame sizes with their FCS.
    pub sizes: Vec<usize>,
    /// Length of a trial.
    pub seconds: f64,
    /// Length of the flood before the first trial of a size.
    pub warm_up: f64,
    /// How close the answer of a search must be, as a share.
    pub precision: f64,
    /// The share of loss that the partial drop rate allows.
    pub pdr: f64,
    /// The highest rate to try, frames a second in each direction, where it is known: a wire's.
    pub max_pps: Option<f64>,
    /// Whether to take the loss curve.
    pub curve: bool,
    /// Whether to measure latency.
    pub latency: bool,
}

/// What was found for a frame size.
#[derive(Clone, Debug, Serialize)]
pub struct SizeReport {
    /// Bytes of a frame with its FCS.
    pub size: usize,
    /// As many frames as the link takes: the best of the floods.
    pub flood: Trial,
    /// The highest rate tried, frames a second in each direction.
    pub ceiling_pps: f64,
    /// Throughput; none if the generator cannot pace.
    pub throughput: Option<Throughput>,
    /// The loss curve, highest rate first.
    pub curve: Vec<Trial>,
    /// Latency at shares of the throughput.
    pub latency: Vec<LatencyPoint>,
    /// Every trial of the searches, in order.
    pub trials: Vec<Trial>,
}

/// The answers of the searches, frames a second in each direction.
#[derive(Clone, Debug, Serialize)]
pub struct Throughput {
    /// No loss, and no second chance.
    pub ndr_strict: Found,
    /// No loss; a rate that lost was tried once more.
    pub ndr: Found,
    /// Rates that lost and did not the second time.
    pub ndr_retried: usize,
    /// Little loss; a rate that lost more was tried once more.
    pub pdr: Found,
    /// Rates that lost more and did not the second time.
    pub pdr_retried: usize,
    /// The loss allowed, as a share.
    pub pdr_loss: f64,
}

/// Latency at a share of the throughput.
#[derive(Clone, Debug, Serialize)]
pub struct LatencyPoint {
    /// The share.
    pub share: f64,
    /// The trial.
    pub trial: Trial,
}

/// Measures every size. `say` is told what goes on.
///
/// # Errors
/// The first of the generator.
pub fn measure(
    generator: &mut dyn Generator,
    plan: &Plan,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<SizeReport>> {
    plan.sizes.iter().map(|&size| Run { generator, plan, size, say, trials: Vec::new() }.all()).collect()
}

/// One frame size.
struct Run<'a> {
    generator: &'a mut dyn Generator,
    plan: &'a Plan,
    size: usize,
    say: &'a mut dyn FnMut(&str),
    trials: Vec<Trial>,
}

impl Run<'_> {
    fn all(mut self) -> Result<SizeReport> {
        let flood = self.flood()?;
        let size = self.size;
        // Where frames are neither refused nor lost, the generator may be what ends it.
        let ceiling_pps = self.plan.max_pps.unwrap_or(flood.offered_pps() * HEADROOM);
        let mut report = SizeReport {
            size,
            flood,
            ceiling_pps,
            throughput: None,
            curve: Vec::new(),
            latency: Vec::new(),
            trials: Vec::new(),
        };
        if self.generator.is_paced() && ceiling_pps > 0.0 {
            let throughput = self.throughput(ceiling_pps)?;
            if self.plan.curve {
                report.curve = self.curve(ceiling_pps)?;
            }
            if self.plan.latency && self.generator.measures_latency() {
                report.latency = self.latency(&throughput)?;
            }
            report.throughput = Some(throughput);
        }
        report.trials = self.trials;
        Ok(report)
    }

    /// The best of several floods, after a warm-up.
    fn flood(&mut self) -> Result<Trial> {
        let spec = Spec { rate_pps: None, size: self.size, seconds: self.plan.seconds, latency: false };
        if self.plan.warm_up > 0.0 {
            self.generator.run(&Spec { seconds: self.plan.warm_up, ..spec })?;
        }
        let mut best = self.generator.run(&spec)?;
        for _ in 1..FLOODS {
            let next = self.generator.run(&spec)?;
            if next.offered > best.offered {
                best = next;
            }
        }
        self.report("flood", &best);
        Ok(best)
    }

    fn throughput(&mut self, ceiling: f64) -> Result<Throughput> {
        let mut search = Search::new(Range { ceiling, precision: self.plan.precision });
        let pdr_loss = self.plan.pdr;
        let mut find = |loss: f64, failures: usize, name: &str| {
            search.find(Criterion { loss, failures }, |rate| self.probe(rate, name))
        };
        let ndr_strict = find(0.0, 1, "NDR, strict")?;
        let ndr = find(0.0, 2, "NDR")?;
        let pdr = find(pdr_loss, 2, "PDR")?;
        let (ndr_retried, pdr_retried) = (search.retried(0.0), search.retried(pdr_loss));
        Ok(Throughput { ndr_strict, ndr, ndr_retried, pdr, pdr_retried, pdr_loss })
    }

    fn probe(&mut self, rate: f64, name: &str) -> Result<Outcome> {
        let trial = self.trial(rate, false)?;
        self.report(name, &trial);
        let outcome = match trial.is_generator_bound() {
            true => Outcome::GeneratorBound,
            false => Outcome::Loss(trial.loss()),
        };
        self.trials.push(trial);
        Ok(outcome)
    }

    /// From the highest rate down, until two steps in a row lose nothing.
    fn curve(&mut self, ceiling: f64) -> Result<Vec<Trial>> {
        let mut curve: Vec<Trial> = Vec::new();
        for step in (1..=STEPS).rev() {
            let trial = self.trial(ceiling * f64::from(step) / f64::from(STEPS), false)?;
            self.report("loss curve", &trial);
            curve.push(trial);
            let clean = |trial: &Trial| trial.lost() == 0 && !trial.is_generator_bound();
            if curve.len() >= CLEAN_STEPS && curve.iter().rev().take(CLEAN_STEPS).all(clean) {
                break;
            }
        }
        Ok(curve)
    }

    /// At shares of the rate without loss, or, if there is none, of that with little.
    fn latency(&mut self, throughput: &Throughput) -> Result<Vec<LatencyPoint>> {
        let base = if throughput.ndr.pps > 0.0 { throughput.ndr.pps } else { throughput.pdr.pps };
        if base <= 0.0 {
            return Ok(Vec::new());
        }
        let mut points = Vec::new();
        for share in LATENCY_AT {
            let trial = self.trial(base * share, true)?;
            self.report("latency", &trial);
            points.push(LatencyPoint { share, trial });
        }
        Ok(points)
    }

    fn trial(&mut self, rate: f64, latency: bool) -> Result<Trial> {
        let seconds = self.plan.seconds;
        self.generator.run(&Spec { rate_pps: Some(rate), size: self.size, seconds, latency })
    }

    fn report(&mut self, what: &str, trial: &Trial) {
        let verdict = if trial.is_generator_bound() { ", generator-bound" } else { "" };
        let size = self.size;
        (self.say)(&format!(
            "{size:>5} {what:<12} {:>9.4} Mpps ({:.3} Gbit/s) offered, {} of {} lost{verdict}",
            trial.offered_pps() / 1e6,
            gbps(trial.offered_pps(), size),
            trial.lost(),
            trial.offered,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::LimitedBy;

    /// A router that forwards so many frames a second, behind a generator that can offer so many; every `stumble`-th
    /// trial loses a frame for no reason.
    struct Simulated {
        capacity: f64,
        generator: f64,
        stumble: Option<u32>,
        trials: u32,
    }

    impl Generator for Simulated {
        fn run(&mut self, spec: &Spec) -> Result<Trial> {
            self.trials += 1;
            let most = self.capacity.min(self.generator);
            let offered = spec.rate_pps.map_or(most, |rate| rate.min(self.generator)) * spec.seconds;
            let stumbles = self.stumble.is_some_and(|stumble| self.trials.is_multiple_of(stumble));
            let received = offered.min(self.capacity * spec.seconds) as u64 - u64::from(stumbles);
            Ok(Trial {
                size: spec.size,
                directions: 1,
                target_pps: spec.rate_pps,
                seconds: spec.seconds,
                offered: offered as u64,
                received,
                ..Trial::default()
            })
        }
    }

    fn plan() -> Plan {
        Plan {
            sizes: vec![64, 1518],
            seconds: 2.0,
            warm_up: 1.0,
            precision: 0.01,
            pdr: 0.005,
            max_pps: None,
            curve: true,
            latency: true,
        }
    }

    fn measure_one(mut router: Simulated) -> SizeReport {
        let plan = Plan { sizes: vec![64], ..plan() };
        measure(&mut router, &plan, &mut |_| ()).unwrap().remove(0)
    }

    #[test]
    fn a_router_is_measured_within_the_precision() {
        let mut router = Simulated { capacity: 1.234e6, generator: 9e6, stumble: None, trials: 0 };
        let reports = measure(&mut router, &plan(), &mut |_| ()).unwrap();
        assert_eq!(reports.iter().map(|report| report.size).collect::<Vec<_>>(), [64, 1518]);
        for report in reports {
            let throughput = report.throughput.unwrap();
            assert!((1.22e6..=1.234001e6).contains(&throughput.ndr.pps), "{throughput:?}");
            assert_eq!(throughput.ndr, throughput.ndr_strict);
            assert_eq!(throughput.ndr.limited_by, LimitedBy::Loss);
            assert!(throughput.pdr.pps >= throughput.ndr.pps && throughput.pdr.pps < 1.2405e6);
            // 110 % of the capacity, 99 %, 88 %.
            assert_eq!(report.curve.len(), 3);
            assert!((report.curve[0].loss() - 1.0 / 11.0).abs() < 1e-4);
            assert_eq!(report.latency.iter().map(|point| point.share).collect::<Vec<_>>(), LATENCY_AT);
        }
    }

    #[test]
    fn a_slow_generator_is_named() {
        let report = measure_one(Simulated { capacity: 5e6, generator: 1e6, stumble: None, trials: 0 });
        let throughput = report.throughput.unwrap();
        assert_eq!(throughput.ndr.limited_by, LimitedBy::Generator);
        // Within 1 % of what it was asked for it is believed.
        assert!((0.98e6..=1.0102e6).contains(&throughput.ndr.pps), "{throughput:?}");
        assert!(report.curve[0].is_generator_bound());
    }

    #[test]
    fn stumbles_are_forgiven_and_counted() {
        let report = measure_one(Simulated { capacity: 1e6, generator: 9e6, stumble: Some(5), trials: 0 });
        let throughput = report.throughput.unwrap();
        assert!(throughput.ndr_strict.pps <= throughput.ndr.pps);
        assert!(throughput.ndr.pps <= throughput.pdr.pps);
        assert!((0.985e6..=1.000001e6).contains(&throughput.ndr.pps), "{throughput:?}");
        assert!(throughput.ndr_retried > 0, "{throughput:?}");
        let lossy = report.trials.iter().filter(|trial| trial.lost() > 0);
        assert!(lossy.map(|trial| trial.offered_pps()).all(|pps| pps > throughput.ndr_strict.pps));
    }

    #[test]
    fn a_known_line_rate_is_the_ceiling() {
        let mut router = Simulated { capacity: 5e6, generator: 9e6, stumble: None, trials: 0 };
        let plan = Plan { max_pps: Some(1e6), sizes: vec![64], ..plan() };
        let report = measure(&mut router, &plan, &mut |_| ()).unwrap().remove(0);
        assert_eq!(report.throughput.unwrap().ndr, Found { pps: 1e6, limited_by: LimitedBy::Ceiling });
    }
}
