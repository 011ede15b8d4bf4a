//! police (tc-police(8)).

use skiff_dataplane::sched::act::police::Police;
use skiff_dataplane::sched::act::{ActionKind, Control};
use skiff_dataplane::sched::params::LinkLayer;

use super::{ActionRequest, control, control_word, request};
use crate::tc::error::TcError;
use crate::tc::filter::out::Out;
use crate::tc::units;
use crate::tc::words::{Words, matches};

const USAGE: &str = "Usage: ... police [ rate BPS burst BYTES[/BYTES] ] \n\
\t\t[ pkts_rate RATE pkts_burst PACKETS ] [ mtu BYTES[/BYTES] ]\n\
\t\t[ peakrate BPS ] [ avrate BPS ] [ overhead BYTES ]\n\
\t\t[ linklayer TYPE ] [ CONTROL ]\n\
Where: CONTROL := conform-exceed <EXCEEDACT>[/NOTEXCEEDACT]\n\
\t\t  Define how to handle packets which exceed (<EXCEEDACT>)\n\
\t\t  or conform (<NOTEXCEEDACT>) the configured bandwidth limit.\n       \
EXCEEDACT/NOTEXCEEDACT := { pipe | ok | reclassify | drop | continue |\n\
\t\t\t\t   goto chain <CHAIN_INDEX> }\n";

/// What has been read so far.
#[derive(Default)]
struct Draft {
    police: Police,
    exceed: Option<Control>,
    index: Option<u32>,
}

/// Reads what follows the word.
pub fn parse(words: &mut Words<'_>) -> Result<ActionRequest, TcError> {
    let mut draft = Draft::default();
    if words.is_empty() {
        return Err(TcError::incomplete());
    }
    let mut any = false;
    while let Some(word) = words.peek() {
        if !draft.option(word, words)? {
            break;
        }
        any = true;
    }
    if !any {
        return Err(TcError::words(""));
    }
    draft.check()?;
    let Draft { police, exceed, index } = draft;
    let bare = index.is_some() && police == Police { conform: police.conform, ..Police::default() };
    let request = request(ActionKind::Police(police), exceed.unwrap_or(Control::Reclassify), index);
    Ok(ActionRequest { bare, ..request })
}

