//! `prio`.

use skiff_dataplane::sched::params::{DEFAULT_PRIOMAP, PrioParams};

use super::super::error::{Errno, TcError};
use super::super::request::Device;
use super::super::units;
use super::super::words::Words;
use super::help;

/// Reads the options.
pub(super) fn read(mut words: Words<'_>) -> Result<PrioParams, TcError> {
    let (mut bands, mut priomap, mut at) = (3, DEFAULT_PRIOMAP, None);
    while let Some(word) = words.pop() {
        match (word, at) {
            ("bands", _) if at.is_none() => {
                let value = words.value()?;
                bands = units::u32_in(value, 10).ok_or_else(|| TcError::illegal("bands"))?;
            }
            ("priomap", None) => at = Some(0),
            ("priomap", Some(_)) => return Err(TcError::words("Error: duplicate priomap")),
            ("help", _) => return Err(TcError::words(help::PRIO.trim_end())),
            (word, Some(index)) => {
                let illegal = || TcError::words("Illegal \"priomap\" element");
                let band = units::u32_in(word, 10).ok_or_else(illegal)?;
                if band >= bands {
                    return Err(TcError::words("\"priomap\" element is out of bands"));
                }
                let out_of_map = || TcError::words("\"priomap\" index > TC_PRIO_MAX=15");
                *priomap.get_mut(index).ok_or_else(out_of_map)? = band as u8;
                at = Some(index + 1);
            }
            (word, None) => return Err(TcError::what_is(word, help::PRIO)),
        }
    }
    // The kernel's turn: too few or too many bands, and a default map that knows more bands than there are.
    let bands = u8::try_from(bands).ok().filter(|bands| (2..=16).contains(bands));
    let fits = |bands: &u8| priomap.iter().all(|band| band < bands);
    let bands = bands.filter(fits).ok_or_else(|| TcError::errno(Errno::Invalid))?;
    Ok(PrioParams { bands, priomap, limit: Device::TX_QUEUE_LEN })
}
