//! LACPDUs and markers to and from bytes (IEEE 802.1AX-2014 sections 6.4.2 and 6.5.3).

use skiff_dataplane::net::MacAddr;
use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Where slow protocols are sent: no bridge forwards it.
pub const SLOW_PROTOCOLS_MAC: MacAddr = MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x02]);
/// EtherType of slow protocols.
pub const ETH_P_SLOW: u16 = 0x8809;
/// Bytes of a frame, without its check sequence: 14 of header and 110 of payload.
pub const FRAME_LEN: usize = 124;

const LACP: u8 = 1;
const MARKER: u8 = 2;
const MARKER_INFORMATION: u8 = 1;
const MARKER_RESPONSE: u8 = 2;
const ETH_HEADER: usize = 14;

/// The bits of a port's state (section 6.4.2.3).
pub mod state {
    /// Sends without being asked.
    pub const ACTIVITY: u8 = 0x01;
    /// Wants to hear every second.
    pub const TIMEOUT: u8 = 0x02;
    /// May join others.
    pub const AGGREGATION: u8 = 0x04;
    /// Is in the right group.
    pub const SYNC: u8 = 0x08;
    /// Takes what it receives.
    pub const COLLECTING: u8 = 0x10;
    /// Is sent by.
    pub const DISTRIBUTING: u8 = 0x20;
    /// What it knows of its partner is made up.
    pub const DEFAULTED: u8 = 0x40;
    /// What it knows of its partner is old.
    pub const EXPIRED: u8 = 0x80;
}

/// What is said of one end of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortInfo {
    /// Priority of the system: low ones decide.
    pub system_priority: u16,
    /// The system.
    pub system: MacAddr,
    /// Ports with the same key may be one.
    pub key: u16,
    /// Priority of the port.
    pub port_priority: u16,
    /// The port.
    pub port: u16,
    /// Bits of [`state`].
    pub state: u8,
}

impl PortInfo {
    /// All of `bits` are set.
    pub fn has(&self, bits: u8) -> bool {
        self.state & bits == bits
    }

    pub(super) fn put(&mut self, bits: u8, on: bool) {
        self.state = if on { self.state | bits } else { self.state & !bits };
    }

    /// Both mean the same port, as far as `bits` of the state go too.
    pub(super) fn same(&self, other: &PortInfo, bits: u8) -> bool {
        let strip = |info: &PortInfo| PortInfo { state: info.state & bits, ..*info };
        strip(self) == strip(other)
    }
}

/// What one end says of both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lacpdu {
    /// Of itself.
    pub actor: PortInfo,
    /// Of the other.
    pub partner: PortInfo,
    /// How long it may hold what it collects, in 10 microseconds.
    pub collector_max_delay: u16,
}

/// A question whether all frames sent before have arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marker {
    /// It is the answer.
    pub response: bool,
    /// The port that asked.
    pub requester_port: u16,
    /// The system that asked.
    pub requester_system: MacAddr,
    /// Which question.
    pub transaction: u32,
}

/// A slow protocol of link aggregation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowPdu {
    /// State.
    Lacp(Lacpdu),
    /// Question or answer.
    Marker(Marker),
}

