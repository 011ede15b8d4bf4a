//! `htb`: the discipline's options and a class's.

use skiff_dataplane::sched::htb::params::{DEFAULT_MTU, DEFAULT_R2Q, default_burst};
use skiff_dataplane::sched::params::{HtbParams, LinkLayer};

use super::super::error::TcError;
use super::super::request::{Device, HtbClassWords};
use super::super::units;
use super::super::words::{Words, lookup};
use super::{help, link_layer};

#[derive(Clone, Copy)]
enum Word {
    R2q,
    Default,
    Debug,
    DirectQlen,
    Offload,
    Hysteresis,
}

const WORDS: [(&str, Word); 6] = [
    ("r2q", Word::R2q),
    ("default", Word::Default),
    ("debug", Word::Debug),
    ("direct_qlen", Word::DirectQlen),
    ("offload", Word::Offload),
    ("hysteresis", Word::Hysteresis),
];

/// Reads the options of the discipline.
pub(super) fn read(mut words: Words<'_>) -> Result<HtbParams, TcError> {
    let mut params =
        HtbParams { default: 0, r2q: DEFAULT_R2Q, direct_qlen: Device::TX_QUEUE_LEN, hysteresis: false };
    let mut offload = false;
    while let Some(word) = words.pop() {
        let mut number = |name, base| -> Result<u32, TcError> {
            units::u32_in(words.value()?, base).ok_or_else(|| illegal(name))
        };
        match lookup(word, &WORDS) {
            Some(Word::R2q) => params.r2q = number("r2q", 10)?,
            Some(Word::Default) => params.default = number("default", 16)?,
            Some(Word::Debug) => {
                words.value()?;
            }
            Some(Word::DirectQlen) => params.direct_qlen = number("direct_qlen", 10)?,
            Some(Word::Offload) => offload = true,
            Some(Word::Hysteresis) => params.hysteresis = true,
            None => return Err(TcError::what_is(word, help::HTB)),
        }
    }
    if offload {
        return Err(TcError::refused("hw-tc-offload ethtool feature flag must be on"));
    }
    // The kernel divides by it.
    params.r2q = params.r2q.max(1);
    Ok(params)
}

fn illegal(option: &str) -> TcError {
    TcError::words(format!("Illegal \"{option}\"\n{}", help::HTB.trim_end()))
}

#[derive(Clone, Copy)]
enum ClassWord {
    Prio,
    Mtu,
    Mpu,
    Overhead,
    LinkLayer,
    Quantum,
    Burst,
    Cburst,
}

/// In tc's order. `ceil` and `rate` may not be abbreviated, nor the other names of the bursts.
const CLASS_WORDS: [(&str, ClassWord); 8] = [
    ("prio", ClassWord::Prio),
    ("mtu", ClassWord::Mtu),
    ("mpu", ClassWord::Mpu),
    ("overhead", ClassWord::Overhead),
    ("linklayer", ClassWord::LinkLayer),
    ("quantum", ClassWord::Quantum),
    ("burst", ClassWord::Burst),
    ("cburst", ClassWord::Cburst),
];

/// Reads the options of a class.
pub(super) fn read_class(mut words: Words<'_>, dev: Option<&Device>) -> Result<HtbClassWords, TcError> {
    let speed = dev.and_then(|dev| dev.speed);
    let (mut rate, mut ceil, mut burst, mut cburst) = (None, None, None, None);
    let (mut prio, mut quantum, mut mtu) = (0, None, DEFAULT_MTU);
    let mut layer = LinkLayer::default();
    while let Some(word) = words.pop() {
        let bounds = match word {
            "rate" | "ceil" => {
                let which = if word == "rate" { &mut rate } else { &mut ceil };
                if which.is_some() {
                    return Err(TcError::words(format!("Double \"{word}\" spec")));
                }
                *which = Some(units::rate(words.value()?, speed).ok_or_else(|| illegal(word))?);
                continue;
            }
            "buffer" | "maxburst" => Some(ClassWord::Burst),
            "cbuffer" | "cmaxburst" => Some(ClassWord::Cburst),
            word => lookup(word, &CLASS_WORDS),
        };
        let Some(option) = bounds else { return Err(TcError::what_is(word, help::HTB)) };
        let value = words.value()?;
        let number = |name| units::u32_in(value, 10).ok_or_else(|| illegal(name));
        let bytes = |name| units::size_and_cell(value).ok_or_else(|| illegal(name));
        match option {
            ClassWord::Prio => prio = number("prio")?,
            ClassWord::Mtu => mtu = number("mtu")?.into(),
            ClassWord::Mpu => layer.mpu = u16::try_from(number("mpu")?).map_err(|_| illegal("mpu"))?,
            ClassWord::Overhead => {
                layer.overhead = i16::try_from(number("overhead")?).map_err(|_| illegal("overhead"))?;
            }
            ClassWord::LinkLayer => layer.atm = link_layer(value).ok_or_else(|| illegal("linklayer"))?,
            ClassWord::Quantum => quantum = Some(number("quantum")?).filter(|quantum| *quantum > 0),
            ClassWord::Burst => burst = Some(bytes("burst")?),
            ClassWord::Cburst => cburst = Some(bytes("cburst")?),
        }
    }
    let some = |rate: Option<u64>| rate.filter(|rate| *rate > 0);
    let rate = some(rate).ok_or_else(|| TcError::words("\"rate\" is required."))?;
    let ceil = some(ceil).unwrap_or(rate);
    let bytes = |said: Option<u32>, rate| match said.filter(|bytes| *bytes > 0) {
        Some(bytes) => u64::from(bytes),
        None => default_burst(rate, mtu),
    };
    let (burst, cburst) = (bytes(burst, rate), bytes(cburst, ceil));
    Ok(HtbClassWords { rate, ceil, burst, cburst, prio, quantum, layer })
}
