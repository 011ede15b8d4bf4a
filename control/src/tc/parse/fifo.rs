//! `pfifo`, `bfifo` and `pfifo_head_drop`.

use skiff_dataplane::sched::params::QdiscSpec;

use super::super::error::TcError;
use super::super::request::Device;
use super::super::units;
use super::super::words::Words;
use super::help;

/// Reads the options of the kind `name`.
pub(super) fn read(name: &str, mut words: Words<'_>, dev: Option<&Device>) -> Result<QdiscSpec, TcError> {
    let mut limit = None;
    while let Some(word) = words.pop() {
        if word == "limit" {
            let value = words.value()?;
            let illegal = || TcError::words(format!("{name}: Illegal value for \"limit\": \"{value}\""));
            limit = Some(units::size(value).ok_or_else(illegal)?);
        } else if word == "help" {
            return Err(TcError::words(help::FIFO.trim_end()));
        } else {
            let text = format!("{name}: unknown parameter \"{word}\"\n{}", help::FIFO.trim_end());
            return Err(TcError::words(text));
        }
    }
    Ok(with_limit(name, limit, dev))
}

/// A queue of the kind `name`; without a limit it holds the device's `txqueuelen`.
fn with_limit(name: &str, limit: Option<u32>, dev: Option<&Device>) -> QdiscSpec {
    let packets = limit.unwrap_or(Device::TX_QUEUE_LEN);
    match name {
        "bfifo" => QdiscSpec::Bfifo {
            limit: limit.unwrap_or(dev.map_or(0, |dev| dev.frame().saturating_mul(Device::TX_QUEUE_LEN))),
        },
        "pfifo_head_drop" => QdiscSpec::PfifoHeadDrop { limit: packets },
        _ => QdiscSpec::Pfifo { limit: packets },
    }
}
