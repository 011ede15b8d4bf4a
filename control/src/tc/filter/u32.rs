//! u32: words of the packet (tc-u32(8)).

mod selector;

use skiff_dataplane::sched::cls::u32::{Key, MAX_KEYS, Offset, fold, node_of};

use super::{Common, Options, what};
use crate::tc::error::TcError;
use crate::tc::units;
use crate::tc::words::Words;

const USAGE: &str = "Usage: ... u32 [ match SELECTOR ... ] [ link HTID ] [ classid CLASSID ]\n               \
[ action ACTION_SPEC ] [ offset OFFSET_SPEC ]\n               \
[ ht HTID ] [ hashkey HASHKEY_SPEC ]\n               \
[ sample SAMPLE ] [skip_hw | skip_sw]\n\
or         u32 divisor DIVISOR\n\n\
Where: SELECTOR := SAMPLE SAMPLE ...\n       \
SAMPLE := { ip | ip6 | udp | tcp | icmp | u{32|16|8} | mark }\n                 \
SAMPLE_ARGS [ divisor DIVISOR ]\n       \
FILTERID := X:Y:Z\n\n\
NOTE: CLASSID is parsed at hexadecimal input.\n";

/// The options of u32.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct U32Options {
    /// What all kinds have.
    pub common: Common,
    /// `divisor`: this is a table.
    pub divisor: Option<u32>,
    /// `ht`, `sample`: the table and the bucket.
    pub bucket: Option<u32>,
    /// `link`: the table below.
    pub link: Option<u32>,
    /// `match` was given, perhaps with nothing but a mark.
    pub selects: bool,
    /// What is compared, and where the next header is.
    pub selector: Selector,
    /// Value and mask of the firewall mark.
    pub mark: Option<(u32, u32)>,
    /// `indev`.
    pub indev: Option<String>,
}

/// What a node compares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Words.
    pub keys: Vec<Key>,
    /// Where the next header is.
    pub offset: Offset,
    /// `hashkey`: bits of the word that picks the bucket below.
    pub hash_mask: u32,
    /// Where that word is.
    pub hash_off: i32,
    /// It takes packets.
    pub terminal: bool,
}

impl Selector {
    /// Adds a comparison to one of the same place, or behind the others. `None` if they contradict, or are too many.
    fn add(&mut self, val: u32, mask: u32, off: i32, next_header: bool) -> Option<()> {
        let val = val & mask;
        if let Some(key) = self.keys.iter_mut().find(|k| k.off == off && k.next_header == next_header) {
            if (val ^ key.val) & mask & key.mask != 0 {
                return None;
            }
            key.val |= val;
            key.mask |= mask;
            return Some(());
        }
        if self.keys.len() >= MAX_KEYS || off % 4 != 0 {
            return None;
        }
        self.keys.push(Key { off, next_header, mask, val });
        Some(())
    }
}

/// `TABLE:BUCKET:NODE`, or all of it after `0x`.
pub fn handle(text: &str) -> Option<u32> {
    let Some((table, rest)) = text.split_once(':') else {
        return text.starts_with("0x").then(|| units::u32_in(text, 16)).flatten();
    };
    let (bucket, node) = rest.split_once(':').unwrap_or((rest, ""));
    let part = |text: &str, most: u32| match text {
        "" => Some(0),
        text => units::u32_in(text, 16).filter(|n| *n < most),
    };
    Some(part(table, 0x1000)? << 20 | part(bucket, 0x100)? << 12 | part(node, 0x1000)?)
}

/// Reads number and options.
pub fn parse(text: Option<&str>, words: &mut Words<'_>) -> Result<(u32, Options), TcError> {
    let number = match text {
        None => 0,
        Some(text) => handle(text).ok_or_else(|| TcError::words("Illegal filter ID"))?,
    };
    if words.is_empty() {
        return Ok((number, Options::None));
    }
    let mut draft = Draft { named: text.is_some(), ..Draft::default() };
    while let Some(word) = words.peek() {
        if !draft.option(word, words)? {
            return Err(what(word, USAGE));
        }
    }
    draft.finish(number)
}

#[derive(Default)]
struct Draft {
    options: U32Options,
    /// The filter has a number.
    named: bool,
    order: u32,
    bucket: u32,
    sampled: bool,
}