/// Why a frame is none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Too few bytes.
    #[error("too short")]
    Short,
    /// Another EtherType or subtype, such as OAM.
    #[error("another protocol")]
    Protocol,
    /// Parts that are not where all versions have them.
    #[error("unknown structure")]
    Structure,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    dst: MacAddr,
    src: MacAddr,
    ethertype: U16,
    subtype: u8,
    version: u8,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawInfo {
    kind: u8,
    length: u8,
    system_priority: U16,
    system: MacAddr,
    key: U16,
    port_priority: U16,
    port: U16,
    state: u8,
    reserved: [u8; 3],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawLacp {
    header: RawHeader,
    actor: RawInfo,
    partner: RawInfo,
    collector_kind: u8,
    collector_length: u8,
    collector_max_delay: U16,
    reserved: [u8; 12],
    terminator: [u8; 2],
    padding: [u8; 50],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawMarker {
    header: RawHeader,
    kind: u8,
    length: u8,
    requester_port: U16,
    requester_system: MacAddr,
    transaction: U32,
    pad: [u8; 2],
    terminator: [u8; 2],
    reserved: [u8; 90],
}

const INFO_LENGTH: u8 = 20;
const COLLECTOR_LENGTH: u8 = 16;
const MARKER_LENGTH: u8 = 16;

impl SlowPdu {
    /// Reads a frame that begins with its Ethernet header. Later versions only add parts, so any version will do.
    ///
    /// # Errors
    /// It is short, of another protocol, or its parts are not where they must be.
    pub fn parse(frame: &[u8]) -> Result<SlowPdu, Malformed> {
        let (header, _) = RawHeader::ref_from_prefix(frame).map_err(|_| Malformed::Short)?;
        if header.ethertype.get() != ETH_P_SLOW {
            return Err(Malformed::Protocol);
        }
        match header.subtype {
            LACP => parse_lacp(frame).map(SlowPdu::Lacp),
            MARKER => parse_marker(frame).map(SlowPdu::Marker),
            _ => Err(Malformed::Protocol),
        }
    }

    /// The frame, from `src`.
    pub fn emit(&self, src: MacAddr) -> Vec<u8> {
        match self {
            SlowPdu::Lacp(pdu) => emit_lacp(pdu, src),
            SlowPdu::Marker(marker) => emit_marker(marker, src),
        }
    }
}

fn parse_lacp(frame: &[u8]) -> Result<Lacpdu, Malformed> {
    let (raw, _) = RawLacp::ref_from_prefix(frame).map_err(|_| Malformed::Short)?;
    let parts = [(raw.actor.kind, raw.actor.length), (raw.partner.kind, raw.partner.length)];
    if raw.header.version == 0 || parts != [(1, INFO_LENGTH), (2, INFO_LENGTH)] {
        return Err(Malformed::Structure);
    }
    Ok(Lacpdu {
        actor: raw.actor.read(),
        partner: raw.partner.read(),
        collector_max_delay: raw.collector_max_delay.get(),
    })
}

fn parse_marker(frame: &[u8]) -> Result<Marker, Malformed> {
    let (raw, _) = RawMarker::ref_from_prefix(frame).map_err(|_| Malformed::Short)?;
    let known = matches!(raw.kind, MARKER_INFORMATION | MARKER_RESPONSE);
    if !known || raw.length != MARKER_LENGTH {
        return Err(Malformed::Structure);
    }
    Ok(Marker {
        response: raw.kind == MARKER_RESPONSE,
        requester_port: raw.requester_port.get(),
        requester_system: raw.requester_system,
        transaction: raw.transaction.get(),
    })
}

fn emit_lacp(pdu: &Lacpdu, src: MacAddr) -> Vec<u8> {
    let raw = RawLacp {
        header: header(src, LACP),
        actor: RawInfo::new(1, &pdu.actor),
        partner: RawInfo::new(2, &pdu.partner),
        collector_kind: 3,
        collector_length: COLLECTOR_LENGTH,
        collector_max_delay: pdu.collector_max_delay.into(),
        reserved: [0; 12],
        terminator: [0; 2],
        padding: [0; 50],
    };
    raw.as_bytes().to_vec()
}

fn emit_marker(marker: &Marker, src: MacAddr) -> Vec<u8> {
    let raw = RawMarker {
        header: header(src, MARKER),
        kind: if marker.response { MARKER_RESPONSE } else { MARKER_INFORMATION },
        length: MARKER_LENGTH,
        requester_port: marker.requester_port.into(),
        requester_system: marker.requester_system,
        transaction: marker.transaction.into(),
        pad: [0; 2],
        terminator: [0; 2],
        reserved: [0; 90],
    };
    raw.as_bytes().to_vec()
}

fn header(src: MacAddr, subtype: u8) -> RawHeader {
    RawHeader { dst: SLOW_PROTOCOLS_MAC, src, ethertype: ETH_P_SLOW.into(), subtype, version: 1 }
}

impl RawInfo {
    fn new(kind: u8, info: &PortInfo) -> RawInfo {
        RawInfo {
            kind,
            length: INFO_LENGTH,
            system_priority: info.system_priority.into(),
            system: info.system,
            key: info.key.into(),
            port_priority: info.port_priority.into(),
            port: info.port.into(),
            state: info.state,
            reserved: [0; 3],
        }
    }

    fn read(&self) -> PortInfo {
        PortInfo {
            system_priority: self.system_priority.get(),
            system: self.system,
            key: self.key.get(),
            port_priority: self.port_priority.get(),
            port: self.port.get(),
            state: self.state,
        }
    }
}

const _: () = assert!(size_of::<RawLacp>() == FRAME_LEN && size_of::<RawMarker>() == FRAME_LEN);
const _: () = assert!(size_of::<RawHeader>() == ETH_HEADER + 2);

#[cfg(test)]
mod tests {
    use super::*;

    fn pdu() -> Lacpdu {
        let actor = PortInfo {
            system_priority: 65535,
            system: MacAddr([2, 0, 0, 0, 1, 1]),
            key: 15,
            port_priority: 255,
            port: 1,
            state: 0x3d,
        };
        Lacpdu { actor, partner: PortInfo { port: 2, state: 0x3f, ..actor }, collector_max_delay: 0 }
    }

    #[test]
    fn a_frame_has_every_field_where_the_standard_puts_it() {
        let frame = SlowPdu::Lacp(pdu()).emit(MacAddr([2, 0, 0, 0, 1, 7]));
        assert_eq!(frame.len(), FRAME_LEN);
        assert_eq!(frame[..18], [1, 0x80, 0xc2, 0, 0, 2, 2, 0, 0, 0, 1, 7, 0x88, 9, 1, 1, 1, 20]);
        assert_eq!(frame[18..34], [0xff, 0xff, 2, 0, 0, 0, 1, 1, 0, 15, 0, 255, 0, 1, 0x3d, 0]);
        assert_eq!(frame[36..38], [2, 20]);
        assert_eq!(frame[51..54], [2, 0x3f, 0]);
        assert_eq!(frame[56..60], [3, 16, 0, 0]);
        assert!(frame[60..].iter().all(|&b| b == 0));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let marker =
            Marker { response: true, requester_port: 3, requester_system: MacAddr([2; 6]), transaction: 9 };
        for slow in [SlowPdu::Lacp(pdu()), SlowPdu::Marker(marker)] {
            let frame = slow.emit(MacAddr::ZERO);
            assert_eq!(SlowPdu::parse(&frame), Ok(slow));
            for cut in 0..frame.len() {
                assert_eq!(SlowPdu::parse(&frame[..cut]), Err(Malformed::Short), "{cut}");
            }
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let good = SlowPdu::Lacp(pdu()).emit(MacAddr::ZERO);
        let with = |at: usize, byte: u8| {
            let mut frame = good.clone();
            frame[at] = byte;
            SlowPdu::parse(&frame)
        };
        assert_eq!(with(12, 8), Err(Malformed::Protocol));
        assert_eq!(with(14, 3), Err(Malformed::Protocol));
        assert_eq!(with(15, 0), Err(Malformed::Structure));
        assert_eq!(with(17, 19), Err(Malformed::Structure));
        assert_eq!(with(36, 1), Err(Malformed::Structure));
        assert!(with(15, 2).is_ok(), "version 2 adds parts and moves none");
    }
}
