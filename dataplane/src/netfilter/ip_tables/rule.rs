//! Rules as data: what an `iptables-save` text says once names are numbers, and what the engine compiles.
//!
//! The values are those the kernel's tables hold (`ipt_entry`, `xt_*_info`), so that a text read and printed again is
//! the one `iptables-save` 1.8.9 prints, and nothing about syntax is known here. Addresses are in host byte order.

use crate::net::MacAddr;

/// Packets and bytes that matched. Bytes count from the IP header on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCounters {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// All tables, and the sets their rules name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Each table at most once.
    pub tables: Vec<Table>,
    /// Sets of `-m set`.
    pub sets: Vec<IpSet>,
}

/// The tables there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableName {
    /// LOCAL_IN, FORWARD, LOCAL_OUT at priority 0.
    Filter,
    /// All five hooks at priority -150.
    Mangle,
    /// PRE_ROUTING and LOCAL_OUT at priority -300.
    Raw,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Which.
    pub name: TableName,
    /// Built-in chains first, in hook order, then user chains as they were made.
    pub chains: Vec<Chain>,
}

/// What happens to a packet no rule of a built-in chain decided about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It goes on.
    Accept,
    /// It is dropped.
    Drop,
}

/// One chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name: `FORWARD`, or a user's.
    pub name: String,
    /// Built-in chains have one.
    pub policy: Option<Policy>,
    /// Packets the policy decided about.
    pub counters: RuleCounters,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// One rule: all matches must hold, then the target acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The part every rule has.
    pub ip: IpMatch,
    /// `-m`, in order; the implicit ones of `-p tcp` too.
    pub matches: Vec<Match>,
    /// `-j` or `-g`.
    pub target: Target,
    /// What it counted so far.
    pub counters: RuleCounters,
}

/// Addresses under a mask, which need not be contiguous. The default matches everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddrMatch {
    /// The address, already masked.
    pub addr: u32,
    /// The mask; 0 matches everything.
    pub mask: u32,
    /// Match what is not there.
    pub invert: bool,
}

/// An interface by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IfaceMatch {
    /// The name; without the `+` of a wildcard.
    pub name: String,
    /// A trailing `+`: any interface whose name begins so.
    pub wildcard: bool,
    /// Match the others.
    pub invert: bool,
}

/// What `ipt_ip` holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpMatch {
    /// `-s`
    pub src: AddrMatch,
    /// `-d`
    pub dst: AddrMatch,
    /// `-i`
    pub iniface: Option<IfaceMatch>,
    /// `-o`
    pub outiface: Option<IfaceMatch>,
    /// `-p`: 0 is every protocol and never stands here.
    pub proto: Option<Inv<u8>>,
    /// `-f`: second and later fragments; inverted, everything else.
    pub fragment: Option<Inv<()>>,
}

/// A value that may be negated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Inv<T> {
    /// The value.
    pub value: T,
    /// `!` stands before it.
    pub invert: bool,
}

/// An inclusive range of ports, marks, lengths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Range<T> {
    /// First.
    pub min: T,
    /// Last.
    pub max: T,
}

/// A match extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// `-m tcp`
    Tcp(TcpMatch),
    /// `-m udp`
    Udp(PortsMatch),
    /// `-m icmp --icmp-type`: type 255 is any; codes are a range.
    Icmp(Inv<IcmpMatch>),
    /// `-m multiport`
    Multiport(MultiportMatch),
    /// `-m mark --mark value/mask`
    Mark(Inv<Masked32>),
    /// `-m comment`
    Comment(String),
    /// `-m limit`
    Limit(LimitMatch),
    /// `-m hashlimit`
    Hashlimit(HashlimitMatch),
    /// `-m addrtype`
    Addrtype(AddrtypeMatch),
    /// `-m iprange`
    Iprange(IprangeMatch),
    /// `-m mac --mac-source`
    Mac(Inv<MacAddr>),
    /// `-m set --match-set`
    Set(SetMatch),
    /// `-m length`
    Length(Inv<Range<u16>>),
    /// `-m ttl`
    Ttl(TtlMatch),
    /// `-m dscp`
    Dscp(Inv<u8>),
    /// `-m tos --tos value/mask`
    Tos(Inv<Masked8>),
    /// `-m statistic`
    Statistic(Inv<StatisticMatch>),
    /// `-m pkttype`: the kernel's PACKET_HOST 0, PACKET_BROADCAST 1, PACKET_MULTICAST 2.
    Pkttype(Inv<u8>),
    /// `-m rpfilter`
    Rpfilter(RpfilterMatch),
    /// `-m time`
    Time(TimeMatch),
    /// `-m u32`
    U32(Inv<Vec<U32Test>>),
    /// `-m ecn`
    Ecn(EcnMatch),
    /// `-m tcpmss --mss`
    Tcpmss(Inv<Range<u16>>),
}

