//! IGMP messages to and from bytes (RFC 1112 appendix I, RFC 2236 section 2, RFC 3376 section 4).

use std::time::Duration;

use skiff_dataplane::skb::checksum;

const QUERY: u8 = 0x11;
const V1_REPORT: u8 = 0x12;
const V2_REPORT: u8 = 0x16;
const V2_LEAVE: u8 = 0x17;
const V3_REPORT: u8 = 0x22;

/// Length of the messages of versions 1 and 2, and of a version 3 report without records.
const SHORT: usize = 8;
/// Length of a version 3 query without sources.
const V3_QUERY: usize = 12;
/// Length of a group record without sources.
const RECORD: usize = 8;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// RFC 1112.
    V1 = 1,
    /// RFC 2236.
    V2 = 2,
    /// RFC 3376.
    V3 = 3,
}

/// A query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The version of the querier.
    pub version: Version,
    /// The group asked about, host byte order; 0 asks about all.
    pub group: u32,
    /// Longest time to an answer; zero in version 1, where it is ten seconds.
    pub max_response: Duration,
    /// Other routers are not to shorten their timers.
    pub suppress: bool,
    /// The querier's robustness variable; 0 says nothing.
    pub robustness: u8,
    /// The querier's query interval.
    pub interval: Duration,
    /// The sources asked about; empty asks about all.
    pub sources: Vec<u32>,
}

/// What a group record of a version 3 report says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// The current filter includes these sources.
    IsInclude = 1,
    /// The current filter excludes these sources.
    IsExclude = 2,
    /// The filter changed to include these sources.
    ToInclude = 3,
    /// The filter changed to exclude these sources.
    ToExclude = 4,
    /// These sources are wanted too.
    Allow = 5,
    /// These sources are wanted no more.
    Block = 6,
}

/// A group record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What is said.
    pub kind: RecordKind,
    /// Of which group, host byte order.
    pub group: u32,
    /// And which sources.
    pub sources: Vec<u32>,
}

impl Record {
    /// Its length on the wire, in bytes.
    pub fn wire_len(&self) -> usize {
        RECORD + 4 * self.sources.len()
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A query.
    Query(Query),
    /// A version 1 report of a group.
    ReportV1(u32),
    /// A version 2 report of a group.
    ReportV2(u32),
    /// A version 2 host leaves a group.
    Leave(u32),
    /// A version 3 report.
    ReportV3(Vec<Record>),
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer bytes than the message says it has.
    #[error("too short")]
    Short,
    /// The checksum is wrong.
    #[error("bad checksum")]
    Checksum,
    /// Another type, which is none of our business (PIM, DVMRP, and so on).
    #[error("unknown type")]
    Type,
    /// A group that is no multicast address.
    #[error("not a group")]
    Group,
}

impl Message {
    /// Reads the payload of an IP packet, all of it.
    ///
    /// # Errors
    /// [`Malformed`]. Records of unknown types inside a report are left out, as RFC 3376 section 4.2.12 wants it.
    pub fn parse(bytes: &[u8]) -> Result<Message, Malformed> {
        let head: &[u8; SHORT] = bytes.first_chunk().ok_or(Malformed::Short)?;
        if checksum::sum(bytes) != 0xffff {
            return Err(Malformed::Checksum);
        }
        let group = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        match head[0] {
            QUERY => query(head, group, bytes).map(Message::Query),
            V1_REPORT => reportable(group).map(Message::ReportV1),
            V2_REPORT => reportable(group).map(Message::ReportV2),
            V2_LEAVE => reportable(group).map(Message::Leave),
            V3_REPORT => report(usize::from(u16::from_be_bytes([head[6], head[7]])), &bytes[SHORT..]),
            _ => Err(Malformed::Type),
        }
    }

