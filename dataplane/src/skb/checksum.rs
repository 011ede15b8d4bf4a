//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use zerocopy::byteorder::native_endian;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// One's complement sum of `bytes`, folded to 16 bits, in the byte order of the wire read as big endian.
/// A trailing odd byte counts as the high byte of a word.
pub fn sum(bytes: &[u8]) -> u16 {
    add(0, bytes)
}

/// Continues a sum over `bytes`, which must start at an even offset of what is summed.
pub fn add(start: u16, bytes: &[u8]) -> u16 {
    let mut acc = u64::from(start);
    let mut words = bytes.chunks_exact(4);
    for w in &mut words {
        acc += u64::from(u32::from_be_bytes([w[0], w[1], w[2], w[3]]));
    }
    acc += match *words.remainder() {
        [a] => u64::from(a) << 8,
        [a, b] => u64::from(u16::from_be_bytes([a, b])),
        [a, b, c] => u64::from(u16::from_be_bytes([a, b])) + (u64::from(c) << 8),
        _ => 0,
    };
    fold(acc)
}

/// The sum over a sequence of pieces that follow one another, whatever their lengths.
pub fn sum_segments<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u16 {
    let mut total = 0u16;
    let mut odd = false;
    for piece in pieces {
        let part = sum(piece);
        // A piece that begins at an odd offset contributes with its bytes swapped (RFC 1071 section 2 B).
        total = fold(u64::from(total) + u64::from(if odd { part.swap_bytes() } else { part }));
        odd ^= piece.len() % 2 == 1;
    }
    total
}

/// Adds the carries back in until the sum fits 16 bits.
#[inline]
pub fn fold(mut acc: u64) -> u16 {
    acc = (acc >> 32) + (acc & 0xffff_ffff);
    acc = (acc >> 32) + (acc & 0xffff_ffff);
    let mut acc = acc as u32;
    acc = (acc >> 16) + (acc & 0xffff);
    acc = (acc >> 16) + (acc & 0xffff);
    acc as u16
}

/// 20 bytes as the largest words there are.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct HeaderWords {
    a: native_endian::U64,
    b: native_endian::U64,
    c: native_endian::U32,
}

/// True if a header of 20 bytes, its checksum field included, sums to all ones.
#[inline]
pub fn ipv4_header_20_ok(header: &[u8; 20]) -> bool {
    // The sum is the same in either byte order up to a swap, and all ones swap to all ones, so native loads do.
    let words: &HeaderWords = zerocopy::transmute_ref!(header);
    let (sum, carry) = words.a.get().overflowing_add(words.b.get());
    let (sum, again) = sum.overflowing_add(u64::from(words.c.get()) + u64::from(carry));
    // Modulo 0xffff every carry is worth 1, like the bit it left. All ones is 0 there, and so is a sum of nothing,
    // which a header that begins with its version is not; the last carry leaves far too little behind to overflow.
    let sum = sum.wrapping_add(u64::from(again));
    sum % 0xffff == 0 && sum != 0
}

/// The checksum after a 16-bit field changed from `old` to `new` (RFC 1624 equation 3).
#[inline]
pub fn update16(check: u16, old: u16, new: u16) -> u16 {
    !fold(u64::from(!check) + u64::from(!old) + u64::from(new))
}

/// Sum of the TCP/UDP pseudo header (RFC 768): addresses, protocol, length of the segment.
pub fn pseudo_header(src: u32, dst: u32, protocol: u8, len: usize) -> u16 {
    fold(u64::from(src) + u64::from(dst) + u64::from(protocol) + len as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 read literally: 16-bit words, one at a time.
    fn naive(bytes: &[u8]) -> u16 {
        let mut acc = 0u32;
        for pair in bytes.chunks(2) {
            acc += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            acc = (acc >> 16) + (acc & 0xffff);
        }
        acc as u16
    }

    #[test]
    fn a_known_header_sums_to_all_ones() {
        let header: [u8; 20] = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01,
            0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert!(ipv4_header_20_ok(&header));
        let mut bad = header;
        bad[8] = 0x3f;
        assert!(!ipv4_header_20_ok(&bad));
    }

    proptest! {
        #[test]
        fn sum_is_the_definition(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(sum(&bytes), naive(&bytes));
        }

        #[test]
        fn pieces_sum_as_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), cuts in proptest::collection::vec(0usize..200, 0..4)
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]);
            prop_assert_eq!(sum_segments(pieces), sum(&bytes));
        }

        #[test]
        fn an_incremental_update_equals_a_new_sum(mut words in proptest::collection::vec(1u16.., 10), new in 1u16..) {
            let check = |w: &[u16]| !sum(&w.iter().flat_map(|x| x.to_be_bytes()).collect::<Vec<_>>());
            let before = check(&words);
            let updated = update16(before, words[3], new);
            words[3] = new;
            prop_assert_eq!(updated, check(&words));
        }

        #[test]
        fn the_20_byte_check_agrees_with_the_sum(header in any::<[u8; 20]>()) {
            prop_assert_eq!(ipv4_header_20_ok(&header), sum(&header) == 0xffff);
        }
    }
}
