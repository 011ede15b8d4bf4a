//! What the options of a packet become in the answer to it (RFC 1812 section 4.3.2.6, kernel `__ip_options_echo`): record
//! route and timestamp go on with another entry of ours, a source route turns round, security labels stay, everything
//! else is left out.

use super::ip_options::{
    IPOPT_TS_PRESPEC, IPOPT_TS_TSANDADDR, IpOptions, MAX_OPTIONS, inet_current_timestamp, is_unicast, word,
};
use crate::core::env::Env;
use crate::skb::ipv4::{Ipv4Header, MIN_HEADER_LEN};

/// The options of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyOptions {
    bytes: [u8; MAX_OPTIONS],
    len: usize,
    /// Where the router's address goes: into the record route, and beside the timestamp.
    addresses: [Option<usize>; 2],
    /// Where the time goes.
    time: Option<usize>,
    /// Where the last hop of the source route goes, and the first hop, which the answer is sent to.
    route: Option<(usize, u32)>,
}

impl Default for ReplyOptions {
    fn default() -> Self {
        ReplyOptions { bytes: [0; MAX_OPTIONS], len: 0, addresses: [None; 2], time: None, route: None }
    }
}

impl ReplyOptions {
    /// Their length in the header, whole words.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the answer goes, if it does not go to the sender at once.
    pub fn first_hop(&self) -> Option<u32> {
        self.route.map(|(_, first)| first)
    }

    /// The bytes for an answer from `source` to `dst` (kernel `ip_options_build`).
    pub fn build(&mut self, env: &Env<'_>, source: u32, dst: u32) -> &[u8] {
        self.fill(source, dst, inet_current_timestamp(env))
    }

    fn fill(&mut self, source: u32, dst: u32, millis: u32) -> &[u8] {
        let [rr, beside_time] = self.addresses;
        let entries = [
            (self.route.map(|(last, _)| last), dst),
            (rr, source),
            (beside_time, source),
            (self.time, millis),
        ];
        for (at, value) in entries {
            if let Some(slot) = at.and_then(|at| self.bytes.get_mut(at..at + 4)) {
                slot.copy_from_slice(&value.to_be_bytes());
            }
        }
        &self.bytes[..self.len]
    }

    /// Appends an option; where it stands. The options of one header fit, whatever their order.
    fn push(&mut self, option: &[u8]) -> usize {
        let at = self.len;
        let end = (at + option.len()).min(MAX_OPTIONS);
        self.bytes[at..end].copy_from_slice(&option[..end - at]);
        self.len = end;
        at
    }
}

/// The options that answer those of `header`, a whole IP header. `None` if what is left of the room in one of them is
/// not a whole entry: then there is no answer.
pub fn ip_options_echo(env: &Env<'_>, header: &[u8], options: &IpOptions) -> Option<ReplyOptions> {
    echo(header, options, |addr| is_unicast(env, addr))
}

fn echo(header: &[u8], options: &IpOptions, is_unicast: impl Fn(u32) -> bool) -> Option<ReplyOptions> {
    let mut reply = ReplyOptions::default();
    let option = |at: usize| {
        let len = usize::from(header.get(at + 1).copied().unwrap_or(0));
        header.get(at..at + len).filter(|option| option.len() >= 3)
    };
    if let Some(option) = options.rr.and_then(option) {
        echo_record_route(&mut reply, option, options.rr_ours)?;
    }
    if let Some(option) = options.ts.and_then(option) {
        echo_timestamp(&mut reply, option, options.ts_ours, is_unicast)?;
    }
    if let Some(option) = options.srr.and_then(option) {
        let sender = Ipv4Header::parse(header)?.src();
        turn_round(&mut reply, option, sender);
    }
    if let Some(option) = options.cipso.and_then(option) {
        reply.push(option);
    }
    reply.len = reply.len.next_multiple_of(4).min(MAX_OPTIONS);
    Some(reply)
}

fn echo_record_route(reply: &mut ReplyOptions, option: &[u8], ours: bool) -> Option<()> {
    let pointer = usize::from(option[2]);
    let at = reply.push(option);
    if ours && pointer <= option.len() {
        if pointer + 3 > option.len() {
            return None;
        }
        reply.bytes[at + 2] += 4;
        reply.addresses[0] = Some(at + pointer - 1);
    }
    Some(())
}