    /// The bytes of the message, checksum included.
    pub fn emit(&self) -> Vec<u8> {
        let mut bytes = match self {
            Message::Query(query) => emit_query(query),
            Message::ReportV1(group) => short(V1_REPORT, 0, *group),
            Message::ReportV2(group) => short(V2_REPORT, 0, *group),
            Message::Leave(group) => short(V2_LEAVE, 0, *group),
            Message::ReportV3(records) => emit_report(records),
        };
        let check = !checksum::sum(&bytes);
        bytes[2..4].copy_from_slice(&check.to_be_bytes());
        bytes
    }
}

fn is_group(addr: u32) -> bool {
    addr >> 28 == 0xe
}

fn reportable(group: u32) -> Result<u32, Malformed> {
    if is_group(group) { Ok(group) } else { Err(Malformed::Group) }
}

fn query(head: &[u8; SHORT], group: u32, bytes: &[u8]) -> Result<Query, Malformed> {
    if group != 0 && !is_group(group) {
        return Err(Malformed::Group);
    }
    let mut query = Query {
        version: if head[1] == 0 { Version::V1 } else { Version::V2 },
        group,
        max_response: tenths(u32::from(head[1])),
        suppress: false,
        robustness: 0,
        interval: Duration::ZERO,
        sources: Vec::new(),
    };
    if bytes.len() == SHORT {
        return Ok(query);
    }
    // Between the two lengths no version has a query (RFC 3376 section 7.1).
    let more: &[u8; V3_QUERY] = bytes.first_chunk().ok_or(Malformed::Short)?;
    let count = usize::from(u16::from_be_bytes([more[10], more[11]]));
    query.version = Version::V3;
    query.max_response = tenths(decode(head[1]));
    query.suppress = more[8] & 8 != 0;
    query.robustness = more[8] & 7;
    query.interval = Duration::from_secs(decode(more[9]).into());
    query.sources = addresses(&bytes[V3_QUERY..], count)?;
    Ok(query)
}

fn report(count: usize, mut rest: &[u8]) -> Result<Message, Malformed> {
    let mut records = Vec::new();
    for _ in 0..count {
        let head: &[u8; RECORD] = rest.first_chunk().ok_or(Malformed::Short)?;
        let (aux, sources) = (usize::from(head[1]) * 4, usize::from(u16::from_be_bytes([head[2], head[3]])));
        let group = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let found = addresses(&rest[RECORD..], sources)?;
        rest = rest.get(RECORD + sources * 4 + aux..).ok_or(Malformed::Short)?;
        let kind = match head[0] {
            1 => RecordKind::IsInclude,
            2 => RecordKind::IsExclude,
            3 => RecordKind::ToInclude,
            4 => RecordKind::ToExclude,
            5 => RecordKind::Allow,
            6 => RecordKind::Block,
            _ => continue,
        };
        if is_group(group) {
            records.push(Record { kind, group, sources: found });
        }
    }
    Ok(Message::ReportV3(records))
}

fn addresses(bytes: &[u8], count: usize) -> Result<Vec<u32>, Malformed> {
    let bytes = bytes.get(..count * 4).ok_or(Malformed::Short)?;
    Ok(bytes.chunks_exact(4).map(|b| b.iter().fold(0, |word, &byte| word << 8 | u32::from(byte))).collect())
}

fn tenths(code: u32) -> Duration {
    Duration::from_millis(u64::from(code) * 100)
}

/// The floating-point code of RFC 3376 section 4.1.1.
fn decode(code: u8) -> u32 {
    match code {
        0..128 => u32::from(code),
        _ => (u32::from(code & 0xf) | 0x10) << ((code >> 4 & 7) + 3),
    }
}

/// The largest code whose value is not above `value`.
fn encode(value: u32) -> u8 {
    if value < 128 {
        return value as u8;
    }
    let exponent = (value.ilog2() - 7).min(7);
    let mantissa = (value >> (exponent + 3)).min(0x1f) & 0xf;
    let saturated = if value >> (exponent + 3) > 0x1f { 0xf } else { mantissa };
    0x80 | (exponent as u8) << 4 | saturated as u8
}

fn short(kind: u8, code: u8, group: u32) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(group.to_be_bytes());
    bytes
}

