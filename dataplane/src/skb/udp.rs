//! The UDP header (RFC 768) and the part of the TCP header (RFC 9293) a router answers to.

/// Length of a UDP header.
pub const HEADER_LEN: usize = 8;

/// A checked view of a UDP header.
#[derive(Clone, Copy, Debug)]
pub struct UdpHeader<'a>(&'a [u8; HEADER_LEN]);

impl<'a> UdpHeader<'a> {
    /// The header at the front of `bytes`; `None` if there are fewer than 8.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().map(UdpHeader)
    }

    /// Length of header and payload in bytes.
    pub fn len(&self) -> usize {
        usize::from(u16::from_be_bytes([self.0[4], self.0[5]]))
    }

    /// True if the length field says there is not even a header.
    pub fn is_empty(&self) -> bool {
        self.len() < HEADER_LEN
    }

    /// Checksum; 0 means the sender computed none.
    pub fn check(&self) -> u16 {
        u16::from_be_bytes([self.0[6], self.0[7]])
    }
}

/// Length of a TCP header without options.
pub const TCP_HEADER_LEN: usize = 20;
/// FIN.
pub const TCP_FIN: u8 = 0x01;
/// SYN.
pub const TCP_SYN: u8 = 0x02;
/// RST.
pub const TCP_RST: u8 = 0x04;
/// ACK.
pub const TCP_ACK: u8 = 0x10;

/// A checked view of the fixed TCP header.
#[derive(Clone, Copy, Debug)]
pub struct TcpHeader<'a>(&'a [u8; TCP_HEADER_LEN]);

impl<'a> TcpHeader<'a> {
    /// The header at the front of `bytes`; `None` if there are fewer than 20.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().map(TcpHeader)
    }

    /// Source port.
    pub fn source(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }

    /// Destination port.
    pub fn dest(&self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]])
    }

    /// Sequence number.
    pub fn seq(&self) -> u32 {
        u32::from_be_bytes([self.0[4], self.0[5], self.0[6], self.0[7]])
    }

    /// Acknowledgement number.
    pub fn ack_seq(&self) -> u32 {
        u32::from_be_bytes([self.0[8], self.0[9], self.0[10], self.0[11]])
    }

    /// Header length in bytes.
    pub fn header_len(&self) -> usize {
        usize::from(self.0[12] >> 4) * 4
    }

    /// The flag bits.
    pub fn flags(&self) -> u8 {
        self.0[13]
    }
}
