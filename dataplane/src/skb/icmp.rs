//! ICMP messages (RFC 792).

/// Length of the fixed ICMP header.
pub const HEADER_LEN: usize = 8;

/// Echo reply.
pub const ICMP_ECHOREPLY: u8 = 0;
/// Destination unreachable.
pub const ICMP_DEST_UNREACH: u8 = 3;
/// Source quench (deprecated by RFC 6633).
pub const ICMP_SOURCE_QUENCH: u8 = 4;
/// Redirect.
pub const ICMP_REDIRECT: u8 = 5;
/// Echo request.
pub const ICMP_ECHO: u8 = 8;
/// Time exceeded.
pub const ICMP_TIME_EXCEEDED: u8 = 11;
/// Parameter problem.
pub const ICMP_PARAMETERPROB: u8 = 12;

/// Timestamp request.
pub const ICMP_TIMESTAMP: u8 = 13;
/// Timestamp reply.
pub const ICMP_TIMESTAMPREPLY: u8 = 14;
/// Address mask request.
pub const ICMP_ADDRESS: u8 = 17;
/// Address mask reply.
pub const ICMP_ADDRESSREPLY: u8 = 18;
/// The last type of RFC 792 and its early additions; what is above is unknown but for the extended echo.
pub const NR_ICMP_TYPES: u8 = 18;
/// Extended echo request (RFC 8335).
pub const ICMP_EXT_ECHO: u8 = 42;
/// Extended echo reply (RFC 8335).
pub const ICMP_EXT_ECHOREPLY: u8 = 43;

/// Codes of destination unreachable.
pub mod unreach {
    /// Network.
    pub const NET: u8 = 0;
    /// Host.
    pub const HOST: u8 = 1;
    /// Protocol.
    pub const PROT: u8 = 2;
    /// Port.
    pub const PORT: u8 = 3;
    /// Fragmentation needed and DF set.
    pub const FRAG_NEEDED: u8 = 4;
    /// Source route failed.
    pub const SR_FAILED: u8 = 5;
    /// Communication administratively prohibited (RFC 1812 section 5.2.7.1).
    pub const PKT_FILTERED: u8 = 13;
}

/// Types that report errors: never the cause of another error (RFC 1122 section 3.2.2).
#[inline]
pub const fn is_error(icmp_type: u8) -> bool {
    matches!(
        icmp_type,
        ICMP_DEST_UNREACH | ICMP_SOURCE_QUENCH | ICMP_REDIRECT | ICMP_TIME_EXCEEDED | ICMP_PARAMETERPROB
    )
}

/// Types about which no error is sent: errors, and those nobody assigned a meaning that would allow one.
#[inline]
pub const fn is_never_answered(icmp_type: u8) -> bool {
    matches!(icmp_type, 1..=7 | 9..=12) || icmp_type > NR_ICMP_TYPES
}

/// A checked view of the 8 fixed bytes.
#[derive(Clone, Copy, Debug)]
pub struct IcmpHeader<'a>(&'a [u8; HEADER_LEN]);

impl<'a> IcmpHeader<'a> {
    /// The header at the front of `bytes`; `None` if there are fewer than 8.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().map(IcmpHeader)
    }

    /// Message type.
    pub fn icmp_type(&self) -> u8 {
        self.0[0]
    }

    /// Code within the type.
    pub fn code(&self) -> u8 {
        self.0[1]
    }
}
