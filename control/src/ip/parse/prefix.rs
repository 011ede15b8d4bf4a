//! Addresses and prefixes as iproute2 reads them: `default`, `10/8`, `10.1/16`, `10.0.0.0/255.0.0.0`.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{UsageError, Words};

impl<'a> Words<'a> {
    /// The address after `key`.
    pub(super) fn address(&mut self, key: &str) -> Result<Ipv4Addr, UsageError> {
        let word = self.value(key)?;
        self.parse_address(word)
    }

    pub(super) fn parse_address(&self, word: &str) -> Result<Ipv4Addr, UsageError> {
        self.refuse_inet6(word)?;
        dotted(word).ok_or_else(|| self.error(format!("inet address is expected rather than \"{word}\"")))
    }

    /// The prefix after `key`.
    pub(super) fn prefix(&mut self, key: &str) -> Result<Ipv4Net, UsageError> {
        let word = self.value(key)?;
        self.parse_prefix(word)
    }

    /// A prefix; bits beyond its length are kept. Without a length it is one address.
    pub(super) fn parse_prefix(&self, word: &str) -> Result<Ipv4Net, UsageError> {
        self.refuse_inet6(word)?;
        prefix(word).ok_or_else(|| self.error(format!("any valid prefix is expected rather than \"{word}\"")))
    }

    fn refuse_inet6(&self, word: &str) -> Result<(), UsageError> {
        let address = word.split_once('/').map_or(word, |(address, _)| address);
        match address.parse::<std::net::Ipv6Addr>() {
            Ok(_) => Err(self.unsupported(&format!("IPv6 (\"{word}\")"))),
            Err(_) => Ok(()),
        }
    }
}

fn prefix(word: &str) -> Option<Ipv4Net> {
    if matches!(word, "default" | "any" | "all") {
        return Some(Ipv4Net::default());
    }
    match word.split_once('/') {
        None => dotted(word).map(Ipv4Net::from),
        Some((address, length)) => Ipv4Net::new(dotted(address)?, prefix_length(length)?).ok(),
    }
}

fn prefix_length(word: &str) -> Option<u8> {
    if word.contains('.') {
        return ipnet::ipv4_mask_to_prefix(dotted(word)?).ok();
    }
    decimal(word, 32)
}

/// One to four numbers joined by dots; missing ones are zero. A leading zero is refused: iproute2 takes it for octal,
/// and people do not.
fn dotted(word: &str) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    for (i, part) in word.split('.').enumerate() {
        *octets.get_mut(i)? = decimal(part, 255)?;
    }
    Some(Ipv4Addr::from(octets))
}

fn decimal(word: &str, max: u8) -> Option<u8> {
    let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    let octal = word.len() > 1 && word.starts_with('0');
    (plain && !octal).then(|| word.parse().ok()).flatten().filter(|n| *n <= max)
}