fn echo_timestamp(
    reply: &mut ReplyOptions,
    option: &[u8],
    ours: bool,
    is_unicast: impl Fn(u32) -> bool,
) -> Option<()> {
    let mut pointer = usize::from(option[2]);
    let at = reply.push(option);
    if !ours || pointer > option.len() {
        return Some(());
    }
    let flag = option.get(3)? & 0xf;
    if flag == IPOPT_TS_TSANDADDR {
        reply.addresses[1] = Some(at + pointer - 1);
        pointer += 4;
    }
    if pointer + 3 > option.len() {
        return None;
    }
    if flag != IPOPT_TS_PRESPEC {
        reply.time = Some(at + pointer - 1);
        pointer += 4;
    } else if pointer + 7 <= option.len() && !is_unicast(word(option, pointer - 1)) {
        reply.time = Some(at + pointer + 3);
        pointer += 8;
    }
    reply.bytes[at + 2] = pointer as u8;
    Some(())
}

/// The part of a source route that lies behind the packet, backwards, with the sender as its end. Entries are counted from
/// the pointer, wherever it stands, as the kernel counts them.
fn turn_round(reply: &mut ReplyOptions, option: &[u8], sender: u32) {
    let behind = usize::from(option[2]).min(option.len() + 1).saturating_sub(4);
    if behind < 4 {
        return;
    }
    let first = word(option, behind - 1);
    let mut turned = [0u8; MAX_OPTIONS];
    let (mut from, mut len) = (behind - 4, 7);
    while from > 3 {
        turned[len - 4..len].copy_from_slice(&word(option, from - 1).to_be_bytes());
        from -= 4;
        len += 4;
    }
    // A route that begins with its own sender is mended (RFC 1812 section 5.2.4.1).
    if word(option, from + 3) == sender {
        len -= 4;
    }
    if len < 7 {
        return;
    }
    turned[..3].copy_from_slice(&[option[0], len as u8, 4]);
    let at = reply.push(&turned[..len]);
    reply.route = Some((at + len - 4, first));
}

const _: () = assert!(MAX_OPTIONS + MIN_HEADER_LEN == 60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipv4::ip_options::{Entry, ip_options_compile};
    use proptest::prelude::*;

    fn header(options: &[u8]) -> Vec<u8> {
        let mut header = vec![0u8; MIN_HEADER_LEN];
        header[12..16].copy_from_slice(&[10, 1, 0, 2]);
        header.extend(options);
        header.resize(header.len().next_multiple_of(4), 0);
        header
    }

    proptest! {
        /// The options of an answer are at most as long as those it answers, whole words, and readable.
        #[test]
        fn any_options_are_echoed_within_their_room(bytes in proptest::collection::vec(any::<u8>(), 0..40),
            kinds in proptest::collection::vec((0usize..40, proptest::sample::select(vec![0u8, 1, 7, 68, 131, 137])), 0..6)) {
            let mut bytes = bytes;
            for (at, kind) in kinds {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = kind;
                }
            }
            let mut header = header(&bytes);
            let entry = Entry { addr: 0x0a01_0001, millis: 7, is_unicast: |addr| addr % 2 == 0 };
            let mut found = IpOptions::default();
            let compiled = ip_options_compile(&mut header, &entry, &mut found);
            if let Err(pointer) = compiled {
                prop_assert!((20..header.len() + 4).contains(&usize::from(pointer)));
            }
            if let Some(mut reply) = echo(&header, &found, |addr| addr % 2 == 0) {
                prop_assert!(reply.len() <= header.len() - 20 && reply.len() % 4 == 0);
                let built = reply.fill(1, 2, 3).to_vec();
                let mut answer = self::header(&built);
                prop_assert_eq!(answer.len(), 20 + built.len());
                let mut again = IpOptions::default();
                let read = ip_options_compile(&mut answer, &entry, &mut again);
                // An option that was broken stays out, but a timestamp may overflow where it comes to next.
                prop_assert!(read.is_ok() || again.ts.is_none(), "{:?} {:?}", read, built);
            }
        }
    }
}
