//! basic: an expression (tc-basic(8), tc-ematch(8)).

mod print;

use skiff_dataplane::sched::cls::ematch::{Cmp, Layer, MAX_DEPTH, Match, Meta, Operand, Relation, Tree};
use skiff_dataplane::sched::cls::u32::Key;

use super::matchall::number;
use super::{Common, Options, usage, what};
use crate::tc::error::TcError;
use crate::tc::request::Devices;
use crate::tc::units;
use crate::tc::words::Words;

pub use print::print;

/// The options of basic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BasicOptions {
    /// What all kinds have.
    pub common: Common,
    /// `match`.
    pub tree: Option<Tree>,
}

/// Reads number and options.
pub fn parse(handle: Option<&str>, words: &mut Words<'_>) -> Result<(u32, Options), TcError> {
    let handle = number(handle)?;
    if words.is_empty() {
        return Ok((handle, Options::None));
    }
    let mut options = BasicOptions::default();
    while let Some(word) = words.peek() {
        if words.take_abbreviation("match") {
            words.more()?;
            options.tree = Some(expression(words)?);
        } else if word.starts_with("skip_") || !options.common.option(words, true)? {
            return Err(what(word, usage::BASIC));
        }
    }
    Ok((handle, Options::Basic(options)))
}

/// A part of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    And,
    Or,
    Not,
    Word(String),
    Quoted(Vec<u8>),
}

/// Reads an expression; it ends before a word that cannot belong to it.
fn expression(words: &mut Words<'_>) -> Result<Tree, TcError> {
    let mut parser = Parser { words, tokens: Vec::new() };
    let tree = parser.expr(0)?;
    match parser.tokens.is_empty() {
        true => Ok(tree),
        // tc reads whole words: what is left of one is lost, and so is the sense.
        false => Err(bad("Parse error")),
    }
}

fn bad(why: &str) -> TcError {
    TcError::words(format!("{why}\n... \n{}Illegal \"ematch\"", usage::EMATCH))
}

struct Parser<'a, 'w> {
    words: &'a mut Words<'w>,
    /// What is left of the words that were taken, the next one last.
    tokens: Vec<Token>,
}

impl Parser<'_, '_> {
    /// The next part; a word is taken when one of it is needed.
    fn peek(&mut self) -> Option<&Token> {
        while self.tokens.is_empty() {
            let mut tokens = lex(self.words.peek()?)?;
            if self.words.peek().is_some_and(|word| !word.is_empty()) && tokens.is_empty() {
                return None;
            }
            tokens.reverse();
            self.tokens = tokens;
            self.words.skip();
        }
        self.tokens.last()
    }

    fn next(&mut self) -> Option<Token> {
        self.peek()?;
        self.tokens.pop()
    }

    fn expr(&mut self, depth: usize) -> Result<Tree, TcError> {
        if depth > MAX_DEPTH {
            return Err(bad("Parse error"));
        }
        let term = self.term(depth)?;
        let relation = match self.tokens.last() {
            Some(token) => Some(token.clone()),
            // The word may be an option of the filter: look before it is taken.
            None => self.words.peek().and_then(|word| {
                let first = lex(word)?.into_iter().next()?;
                matches!(first, Token::And | Token::Or).then_some(first)
            }),
        };
        match relation {
            Some(Token::And) => {
                self.next();
                Ok(Tree::And(Box::new(term), Box::new(self.expr(depth + 1)?)))
            }
            Some(Token::Or) => {
                self.next();
                Ok(Tree::Or(Box::new(term), Box::new(self.expr(depth + 1)?)))
            }
            _ => Ok(term),
        }
    }

    fn term(&mut self, depth: usize) -> Result<Tree, TcError> {
        match self.next() {
            Some(Token::Not) => match self.term(depth)? {
                Tree::Not(_) => Err(bad("Parse error")),
                tree => Ok(Tree::Not(Box::new(tree))),
            },
            Some(Token::Open) => {
                let tree = self.expr(depth + 1)?;
                match self.next() {
                    Some(Token::Close) => Ok(Tree::Group(Box::new(tree))),
                    _ => Err(bad("Parse error")),
                }
            }
            Some(Token::Word(kind)) => {
                let args = self.args()?;
                let args = Args { args: &args, devices: self.words.devices };
                let leaf = match kind.as_str() {
                    "cmp" => args.cmp(),
                    "u32" => args.u32(),
                    "nbyte" => args.nbyte(),
                    "meta" => args.meta(),
                    _ => {
                        return Err(TcError::words(format!("Unknown ematch \"{kind}\"\nIllegal \"ematch\"")));
                    }
                };
                leaf.map(Tree::Leaf).map_err(|why| bad(&format!("{kind}: {why}")))
            }
            _ => Err(bad("Parse error")),
        }
    }

