//! fw: the firewall mark (tc-fw(8)).

use super::{Common, Options, what};
use crate::tc::error::TcError;
use crate::tc::units;
use crate::tc::words::Words;

const USAGE: &str = "Usage: ... fw [ classid CLASSID ] [ indev DEV ] [ action ACTION_SPEC ]\n\
\tCLASSID := Push matching packets to the class identified by CLASSID with format X:Y\n\
\t\tCLASSID is parsed as hexadecimal input.\n\
\tDEV := specify device for incoming device classification.\n\
\tACTION_SPEC := Apply an action on matching packets.\n\
\tNOTE: handle is represented as HANDLE[/FWMASK].\n\
\t\tFWMASK is 0xffffffff by default.\n";

/// The options of fw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FwOptions {
    /// What all kinds have.
    pub common: Common,
    /// Bits of the mark that count.
    pub mask: Option<u32>,
    /// `indev`.
    pub indev: Option<String>,
}

/// Reads number and options.
pub fn parse(handle: Option<&str>, words: &mut Words<'_>) -> Result<(u32, Options), TcError> {
    let (mut mark, mut options) = (0, FwOptions::default());
    if let Some(text) = handle {
        let (value, mask) = text.split_once('/').map_or((text, None), |(value, mask)| (value, Some(mask)));
        mark = units::u32_in(value, 0).ok_or_else(|| TcError::words("Illegal \"handle\""))?;
        if let Some(mask) = mask {
            let mask = units::u32_in(mask, 0).ok_or_else(|| TcError::words("Illegal \"handle\" mask"))?;
            options.mask = Some(mask);
        }
    }
    if words.is_empty() {
        return Ok((mark, Options::None));
    }
    while let Some(word) = words.peek() {
        if words.abbreviates("flowid") {
            options.common.option_with(words, "flowid")?;
        } else if word == "indev" {
            words.skip();
            let name = words.peek().ok_or_else(|| TcError::words("Illegal indev"))?;
            options.indev = Some(name.into());
            words.skip();
        } else if word.starts_with("skip_") || !options.common.option(words, true).map_err(fw_action)? {
            return Err(what(word, USAGE));
        }
    }
    Ok((mark, Options::Fw(options)))
}

fn fw_action(err: TcError) -> TcError {
    TcError { text: err.text.replace("Illegal \"action\"", "Illegal fw \"action\""), ..err }
}
