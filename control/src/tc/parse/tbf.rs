//! `tbf`.

use skiff_dataplane::sched::params::{LinkLayer, TbfParams};

use super::super::error::{Errno, TcError};
use super::super::request::Device;
use super::super::units;
use super::super::words::{Words, lookup};
use super::{help, link_layer};

#[derive(Clone, Copy, PartialEq)]
enum Word {
    Limit,
    Latency,
    Burst,
    Mtu,
    Mpu,
    Rate,
    Peakrate,
    Overhead,
    LinkLayer,
    Help,
}

/// In tc's order; of the others no abbreviation is taken.
const WORDS: [(&str, Word); 6] = [
    ("limit", Word::Limit),
    ("latency", Word::Latency),
    ("burst", Word::Burst),
    ("peakrate", Word::Peakrate),
    ("overhead", Word::Overhead),
    ("linklayer", Word::LinkLayer),
];

fn word(word: &str) -> Option<Word> {
    match word {
        "buffer" | "maxburst" => Some(Word::Burst),
        "mtu" | "minburst" => Some(Word::Mtu),
        "mpu" => Some(Word::Mpu),
        "rate" => Some(Word::Rate),
        "help" => Some(Word::Help),
        word => lookup(word, &WORDS),
    }
}

#[derive(Default)]
struct Said {
    limit: u32,
    latency: u32,
    burst: u32,
    mtu: u32,
    rate: u64,
    peak: u64,
    layer: LinkLayer,
}

/// Reads the options.
pub(super) fn read(mut words: Words<'_>, dev: Option<&Device>) -> Result<TbfParams, TcError> {
    let mut said = Said::default();
    while let Some(option) = words.pop() {
        match word(option) {
            Some(Word::Help) => return Err(TcError::words(help::TBF.trim_end())),
            Some(which) => said.take(which, option, words.value()?, dev)?,
            None => {
                let text = format!("tbf: unknown parameter \"{option}\"\n{}", help::TBF.trim_end());
                return Err(TcError::words(text));
            }
        }
    }
    said.complete()?;
    said.params()
}

impl Said {
    fn take(&mut self, which: Word, option: &str, value: &str, dev: Option<&Device>) -> Result<(), TcError> {
        self.check_twice(which)?;
        let illegal = |name: &str| TcError::words(format!("tbf: illegal value for \"{name}\": \"{value}\""));
        let rate = || units::rate(value, dev.and_then(|dev| dev.speed));
        let number = || units::u32_in(value, 10);
        match which {
            Word::Limit => self.limit = units::size(value).ok_or_else(|| illegal("limit"))?,
            Word::Latency => self.latency = units::time(value).ok_or_else(|| illegal("latency"))?,
            Word::Burst => self.burst = units::size_and_cell(value).ok_or_else(|| illegal(option))?,
            Word::Mtu => self.mtu = units::size_and_cell(value).ok_or_else(|| illegal(option))?,
            Word::Mpu => {
                let bytes = units::size(value).and_then(|bytes| u16::try_from(bytes).ok());
                self.layer.mpu = bytes.ok_or_else(|| illegal("mpu"))?;
            }
            Word::Rate => self.rate = rate().ok_or_else(|| illegal("rate"))?,
            Word::Peakrate => self.peak = rate().ok_or_else(|| illegal("peakrate"))?,
            Word::Overhead => {
                let bytes = number().and_then(|bytes| i16::try_from(bytes).ok());
                self.layer.overhead = bytes.ok_or_else(|| illegal("overhead"))?;
            }
            Word::LinkLayer => self.layer.atm = link_layer(value).ok_or_else(|| illegal("linklayer"))?,
            Word::Help => {}
        }
        Ok(())
    }

    fn check_twice(&self, which: Word) -> Result<(), TcError> {
        let both =
            |a, b| Err(TcError::words(format!("tbf: specifying both \"{a}\" and \"{b}\" is not allowed")));
        let twice = match which {
            Word::Limit if self.latency > 0 => return both("latency", "limit"),
            Word::Latency if self.limit > 0 => return both("limit", "/latency"),
            Word::Limit if self.limit > 0 => "limit",
            Word::Latency if self.latency > 0 => "latency",
            Word::Burst if self.burst > 0 => "buffer/burst/maxburst",
            Word::Mtu if self.mtu > 0 => "mtu/minburst",
            Word::Rate if self.rate > 0 => "rate",
            Word::Peakrate if self.peak > 0 => "peakrate",
            _ => return Ok(()),
        };
        Err(TcError::words(format!("tbf: duplicate \"{twice}\" specification")))
    }

    fn complete(&self) -> Result<(), TcError> {
        let mut missing = String::new();
        for (is_missing, what) in [
            (self.rate == 0, "the \"rate\" parameter is mandatory."),
            (self.burst == 0, "the \"burst\" parameter is mandatory."),
            (
                self.peak > 0 && self.mtu == 0,
                "when \"peakrate\" is specified, \"mtu\" must also be specified.",
            ),
            (self.limit == 0 && self.latency == 0, "either \"limit\" or \"latency\" is required."),
        ] {
            if is_missing {
                missing.push_str(&format!("tbf: {what}\n"));
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(TcError::words(missing + help::TBF.trim_end())) }
    }

    fn params(self) -> Result<TbfParams, TcError> {
        let seconds = f64::from(self.latency) / 1e6;
        let within = |rate: u64, burst: u32| rate as f64 * seconds + f64::from(burst);
        let mut limit = u64::from(self.limit);
        if limit == 0 {
            let peak = if self.peak > 0 { within(self.peak, self.mtu) } else { f64::INFINITY };
            limit = within(self.rate, self.burst).min(peak).min(f64::from(u32::MAX)) as u64;
        }
        // What the kernel checks.
        if self.peak > 0 && self.peak <= self.rate {
            return Err(TcError::errno(Errno::Invalid));
        }
        Ok(TbfParams {
            rate: self.rate,
            burst: self.burst.into(),
            limit,
            peak: (self.peak > 0).then_some((self.peak, self.mtu.into())),
            rate_layer: self.layer,
            peak_layer: self.layer,
        })
    }
}