    fn args(&mut self) -> Result<Vec<Token>, TcError> {
        let mut args = Vec::new();
        if self.next() != Some(Token::Open) {
            return Err(bad("Parse error"));
        }
        loop {
            match self.next() {
                Some(Token::Close) if !args.is_empty() => return Ok(args),
                Some(token @ (Token::Word(_) | Token::Quoted(_))) => args.push(token),
                _ => return Err(bad("Parse error")),
            }
        }
    }
}

/// The parts of a word of the command. `None` if a string has no end.
fn lex(word: &str) -> Option<Vec<Token>> {
    let bytes = word.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            b'(' | b')' => {
                tokens.push(if byte == b'(' { Token::Open } else { Token::Close });
                at += 1;
            }
            b'"' => {
                let (string, end) = quoted(bytes, at + 1)?;
                tokens.push(Token::Quoted(string));
                at = end;
            }
            _ => {
                let ends = |b: &u8| b" \t\r\n()".contains(b);
                let end = bytes[at..].iter().position(ends).map_or(bytes.len(), |n| at + n);
                let text = word.get(at..end)?;
                tokens.push(match text.to_ascii_lowercase().as_str() {
                    "and" => Token::And,
                    "or" => Token::Or,
                    "not" => Token::Not,
                    _ => Token::Word(text.into()),
                });
                at = end;
            }
        }
    }
    Some(tokens)
}

/// The bytes of a string with C's escapes, and where it ends.
fn quoted(bytes: &[u8], start: usize) -> Option<(Vec<u8>, usize)> {
    let (mut string, mut at) = (Vec::new(), start);
    loop {
        match *bytes.get(at)? {
            b'"' => return Some((string, at + 1)),
            b'\\' => {
                let (byte, len) = escape(bytes.get(at + 1..)?)?;
                string.push(byte);
                at += 1 + len;
            }
            byte => {
                string.push(byte);
                at += 1;
            }
        }
    }
}

fn escape(rest: &[u8]) -> Option<(u8, usize)> {
    let digits = |skip: usize, most: usize, base: u32| {
        let len = rest[skip..].iter().take(most).take_while(|b| (**b as char).is_digit(base)).count();
        let text = std::str::from_utf8(&rest[skip..skip + len]).ok()?;
        Some((u32::from_str_radix(text, base).ok()?.try_into().ok()?, skip + len))
    };
    let control = |byte| Some((byte, 1));
    match *rest.first()? {
        b'0'..=b'7' => digits(0, 3, 8),
        b'x' => digits(1, 2, 16).or(Some((b'x', 1))),
        b'n' => control(b'\n'),
        b'r' => control(b'\r'),
        b't' => control(b'\t'),
        b'v' => control(0x0b),
        b'b' => control(0x08),
        b'f' => control(0x0c),
        b'a' => control(0x07),
        other => control(other),
    }
}

/// The arguments of a match.
struct Args<'a> {
    args: &'a [Token],
    devices: &'a dyn Devices,
}

type Why = &'static str;

impl<'a> Args<'a> {
    fn word(&self, at: usize) -> Option<&'a str> {
        match self.args.get(at)? {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }

    fn number(&self, at: usize, why: Why) -> Result<u32, Why> {
        self.word(at).and_then(|word| units::u64_in(word, 0)).map(|n| n as u32).ok_or(why)
    }

    fn align(&self) -> Result<u8, Why> {
        match self.word(0) {
            Some("u8") => Ok(1),
            Some("u16") => Ok(2),
            Some("u32") => Ok(4),
            _ => Err("invalid alignment"),
        }
    }

    fn layer(&self, at: usize) -> Result<Layer, Why> {
        match self.word(at) {
            Some("link" | "0") => Ok(Layer::Link),
            Some("network" | "1") => Ok(Layer::Network),
            Some("transport" | "2") => Ok(Layer::Transport),
            _ => Err("invalid layer"),
        }
    }

    fn cmp(&self) -> Result<Match, Why> {
        let align = self.align()?;
        let (mut off, mut val, mut op) = (None, None, Relation::Eq);
        let mut cmp =
            Cmp { layer: Layer::Network, off: 0, align, mask: 0, trans: false, op: Relation::Eq, val: 0 };
        let mut at = 1;
        while let Some(word) = self.word(at) {
            at += 2;
            match word {
                "at" => off = Some(self.number(at - 1, "invalid offset, must be numeric")? as u16),
                "layer" => cmp.layer = self.layer(at - 1)?,
                "mask" => cmp.mask = self.number(at - 1, "invalid mask")?,
                "trans" => {
                    cmp.trans = true;
                    at -= 1;
                }
                _ => {
                    op = relation(word).ok_or("unknown parameter")?;
                    val = Some(self.number(at - 1, "invalid value")?);
                }
            }
        }
        if at < self.args.len() {
            return Err("unknown parameter");
        }
        let (Some(off), Some(val)) = (off, val) else { return Err("offset and value required") };
        Ok(Match::Cmp(Cmp { off, val, op, ..cmp }))
    }

