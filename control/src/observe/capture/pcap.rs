//! The old pcap format (draft-ietf-opsawg-pcap), with times in nanoseconds.

use skiff_dataplane::core::capture::Record;

const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const LINKTYPE_ETHERNET: u32 = 1;

/// The file header.
pub(super) fn begin(snaplen: u32, out: &mut Vec<u8>) {
    out.extend(MAGIC_NANOSECONDS.to_le_bytes());
    out.extend([2, 0, 4, 0]);
    out.extend([0; 8]);
    out.extend(snaplen.to_le_bytes());
    out.extend(LINKTYPE_ETHERNET.to_le_bytes());
}

/// A packet.
pub(super) fn packet(record: &Record, out: &mut Vec<u8>) {
    out.extend(((record.unix_nanos / 1_000_000_000) as u32).to_le_bytes());
    out.extend(((record.unix_nanos % 1_000_000_000) as u32).to_le_bytes());
    out.extend((record.bytes().len() as u32).to_le_bytes());
    out.extend(record.wire_len.to_le_bytes());
    out.extend_from_slice(record.bytes());
}