fn illegal(what: &str) -> TcError {
    TcError::words(format!("Illegal \"{what}\""))
}

/// Says that a word's value is wrong; not where the command just ends.
fn wrong(what: &'static str) -> impl Fn(TcError) -> TcError {
    move |err| if err.exit == 1 { err.then(&illegal(what).text) } else { err }
}

impl Draft {
    /// Reads one option. False if the word is none.
    fn option(&mut self, word: &str, words: &mut Words<'_>) -> Result<bool, TcError> {
        let options = &mut self.options;
        if words.take_abbreviation("match") {
            words.more()?;
            let mark = &mut options.mark;
            selector::read(words, &mut options.selector, mark).map_err(wrong("match"))?;
            options.selects = true;
        } else if words.take_abbreviation("offset") {
            words.more()?;
            selector::offset(words, &mut options.selector.offset).map_err(wrong("offset"))?;
        } else if words.take_abbreviation("hashkey") {
            words.more()?;
            selector::hashkey(words, &mut options.selector).map_err(wrong("hashkey"))?;
        } else if words.abbreviates("divisor") && !words.abbreviates("classid") {
            words.skip();
            options.divisor = Some(divisor(words.value()?, "Illegal \"divisor\"")?);
        } else if words.take_abbreviation("order") {
            words.more()?;
            self.order = words.u32(0).ok_or_else(|| illegal("order"))?;
        } else if words.take("link") {
            let link = handle(words.value()?).ok_or_else(|| illegal("link"))?;
            if node_of(link) != 0 {
                return Err(TcError::words("\"link\" must be a hash table."));
            }
            options.link = Some(link);
        } else if words.take("ht") {
            self.table(words.value()?)?;
        } else if words.take("sample") {
            words.more()?;
            self.sample(words)?;
        } else if words.take("indev") {
            let name = words.peek().ok_or_else(|| TcError::words("Illegal indev"))?;
            options.indev = Some(name.into());
            words.skip();
        } else {
            let known = options.common.option(words, true)?;
            // `classid`, `flowid`, `action`, `police`: even a row of no action takes packets.
            options.selector.terminal |= known && word.starts_with(['c', 'f', 'a', 'p']);
            return Ok(known);
        }
        Ok(true)
    }

    fn table(&mut self, text: &str) -> Result<(), TcError> {
        let table = handle(text).ok_or_else(|| illegal("ht"))?;
        if self.named && node_of(table) != 0 {
            return Err(TcError::words("\"ht\" must be a hash table."));
        }
        self.bucket = match self.sampled {
            true => self.bucket & 0xf_f000 | table & 0xfff0_0000,
            false => table & 0xffff_f000,
        };
        Ok(())
    }

    /// The bucket that a packet with one such word belongs to.
    fn sample(&mut self, words: &mut Words<'_>) -> Result<(), TcError> {
        let mut sample = Selector::default();
        selector::read(words, &mut sample, &mut self.options.mark).map_err(wrong("sample"))?;
        let [key] = sample.keys[..] else {
            return Err(TcError::words("\"sample\" must contain exactly ONE key."));
        };
        let mut buckets = 256;
        if words.take("divisor") {
            buckets = divisor(words.value()?, "Illegal sample \"divisor\"")?;
            // As tc, which wants a word behind it.
            words.more()?;
        }
        self.bucket = ((fold(key.val, key.mask) % buckets) << 12) | self.bucket & 0xfff0_0000;
        self.sampled = true;
        Ok(())
    }

    fn finish(mut self, number: u32) -> Result<(u32, Options), TcError> {
        let mut number = number;
        if self.order != 0 {
            if node_of(number) != 0 && node_of(number) != self.order {
                return Err(TcError::words("\"order\" contradicts \"handle\""));
            }
            number |= self.order;
        }
        self.options.common.check()?;
        self.options.bucket = (self.bucket != 0).then_some(self.bucket);
        Ok((number, Options::U32(self.options)))
    }
}

fn divisor(text: &str, complaint: &str) -> Result<u32, TcError> {
    let divisor = units::u32_in(text, 0).filter(|n| (1..=256).contains(n) && n.is_power_of_two());
    divisor.ok_or_else(|| TcError::words(complaint))
}
