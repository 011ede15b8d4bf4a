//! The test frame: Ethernet, IPv4, UDP to the discard port, and a stamp that says which one it is.
//!
//! A size counts the frame check sequence, as RFC 2544 does, which drivers leave out: the frame of size 64 is 60 bytes
//! here. That has room for exactly the stamp. A VLAN tag comes on top of the size.

use std::net::Ipv4Addr;

/// Bytes of the frame check sequence.
pub const FCS: usize = 4;
/// The smallest size.
pub const MIN_SIZE: usize = 64;
/// The largest: 1500 bytes of IP.
pub const MAX_SIZE: usize = 1518;

const ETHERNET: usize = 14;
const TAG: usize = 4;
const IPV4: usize = 20;
const UDP: usize = 8;
const STAMP: usize = 18;
/// RFC 863.
const DISCARD_PORT: u16 = 9;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_VLAN: [u8; 2] = [0x81, 0x00];

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The generator port that sends.
    pub src_mac: [u8; 6],
    /// The router's port.
    pub dst_mac: [u8; 6],
    /// A tag, if there is one.
    pub vlan: Option<u16>,
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Source port.
    pub src_port: u16,
}

/// What tells a frame from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The trial; frames of an earlier one are not counted.
    pub trial: u16,
    /// Its number in its direction.
    pub seq: u64,
    /// When it was made.
    pub tsc: u64,
}

/// The headers of a flow's frames of one size, checksum and all.
#[derive(Clone, Debug)]
pub struct Template {
    headers: Vec<u8>,
    len: usize,
}

impl Template {
    /// For frames of `size` bytes with their FCS, which is brought into what is allowed.
    pub fn new(flow: &Flow, size: usize) -> Template {
        let size = size.clamp(MIN_SIZE, MAX_SIZE);
        let ip_len = size - FCS - ETHERNET;
        let mut headers = [&flow.dst_mac[..], &flow.src_mac].concat();
        if let Some(id) = flow.vlan {
            headers.extend(ETHERTYPE_VLAN);
            headers.extend((id & 0xfff).to_be_bytes());
        }
        headers.extend(ETHERTYPE_IPV4);
        headers.extend(ipv4(flow, ip_len as u16));
        headers.extend(flow.src_port.to_be_bytes());
        headers.extend(DISCARD_PORT.to_be_bytes());
        headers.extend(((ip_len - IPV4) as u16).to_be_bytes());
        // No UDP checksum (RFC 768): a stamp changes with every frame.
        headers.extend([0, 0]);
        Template { len: size - FCS + headers.len() - (ETHERNET + IPV4 + UDP), headers }
    }

    /// Bytes of the frame without its FCS.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The headers.
    pub fn headers(&self) -> &[u8] {
        &self.headers
    }

    /// Writes headers and stamp to the front of a frame of [`len`](Self::len) bytes; what lies behind is left alone.
    #[inline]
    pub fn write(&self, stamp: Stamp, frame: &mut [u8]) {
        let Some((headers, rest)) = frame.split_at_mut_checked(self.headers.len()) else { return };
        headers.copy_from_slice(&self.headers);
        if let Some(place) = rest.first_chunk_mut::<STAMP>() {
            place[..2].copy_from_slice(&stamp.trial.to_be_bytes());
            place[2..10].copy_from_slice(&stamp.seq.to_be_bytes());
            place[10..].copy_from_slice(&stamp.tsc.to_be_bytes());
        }
    }
}

/// The stamp of a test frame, whatever headers a router has changed; `None` for any other frame.
#[inline]
pub fn stamp_of(frame: &[u8]) -> Option<Stamp> {
    let ethertype = frame.get(12..14)?;
    let l3 = if ethertype == ETHERTYPE_VLAN { ETHERNET + TAG } else { ETHERNET };
    let packet = frame.get(l3..l3 + IPV4 + UDP + STAMP)?;
    let is_ours = frame.get(l3 - 2..l3)? == ETHERTYPE_IPV4
        && packet[0] == 0x45
        && packet[9] == 17
        && packet[IPV4 + 2..IPV4 + 4] == DISCARD_PORT.to_be_bytes();
    let stamp = packet.get(IPV4 + UDP..).filter(|_| is_ours)?;
    Some(Stamp {
        trial: u16::from_be_bytes(stamp[..2].try_into().ok()?),
        seq: u64::from_be_bytes(stamp[2..10].try_into().ok()?),
        tsc: u64::from_be_bytes(stamp[10..18].try_into().ok()?),
    })
}

fn ipv4(flow: &Flow, len: u16) -> [u8; IPV4] {
    let mut header = [0; IPV4];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&len.to_be_bytes());
    header[8] = 64;
    header[9] = 17;
    header[12..16].copy_from_slice(&flow.src.octets());
    header[16..].copy_from_slice(&flow.dst.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(vlan: Option<u16>) -> Flow {
        Flow {
            src_mac: [2, 0, 0, 0, 0, 1],
            dst_mac: [2, 0, 0, 0, 0, 2],
            vlan,
            src: Ipv4Addr::new(198, 18, 0, 2),
            dst: Ipv4Addr::new(10, 0, 0, 1),
            src_port: 1024,
        }
    }

    #[test]
    fn every_size_carries_its_stamp() {
        let stamp = Stamp { trial: 7, seq: u64::MAX - 3, tsc: 0x0102_0304_0506_0708 };
        for vlan in [None, Some(100)] {
            for size in [64, 65, 128, 1518] {
                let template = Template::new(&flow(vlan), size);
                assert_eq!(template.len(), size - FCS + if vlan.is_some() { 4 } else { 0 });
                let mut frame = vec![0xee; template.len()];
                template.write(stamp, &mut frame);
                assert_eq!(stamp_of(&frame), Some(stamp), "{size} {vlan:?}");
            }
        }
    }

    #[test]
    fn headers_are_right() {
        let template = Template::new(&flow(None), 64);
        let expected =
            "020000000002 020000000001 0800 4500002e00000000401197c5c61200020a000001 04000009001a0000";
        let hex: String = template.headers().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(checksum(&template.headers()[14..34]), 0, "{hex}");
        let expected = expected.replace(' ', "");
        assert_eq!(hex[..48], expected[..48]);
        assert_eq!(hex[52..], expected[52..]);
        let tagged = Template::new(&flow(Some(100)), 64);
        assert_eq!(tagged.headers()[12..18], [0x81, 0, 0, 100, 8, 0]);
    }

    #[test]
    fn other_frames_are_none_of_ours() {
        let template = Template::new(&flow(None), 64);
        let mut frame = vec![0; 60];
        template.write(Stamp { trial: 1, seq: 2, tsc: 3 }, &mut frame);
        for (at, value) in [(12, 0x86), (14, 0x46), (23, 6), (37, 53)] {
            let mut other = frame.clone();
            other[at] = value;
            assert_eq!(stamp_of(&other), None, "byte {at}");
        }
        assert_eq!(stamp_of(&frame[..59]), None);
        assert_eq!(stamp_of(&[]), None);
    }

    /// A router lowers the time to live and rewrites both MAC addresses.
    #[test]
    fn a_forwarded_frame_is_recognised() {
        let mut frame = vec![0; 60];
        Template::new(&flow(None), 64).write(Stamp { trial: 1, seq: 2, tsc: 3 }, &mut frame);
        frame[..12].fill(9);
        frame[22] = 63;
        assert_eq!(stamp_of(&frame), Some(Stamp { trial: 1, seq: 2, tsc: 3 }));
    }
}
