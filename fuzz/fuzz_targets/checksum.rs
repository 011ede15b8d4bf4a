#![no_main]
//! Internet checksum: whole, in pieces, and updated, against the textbook loop (RFC 1071).

use libfuzzer_sys::fuzz_target;
use skiff_dataplane::skb::checksum::{sum, sum_segments};

/// 0 and 0xffff are the same number in ones' complement.
fn canonical(sum: u16) -> u16 {
    if sum == 0xffff { 0 } else { sum }
}

fn textbook(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from_be_bytes([0, 0, pair[0], *pair.get(1).unwrap_or(&0)]));
    words.fold(0, |sum, word| {
        let sum = sum + word;
        (sum & 0xffff) + (sum >> 16)
    }) as u16
}

fuzz_target!(|data: &[u8]| {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let expected = canonical(textbook(bytes));
    assert_eq!(canonical(sum(bytes)), expected);
    let (one, other) = bytes.split_at(usize::from(cut).min(bytes.len()));
    assert_eq!(canonical(sum_segments([one, other])), expected);
});