/// A value under a mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Masked32 {
    /// Value.
    pub value: u32,
    /// Bits that count.
    pub mask: u32,
}

/// A value under a mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Masked8 {
    /// Value.
    pub value: u8,
    /// Bits that count.
    pub mask: u8,
}

/// Source and destination ports; `None` is 0:65535.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortsMatch {
    /// `--sport`
    pub sport: Option<Inv<Range<u16>>>,
    /// `--dport`
    pub dport: Option<Inv<Range<u16>>>,
}

/// `xt_tcp`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpMatch {
    /// Ports.
    pub ports: PortsMatch,
    /// `--tcp-flags mask comp`
    pub flags: Option<Inv<TcpFlagsMatch>>,
    /// `--tcp-option`
    pub option: Option<Inv<u8>>,
}

/// Which flags are looked at, and which of them are set. Bits as in the header: FIN 1, SYN 2, RST 4, PSH 8, ACK 16,
/// URG 32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlagsMatch {
    /// Looked at.
    pub mask: u8,
    /// Set.
    pub comp: u8,
}

/// `ipt_icmp`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpMatch {
    /// The type; 255 is any.
    pub icmp_type: u8,
    /// Codes.
    pub code: Range<u8>,
}

/// Which ports `-m multiport` looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultiportKind {
    /// `--sports`
    Source,
    /// `--dports`
    Destination,
    /// `--ports`: either.
    Either,
}

/// `xt_multiport_v1`: at most 15 ports, a range counts as two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiportMatch {
    /// Which ports.
    pub kind: MultiportKind,
    /// Ports and ranges in the order given; `is_range` keeps `5:5` apart from `5`.
    pub ports: Vec<MultiportRange>,
    /// `!`
    pub invert: bool,
}

/// One entry of a multiport list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiportRange {
    /// The ports.
    pub ports: Range<u16>,
    /// Written with a colon.
    pub is_range: bool,
}

/// `xt_limit`: `avg` is the kernel's period, ten thousandths of a second between packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitMatch {
    /// Period of one packet in 1/10000 s.
    pub avg: u32,
    /// Packets saved up.
    pub burst: u32,
}

/// `xt_hashlimit` revision 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashlimitMatch {
    /// `--hashlimit-name`
    pub name: String,
    /// `--hashlimit-above` instead of `--hashlimit-upto`.
    pub above: bool,
    /// `--hashlimit-mode`: what tells buckets apart, a set of the bits of [`hashlimit_mode`].
    pub mode: u8,
    /// The rate.
    pub rate: HashlimitRate,
    /// `--hashlimit-burst`, in packets (or bytes in byte mode).
    pub burst: u64,
    /// `--hashlimit-srcmask`
    pub srcmask: u8,
    /// `--hashlimit-dstmask`
    pub dstmask: u8,
    /// `--hashlimit-htable-size`; 0 is the default.
    pub htable_size: u32,
    /// `--hashlimit-htable-max`; 0 is the default.
    pub htable_max: u32,
    /// `--hashlimit-htable-gcinterval`, ms; 1000 by default.
    pub gc_interval: u32,
    /// `--hashlimit-htable-expire`, ms; 0 is the default (the time the rate's unit gives).
    pub expire: u32,
}

/// Bits of [`HashlimitMatch::mode`].
pub mod hashlimit_mode {
    /// Destination address.
    pub const DIP: u8 = 1;
    /// Destination port.
    pub const DPT: u8 = 2;
    /// Source address.
    pub const SIP: u8 = 4;
    /// Source port.
    pub const SPT: u8 = 8;
}