fn emit_query(query: &Query) -> Vec<u8> {
    let response = u32::try_from(query.max_response.as_millis() / 100).unwrap_or(u32::MAX);
    match query.version {
        Version::V1 => return short(QUERY, 0, query.group),
        Version::V2 => return short(QUERY, response.clamp(1, 255) as u8, query.group),
        Version::V3 => {}
    }
    let mut bytes = short(QUERY, encode(response), query.group);
    let robustness = if query.robustness > 7 { 0 } else { query.robustness };
    bytes.push(u8::from(query.suppress) << 3 | robustness);
    bytes.push(encode(u32::try_from(query.interval.as_secs()).unwrap_or(u32::MAX)));
    bytes.extend((query.sources.len() as u16).to_be_bytes());
    bytes.extend(query.sources.iter().flat_map(|s| s.to_be_bytes()));
    bytes
}

fn emit_report(records: &[Record]) -> Vec<u8> {
    let mut bytes = vec![V3_REPORT, 0, 0, 0, 0, 0];
    bytes.extend((records.len() as u16).to_be_bytes());
    for record in records {
        bytes.extend([record.kind as u8, 0]);
        bytes.extend((record.sources.len() as u16).to_be_bytes());
        bytes.extend(record.group.to_be_bytes());
        bytes.extend(record.sources.iter().flat_map(|s| s.to_be_bytes()));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group() -> impl Strategy<Value = u32> {
        0xe000_0000u32..0xf000_0000
    }

    fn record() -> impl Strategy<Value = Record> {
        use RecordKind::*;
        let kind = prop::sample::select(vec![IsInclude, IsExclude, ToInclude, ToExclude, Allow, Block]);
        (kind, group(), prop::collection::vec(any::<u32>(), 0..5)).prop_map(|(kind, group, sources)| Record {
            kind,
            group,
            sources,
        })
    }

    fn message() -> impl Strategy<Value = Message> {
        let query =
            (group(), 0u32..128, any::<bool>(), 0u8..8, 0u64..128, prop::collection::vec(any::<u32>(), 0..5))
                .prop_map(|(group, response, suppress, robustness, interval, sources)| {
                    Message::Query(Query {
                        version: Version::V3,
                        group,
                        max_response: tenths(response),
                        suppress,
                        robustness,
                        interval: Duration::from_secs(interval),
                        sources,
                    })
                });
        prop_oneof![
            query,
            group().prop_map(Message::ReportV1),
            group().prop_map(Message::ReportV2),
            group().prop_map(Message::Leave),
            prop::collection::vec(record(), 0..5).prop_map(Message::ReportV3),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(message in message()) {
            prop_assert_eq!(Message::parse(&message.emit()), Ok(message));
        }

        #[test]
        fn garbage_is_refused_and_harms_nobody(mut bytes in prop::collection::vec(any::<u8>(), 0..64), right: bool) {
            if right && bytes.len() >= 4 {
                bytes[2..4].fill(0);
                let check = !checksum::sum(&bytes);
                bytes[2..4].copy_from_slice(&check.to_be_bytes());
            }
            let _ = Message::parse(&bytes);
        }

        #[test]
        fn a_cut_message_is_refused(message in message(), cut in 1usize..12) {
            let bytes = message.emit();
            let kept = &bytes[..bytes.len().saturating_sub(cut)];
            prop_assert_ne!(Message::parse(kept), Ok(message));
        }
    }

    #[test]
    fn a_query_tells_its_version_by_length_and_code() {
        let version = |bytes: &[u8]| match Message::parse(bytes) {
            Ok(Message::Query(query)) => Some(query.version),
            _ => None,
        };
        assert_eq!(version(&[0x11, 0, 0xee, 0xff, 0, 0, 0, 0]), Some(Version::V1));
        assert_eq!(version(&[0x11, 100, 0xee, 0x9b, 0, 0, 0, 0]), Some(Version::V2));
        assert_eq!(version(&[0x11, 100, 0xec, 0x1e, 0, 0, 0, 0, 2, 125, 0, 0]), Some(Version::V3));
        assert_eq!(version(&[0x11, 100, 0xee, 0x9b, 0, 0, 0, 0, 0, 0]), None, "ten bytes");
    }

    #[test]
    fn large_times_are_coded_with_an_exponent() {
        assert_eq!([0u8, 127, 128, 0x8f, 0xff].map(decode), [0, 127, 128, 248, 31744]);
        for value in 0..40_000 {
            let got = decode(encode(value));
            assert!(got <= value && (got * 17 / 16 + 1 >= value || value > 31744), "{value} became {got}");
        }
    }
}
