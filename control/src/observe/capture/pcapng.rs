//! pcapng (draft-ietf-opsawg-pcapng), as far as a capture needs it: a section, its interfaces, packets.
//!
//! Written by hand, as it is four blocks: the numbers are those of the draft, in little endian throughout.

use skiff_dataplane::core::capture::{Direction, Record};
use skiff_dataplane::net::IfIndex;

use super::Plane;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const LINKTYPE_ETHERNET: u16 = 1;

const OPT_COMMENT: u16 = 1;
const SHB_HARDWARE: u16 = 2;
const SHB_OS: u16 = 3;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;

/// Times are in units of 10^-9 s.
const NANOSECONDS: u8 = 9;
/// `epb_flags`: came in.
const INBOUND: u32 = 1;
/// `epb_flags`: goes out.
const OUTBOUND: u32 = 2;

/// A section in the making.
pub(super) struct Writer {
    snaplen: u32,
    /// Devices by the number of their interface in the section.
    interfaces: Vec<IfIndex>,
}

impl Writer {
    /// Begins a section with these interfaces.
    pub(super) fn begin(snaplen: u32, devices: &[(IfIndex, String)], out: &mut Vec<u8>) -> Writer {
        block(out, SECTION_HEADER, |out| {
            out.extend(BYTE_ORDER.to_le_bytes());
            out.extend([1, 0, 0, 0]);
            // The length of the section is not known yet.
            out.extend(u64::MAX.to_le_bytes());
            option(out, SHB_HARDWARE, std::env::consts::ARCH.as_bytes());
            option(out, SHB_OS, std::env::consts::OS.as_bytes());
            option(out, SHB_USERAPPL, concat!("skiff ", env!("CARGO_PKG_VERSION")).as_bytes());
            end_of_options(out);
        });
        let mut writer = Writer { snaplen, interfaces: Vec::new() };
        for (dev, name) in devices {
            writer.interface(*dev, name, out);
        }
        writer
    }

    /// Adds a packet, and its interface if it is the first of one that came later.
    pub(super) fn packet(&mut self, record: &Record, plane: &dyn Plane, out: &mut Vec<u8>) {
        let known = self.interfaces.iter().position(|dev| *dev == record.dev);
        let interface = known.unwrap_or_else(|| self.interface(record.dev, &plane.name(record.dev), out));
        block(out, ENHANCED_PACKET, |out| {
            out.extend((interface as u32).to_le_bytes());
            out.extend(((record.unix_nanos >> 32) as u32).to_le_bytes());
            out.extend((record.unix_nanos as u32).to_le_bytes());
            out.extend((record.bytes().len() as u32).to_le_bytes());
            out.extend(record.wire_len.to_le_bytes());
            padded(out, record.bytes());
            match record.direction {
                Direction::Rx => option(out, EPB_FLAGS, &INBOUND.to_le_bytes()),
                Direction::Tx => option(out, EPB_FLAGS, &OUTBOUND.to_le_bytes()),
                Direction::Drop => {}
            }
            if let Some((node, reason)) = record.freed {
                option(out, OPT_COMMENT, format!("drop {reason} at {node}").as_bytes());
            }
            end_of_options(out);
        });
    }

    /// Adds an interface; its number.
    fn interface(&mut self, dev: IfIndex, name: &str, out: &mut Vec<u8>) -> usize {
        block(out, INTERFACE_DESCRIPTION, |out| {
            out.extend(LINKTYPE_ETHERNET.to_le_bytes());
            out.extend([0, 0]);
            // libpcap wants the same of all.
            out.extend(self.snaplen.to_le_bytes());
            option(out, IF_NAME, name.as_bytes());
            option(out, IF_TSRESOL, &[NANOSECONDS]);
            end_of_options(out);
        });
        self.interfaces.push(dev);
        self.interfaces.len() - 1
    }
}

/// A block: type, length, what `fill` adds, which is a multiple of 4 bytes, and the length again.
fn block(out: &mut Vec<u8>, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    fill(out);
    let len = ((out.len() - start + 4) as u32).to_le_bytes();
    out.extend(len);
    if let Some(place) = out.get_mut(start + 4..start + 8) {
        place.copy_from_slice(&len);
    }
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    padded(out, value);
}

fn end_of_options(out: &mut Vec<u8>) {
    out.extend([0; 4]);
}

fn padded(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_what_the_draft_draws() {
        let mut out = Vec::new();
        let writer =
            Writer::begin(96, &[(IfIndex(2), "lan0".into()), (IfIndex(3), "wan00".into())], &mut out);
        assert_eq!(writer.interfaces, [IfIndex(2), IfIndex(3)]);
        let word = |at: usize| u32::from_le_bytes(out[at..at + 4].try_into().unwrap());
        assert_eq!((word(0), word(8), word(12)), (SECTION_HEADER, BYTE_ORDER, 1));
        let section = word(4) as usize;
        assert_eq!((section % 4, word(section - 4) as usize), (0, section));
        let lan0 = [
            &[1, 0, 0, 0, 40, 0, 0, 0, 1, 0, 0, 0, 96, 0, 0, 0, 2, 0, 4, 0][..],
            b"lan0",
            &[9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0],
        ];
        assert_eq!(out[section..section + 40], lan0.concat());
        let wan00 = &out[section + 40..];
        assert_eq!(wan00.len(), 44);
        assert_eq!(wan00[20..28], *b"wan00\0\0\0");
    }
}