/// A rate of `-m hashlimit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashlimitRate {
    /// Packets: the period of one in the kernel's units, 1/1000000 s.
    Packets {
        /// Period of one packet in 1/1000000 s.
        avg: u64,
    },
    /// Bytes a second.
    Bytes {
        /// Bytes a second.
        per_second: u64,
    },
}

/// `xt_addrtype` revision 1. Masks are of bits `1 << RTN_*` (UNSPEC 0, UNICAST 1, LOCAL 2, BROADCAST 3, ANYCAST 4,
/// MULTICAST 5, BLACKHOLE 6, UNREACHABLE 7, PROHIBIT 8, THROW 9, NAT 10, XRESOLVE 11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddrtypeMatch {
    /// `--src-type`
    pub src: Option<Inv<u16>>,
    /// `--dst-type`
    pub dst: Option<Inv<u16>>,
    /// `--limit-iface-in`
    pub limit_iface_in: bool,
    /// `--limit-iface-out`
    pub limit_iface_out: bool,
}

/// `xt_iprange`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IprangeMatch {
    /// `--src-range`
    pub src: Option<Inv<Range<u32>>>,
    /// `--dst-range`
    pub dst: Option<Inv<Range<u32>>>,
}

/// `-m set --match-set NAME src,dst`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetMatch {
    /// The set.
    pub name: String,
    /// For each part of the set's elements: true is the source's.
    pub src: Vec<bool>,
    /// `!`
    pub invert: bool,
}

/// `ipt_ttl`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlMatch {
    /// `--ttl-eq`
    Eq(u8),
    /// `! --ttl-eq`
    Ne(u8),
    /// `--ttl-lt`
    Lt(u8),
    /// `--ttl-gt`
    Gt(u8),
}

/// `xt_statistic`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatisticMatch {
    /// `--mode random --probability`: of 2^31 packets.
    Random {
        /// Probability times 0x80000000.
        probability: u32,
    },
    /// `--mode nth --every N --packet P`
    Nth {
        /// Every so many, as written (1 or more).
        every: u32,
        /// The first, counted from 0.
        packet: u32,
    },
}

/// `xt_rpfilter`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RpfilterMatch {
    /// `--loose`
    pub loose: bool,
    /// `--validmark`
    pub validmark: bool,
    /// `--accept-local`
    pub accept_local: bool,
    /// `--invert`
    pub invert: bool,
}

/// `xt_time`, in UTC unless `kerneltz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeMatch {
    /// `--datestart`, Unix seconds; 0 if not given.
    pub date_start: u32,
    /// `--datestop`, Unix seconds; `u32::MAX` if not given.
    pub date_stop: u32,
    /// `--timestart`, seconds of the day; 0 if not given.
    pub daytime_start: u32,
    /// `--timestop`, seconds of the day; 86399 if not given.
    pub daytime_stop: u32,
    /// `--monthdays`: bits 1 to 31; all if not given.
    pub monthdays: u32,
    /// `--weekdays`: bits 1 (Monday) to 7; all if not given.
    pub weekdays: u8,
    /// `--kerneltz`
    pub kerneltz: bool,
    /// `--contiguous`
    pub contiguous: bool,
}

/// One test of `-m u32`, all of which must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct U32Test {
    /// The first number and then operations on it, left to right.
    pub location: Vec<(U32Op, u32)>,
    /// One of these must hold.
    pub values: Vec<Range<u32>>,
}

/// Operations of `-m u32`; the first of a location counts as [`U32Op::And`] of all bits and only loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum U32Op {
    /// `&`
    And,
    /// `<<`
    LeftShift,
    /// `>>`
    RightShift,
    /// `@`
    At,
}