    fn u32(&self) -> Result<Match, Why> {
        let align = self.align()?;
        let mut val = self.number(1, "invalid key, must be numeric")?;
        let mut mask = self.number(2, "invalid mask, must be numeric")?;
        if self.word(3) != Some("at") {
            return Err("missing \"at\"");
        }
        let text = self.word(4).ok_or("missing offset")?;
        let (next_header, text, end) = match text.strip_prefix("nexthdr+") {
            Some("") => (true, self.word(5).ok_or("missing offset")?, 6),
            Some(rest) => (true, rest, 5),
            None => (false, text, 5),
        };
        if self.args.len() > end {
            return Err("unexpected trailer");
        }
        let mut off = units::signed(text).ok_or("invalid offset")?;
        let bits = 8 * u32::from(align);
        if align < 4 && (val >> bits != 0 || mask >> bits != 0) {
            return Err("illegal key or mask");
        }
        let shift = match (align, off & 3) {
            (1, at) => 24 - 8 * at,
            (2, 0) => 16,
            _ => 0,
        };
        (val, mask) = (val << shift, mask << shift);
        if align < 4 {
            off &= !3;
        }
        if off % 4 != 0 {
            return Err("invalid offset alignment, must be aligned to 4.");
        }
        Ok(Match::U32(Key { off, next_header, mask, val: val & mask }))
    }

    fn nbyte(&self) -> Result<Match, Why> {
        let needle = match self.args.first() {
            Some(Token::Word(word)) => word.clone().into_bytes(),
            Some(Token::Quoted(bytes)) => bytes.clone(),
            _ => Vec::new(),
        };
        if needle.is_empty() {
            return Err("needle length is 0");
        }
        let (mut off, mut layer, mut at) = (None, Layer::Network, 1);
        while at < self.args.len() {
            match self.word(at) {
                Some("at") => off = Some(self.number(at + 1, "invalid offset, must be numeric")? as u16),
                Some("layer") => layer = self.layer(at + 1)?,
                _ => return Err("unknown parameter"),
            }
            at += 2;
        }
        Ok(Match::Nbyte { needle, off: off.ok_or("offset required")?, layer })
    }

    fn meta(&self) -> Result<Match, Why> {
        let (left, at) = self.operand(0)?;
        let op = self.word(at).and_then(relation).ok_or("invalid operand")?;
        let (right, end) = self.operand(at + 1)?;
        let compatible = match (left.what, right.what) {
            (Meta::Named(_), other) | (other, Meta::Named(_)) => matches!(other, Meta::Dev | Meta::Named(_)),
            _ => true,
        };
        match () {
            () if end != self.args.len() => Err("unexpected trailer"),
            () if !compatible => Err("lvalue and rvalue are not compatible."),
            () => Ok(Match::Meta { left, op, right }),
        }
    }

    /// What is compared, and where the arguments go on.
    fn operand(&self, at: usize) -> Result<(Operand, usize), Why> {
        let plain = |what| Operand { what, shift: 0, mask: 0 };
        let word = match self.args.get(at) {
            Some(Token::Quoted(name)) => {
                let name = std::str::from_utf8(name).map_err(|_| "unknown device")?;
                let dev = self.devices.index(name).ok_or("unknown device")?;
                return Ok((plain(Meta::Named(dev)), at + 1));
            }
            Some(Token::Word(word)) => word.as_str(),
            _ => return Err("missing operand"),
        };
        if let Some(number) = units::u64_in(word, 0) {
            return Ok((plain(Meta::Value(number as u32)), at + 1));
        }
        let what = match word {
            "random" => Meta::Random,
            "dev" => Meta::Dev,
            "priority" => Meta::Priority,
            "protocol" => Meta::Protocol,
            "pkt_len" => Meta::PktLen,
            "data_len" => Meta::DataLen,
            "nf_mark" | "fwmark" => Meta::NfMark,
            "vlan" => Meta::Vlan,
            _ => return Err("unknown meta id"),
        };
        let (mut operand, mut at) = (plain(what), at + 1);
        loop {
            match self.word(at) {
                Some("shift") => operand.shift = self.number(at + 1, "invalid shift, must be numeric")? as u8,
                Some("mask") => operand.mask = self.number(at + 1, "invalid mask, must be numeric")?,
                _ => return Ok((operand, at)),
            }
            at += 2;
        }
    }
}

fn relation(word: &str) -> Option<Relation> {
    match word {
        "eq" => Some(Relation::Eq),
        "gt" => Some(Relation::Gt),
        "lt" => Some(Relation::Lt),
        _ => None,
    }
}
