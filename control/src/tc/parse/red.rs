//! `red`.

use skiff_dataplane::sched::params::RedParams;
use skiff_dataplane::sched::red::params::RedOptions;

use super::super::error::TcError;
use super::super::request::Device;
use super::super::units;
use super::super::words::{Words, matches};
use super::help;

/// Reads the options. What tc says on the way to standard error goes to `notes`.
pub(super) fn read(words: Words<'_>, dev: Option<&Device>, notes: &mut String) -> Result<RedParams, TcError> {
    let options = options(words, dev)?;
    let mut said = String::new();
    let params = options.derive(&mut |note| said.push_str(&format!("{note}\n")));
    let params = params.map_err(|error| {
        let refused = error.is_kernels();
        let mut error =
            if refused { TcError::refused(format!("sch_red: {error}")) } else { TcError::words(error) };
        error.text.insert_str(0, &said);
        error
    })?;
    notes.push_str(&said);
    Ok(params)
}

fn options(mut words: Words<'_>, dev: Option<&Device>) -> Result<RedOptions, TcError> {
    let mut options = RedOptions::default();
    while let Some(word) = words.pop() {
        let illegal = || TcError::illegal(word);
        match word {
            "limit" | "min" | "max" | "avpkt" => {
                let bytes = units::size(words.value()?).ok_or_else(illegal)?;
                *match word {
                    "limit" => &mut options.limit,
                    "min" => &mut options.min,
                    "max" => &mut options.max,
                    _ => &mut options.avpkt,
                } = bytes;
            }
            "burst" => options.burst = units::u32_in(words.value()?, 0).ok_or_else(illegal)?,
            "bandwidth" => {
                let speed = dev.and_then(|dev| dev.speed);
                options.bandwidth = units::rate(words.value()?, speed).ok_or_else(illegal)?;
            }
            "probability" => options.probability = units::number(words.value()?).ok_or_else(illegal)?,
            "ecn" => options.ecn = true,
            "harddrop" => options.harddrop = true,
            "nodrop" => options.nodrop = true,
            "adaptive" | "adaptative" => options.adaptive = true,
            "gentle" => options.gentle = true,
            "help" => return Err(TcError::words(help::RED.trim_end())),
            word if matches(word, "qevent") => {
                return Err(TcError::refused("Qevents are not supported"));
            }
            word => return Err(TcError::what_is(word, help::RED)),
        }
    }
    Ok(options)
}