/// `xt_ecn`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EcnMatch {
    /// `--ecn-ip-ect`
    pub ip_ect: Option<Inv<u8>>,
    /// `--ecn-tcp-ece`; the value is whether inverted.
    pub tcp_ece: Option<Inv<()>>,
    /// `--ecn-tcp-cwr`
    pub tcp_cwr: Option<Inv<()>>,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Count only.
    None,
    /// End of this table: go on.
    Accept,
    /// Drop.
    Drop,
    /// Back to the caller, or to the policy.
    Return,
    /// Another chain.
    Jump {
        /// Its name.
        chain: String,
        /// `-g`: its end is this chain's end.
        goto: bool,
    },
    /// `REJECT`
    Reject(RejectWith),
    /// `LOG`
    Log(LogTarget),
    /// `NFLOG`
    Nflog(NflogTarget),
    /// `NFQUEUE`
    Nfqueue(NfqueueTarget),
    /// `MARK --set-xmark value/mask`
    Mark(Masked32),
    /// `CLASSIFY --set-class`
    Classify(u32),
    /// `DSCP --set-dscp`
    Dscp(u8),
    /// `TOS --set-tos value/mask`
    Tos(Masked8),
    /// `TTL`
    Ttl(TtlTarget),
    /// `TCPMSS`
    Tcpmss(TcpmssTarget),
    /// `ECN`
    Ecn(EcnTarget),
    /// `TRACE`
    Trace,
}

/// What `REJECT` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectWith {
    /// ICMP 3/0
    IcmpNetUnreachable,
    /// ICMP 3/1
    IcmpHostUnreachable,
    /// ICMP 3/2
    IcmpProtoUnreachable,
    /// ICMP 3/3
    IcmpPortUnreachable,
    /// ICMP 3/9
    IcmpNetProhibited,
    /// ICMP 3/10
    IcmpHostProhibited,
    /// ICMP 3/13
    IcmpAdminProhibited,
    /// A TCP reset.
    TcpReset,
}

/// `LOG`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogTarget {
    /// `--log-level`, 0 to 7; 4, warning, is the default.
    pub level: u8,
    /// `--log-prefix`
    pub prefix: String,
    /// Bits of the kernel's `IPT_LOG_*`: TCPSEQ 1, TCPOPT 2, IPOPT 4, UID 8, MACDECODE 32.
    pub flags: u8,
}

/// `NFLOG`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NflogTarget {
    /// `--nflog-group`
    pub group: u16,
    /// `--nflog-prefix`
    pub prefix: String,
    /// `--nflog-size`; `None` if not given.
    pub size: Option<u32>,
    /// `--nflog-threshold`; 0 if not given.
    pub threshold: u16,
}

/// `NFQUEUE`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NfqueueTarget {
    /// First queue.
    pub queue: u16,
    /// How many queues from there share the load; 1 for `--queue-num`.
    pub total: u16,
    /// `--queue-bypass`: without a listener, accept and go on.
    pub bypass: bool,
    /// `--queue-cpu-fanout`: choose by lcore, not by flow.
    pub cpu_fanout: bool,
}

/// `TTL`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlTarget {
    /// `--ttl-set`
    Set(u8),
    /// `--ttl-inc`
    Inc(u8),
    /// `--ttl-dec`
    Dec(u8),
}

/// `TCPMSS`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpmssTarget {
    /// `--set-mss`
    Set(u16),
    /// `--clamp-mss-to-pmtu`
    ClampToPmtu,
}

/// `ECN`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EcnTarget {
    /// `--ecn-tcp-remove`
    pub tcp_remove: bool,
    /// `--ecn-ip-ect`
    pub ip_ect: Option<u8>,
    /// `--ecn-tcp-cwr`
    pub tcp_cwr: Option<bool>,
    /// `--ecn-tcp-ece`
    pub tcp_ece: Option<bool>,
}

/// A set of `ipset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpSet {
    /// Its name.
    pub name: String,
    /// What its elements are.
    pub kind: SetKind,
    /// What is in it.
    pub entries: Vec<SetEntry>,
    /// Most elements it takes; of bitmap:port its range, the first port in the high half and the last in the low.
    pub maxelem: u32,
}

/// The set types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetKind {
    /// `hash:ip`
    HashIp,
    /// `hash:net`
    HashNet,
    /// `hash:ip,port`
    HashIpPort,
    /// `hash:net,port`
    HashNetPort,
    /// `bitmap:port`
    BitmapPort,
}

/// One element of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetEntry {
    /// Address; 0 where the type has none.
    pub addr: u32,
    /// Prefix length; 32 where the type has none.
    pub prefix: u8,
    /// Protocol; 0 where the type has none.
    pub proto: u8,
    /// Port, or ICMP type and code; 0 where the type has none.
    pub port: u16,
    /// `nomatch`: an exception to a larger network.
    pub nomatch: bool,
}
