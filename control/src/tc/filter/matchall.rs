//! matchall: every packet (tc-matchall(8)).

use super::{Common, Options, what};
use crate::tc::error::TcError;
use crate::tc::units;
use crate::tc::words::Words;

const USAGE: &str = "Usage: ... matchall [skip_sw | skip_hw]\n                 \
[ action ACTION_SPEC ] [ classid CLASSID ]\n\n\
Where: SELECTOR := SAMPLE SAMPLE ...\n       \
FILTERID := X:Y:Z\n       \
ACTION_SPEC := ... look at individual actions\n\n\
NOTE: CLASSID is parsed as hexadecimal input.\n";

/// Reads number and options.
pub fn parse(handle: Option<&str>, words: &mut Words<'_>) -> Result<(u32, Options), TcError> {
    let handle = number(handle)?;
    if words.is_empty() {
        return Ok((handle, Options::None));
    }
    let mut common = Common::default();
    while let Some(word) = words.peek() {
        if !common.option(words, false)? {
            return Err(what(word, USAGE));
        }
        if word.starts_with("skip_") {
            // tc wants a word behind these.
            words.more()?;
        }
    }
    common.check()?;
    Ok((handle, Options::Matchall(common)))
}

/// A number as `strtol` reads it: what is none is 0.
pub(super) fn number(handle: Option<&str>) -> Result<u32, TcError> {
    let Some(text) = handle else { return Ok(0) };
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let hex = digits.len() != text.len();
    let end = digits.find(|c: char| !c.is_digit(if hex { 16 } else { 10 })).unwrap_or(digits.len());
    if end == 0 {
        return Ok(0);
    }
    let number = units::u64_in(&text[..text.len() - digits.len() + end], 0);
    let illegal = || TcError::words(format!("Illegal handle \"{text}\", must be numeric."));
    number.filter(|n| i64::try_from(*n).is_ok_and(|n| n != i64::MAX)).map(|n| n as u32).ok_or_else(illegal)
}