impl Draft {
    /// Reads one option. False if the word is none.
    fn option(&mut self, word: &str, words: &mut Words<'_>) -> Result<bool, TcError> {
        let p = &mut self.police;
        match word {
            _ if matches(word, "index") => {
                let value = value(words)?;
                self.index = Some(units::u32_in(value, 10).ok_or_else(|| TcError::argument(value, "index"))?);
            }
            _ if matches(word, "burst") || word == "buffer" || word == "maxburst" => {
                set(&mut p.burst, words, "buffer/burst", "buffer", units::size_and_cell)?;
            }
            "mtu" | "minburst" => set(&mut p.mtu, words, "mtu/minburst", "mtu", units::size_and_cell)?,
            "mpu" => {
                let mut mpu = u32::from(p.layer.mpu);
                set(&mut mpu, words, "mpu", "mpu", units::size)?;
                p.layer.mpu = mpu as u16;
            }
            "rate" => set(&mut p.rate, words, "rate", "rate", rate)?,
            "avrate" => set(&mut p.avrate, words, "avrate", "avrate", rate)?,
            _ if matches(word, "peakrate") => set(&mut p.peakrate, words, "peakrate", "peakrate", rate)?,
            _ if is_control(word) => {
                self.exceed = control(words, false)?;
            }
            "conform-exceed" => {
                words.skip();
                words.more()?;
                self.conform_exceed(words)?;
            }
            _ if matches(word, "overhead") => {
                let value = value(words)?;
                let overhead = units::u32_in(value, 10).and_then(|n| u16::try_from(n).ok());
                p.layer.overhead = overhead.ok_or_else(|| TcError::argument(value, "overhead"))? as i16;
            }
            _ if matches(word, "linklayer") => {
                let value = value(words)?;
                p.layer.atm = match value {
                    _ if matches(value, "ethernet") => false,
                    _ if matches(value, "atm") || matches(value, "adsl") => true,
                    _ => return Err(TcError::argument(value, "linklayer")),
                };
            }
            _ if matches(word, "pkts_rate") => {
                set(&mut p.pkts_rate, words, "pkts_rate", "pkts_rate", |t| units::u64_in(t, 10))?;
            }
            _ if matches(word, "pkts_burst") => {
                set(&mut p.pkts_burst, words, "pkts_burst", "pkts_burst", |t| units::u64_in(t, 10))?;
            }
            "help" => return Err(TcError::usage(USAGE)),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `EXCEED[/CONFORM]`, in one word or in three.
    fn conform_exceed(&mut self, words: &mut Words<'_>) -> Result<(), TcError> {
        let word = words.peek().unwrap_or_default();
        if let Some((exceed, conform)) = word.split_once('/') {
            let of = |word| control_word(word, true).ok_or_else(|| TcError::words(""));
            (self.exceed, self.police.conform) = (Some(of(exceed)?), of(conform)?);
            words.skip();
            return Ok(());
        }
        let read = |words: &mut Words<'_>| {
            let word = words.peek().unwrap_or_default();
            control(words, true)?.ok_or_else(|| TcError::words(format!("Bad action type {word}")))
        };
        self.exceed = Some(read(words)?);
        if words.take("/") {
            words.more()?;
            self.police.conform = read(words)?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TcError> {
        let Police { rate, burst, mtu, peakrate, avrate, pkts_rate, pkts_burst, .. } = self.police;
        let bad = |text: &str| Err(TcError::words(text));
        match () {
            () if rate != 0 && avrate != 0 => bad(""),
            () if rate == 0 && avrate == 0 && self.index.unwrap_or(0) == 0 && mtu == 0 && pkts_rate == 0 => {
                bad("'rate' or 'avrate' or 'mtu' or 'pkts_rate' MUST be specified.")
            }
            () if rate != 0 && burst == 0 && avrate == 0 => bad("'burst' requires 'rate'."),
            () if pkts_rate != 0 && pkts_burst == 0 => bad("'pkts_burst' requires 'pkts_rate'."),
            () if pkts_rate != 0 && rate != 0 => {
                bad("'rate' and 'pkts_rate' are not allowed in same action.")
            }
            () if peakrate != 0 && rate == 0 => bad("'peakrate' requires 'rate'."),
            () if peakrate != 0 && mtu == 0 => bad("'mtu' is required, if 'peakrate' is requested."),
            () => Ok(()),
        }
    }
}

fn is_control(word: &str) -> bool {
    ["reclassify", "drop", "shot", "continue", "pass", "ok", "pipe", "goto"]
        .iter()
        .any(|name| matches(word, name))
}

fn value<'a>(words: &mut Words<'a>) -> Result<&'a str, TcError> {
    words.skip();
    words.value()
}

/// Reads the value of an option that may be given once.
fn set<T: Default + PartialEq>(
    place: &mut T,
    words: &mut Words<'_>,
    key: &str,
    what: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<(), TcError> {
    let value = value(words)?;
    if *place != T::default() {
        return Err(TcError::duplicate(key, value));
    }
    *place = read(value).ok_or_else(|| TcError::argument(value, what))?;
    Ok(())
}

/// A rate; a policer has no link that a percentage could be of.
fn rate(text: &str) -> Option<u64> {
    units::rate(text, None)
}

/// Writes what it does; the first line has no name in front.
pub fn print(out: &mut Out, police: &Police, exceed: Control, index: u32, details: bool) {
    let LinkLayer { overhead, atm, .. } = police.layer;
    out.json_str("kind", "police");
    out.raw(format_args!(" police {index:#x} "));
    out.json_num("index", index);
    out.raw(format_args!("rate {} ", units::show_rate(police.rate, false)));
    let burst = if police.rate == 0 { 0 } else { police.burst };
    let mtu = police.largest();
    out.raw(format_args!("burst {} mtu {} ", units::show_size(burst.into()), units::show_size(mtu.into())));
    if police.peakrate != 0 {
        out.raw(format_args!("peakrate {} ", units::show_rate(police.peakrate, false)));
    }
    if police.avrate != 0 {
        out.raw(format_args!("avrate {} ", units::show_rate(police.avrate, false)));
    }
    if police.pkts_rate != 0 {
        out.num("pkts_rate", "pkts_rate ", police.pkts_rate, " ");
        out.num("pkts_burst", "pkts_burst ", police.pkts_burst, " ");
    }
    super::print::control(out, "action ", exceed, "");
    match police.conform {
        Control::Ok => out.raw(" "),
        conform => super::print::control(out, "/", conform, " "),
    }
    let overhead = if police.rate == 0 { 0 } else { overhead as u16 };
    out.shown("overhead", overhead, format_args!("overhead {} ", units::show_size(overhead.into())));
    if atm || details {
        out.str("linklayer", "linklayer ", if atm { "atm" } else { "ethernet" }, " ");
    }
    out.nl();
}
