//! Log lines about packets: LOG, NFLOG and TRACE.
//!
//! An lcore copies the headers into a message of fixed size and puts it in a bounded queue; the control thread makes
//! the line, as the kernel's `nf_log_syslog` does, and prints it. A full queue loses messages and counts them.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;

use crate::net::{IfIndex, MacAddr};
use crate::skb::eth;
use crate::skb::ipv4::{self, IP_DF, IP_MF, IP_OFFSET, Ipv4Header};

/// Bytes of a packet that a message holds, from the IP header on.
pub const HEADER_BYTES: usize = 128;
/// Messages that may wait.
const QUEUE: usize = 1024;
/// The kernel's `LOGLEVEL_WARNING`, at which traces are printed.
const WARNING: u8 = 4;

/// Bits of [`LogSpec::flags`] (`NF_LOG_*`).
pub mod log_flags {
    /// TCP sequence numbers.
    pub const TCPSEQ: u8 = 1;
    /// TCP options.
    pub const TCPOPT: u8 = 2;
    /// IP options.
    pub const IPOPT: u8 = 4;
    /// The sender's user; packets of the router have none.
    pub const UID: u8 = 8;
    /// Frame addresses by name.
    pub const MACDECODE: u8 = 32;
    /// What traces print.
    pub const ALL: u8 = 0x0f;
}

/// What a rule wants printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSpec {
    /// Printed first.
    pub prefix: String,
    /// Syslog level, 0 to 7.
    pub level: u8,
    /// See [`log_flags`].
    pub flags: u8,
    /// For NFLOG: its group.
    pub group: Option<u16>,
}

/// Which step of a traced packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceKind {
    /// A rule matched.
    Rule,
    /// A user chain ended.
    Return,
    /// The policy decided.
    Policy,
}

/// Why a packet is reported.
#[derive(Clone, Debug)]
pub enum What {
    /// LOG or NFLOG.
    Log(Arc<LogSpec>),
    /// TRACE.
    Trace {
        /// Table.
        table: &'static str,
        /// Chain.
        chain: Arc<str>,
        /// Step.
        kind: TraceKind,
        /// Rule, from 1; for a policy or the end of a chain one more than it has rules.
        rule: u32,
    },
}

/// A report about a packet.
#[derive(Clone, Debug)]
pub struct LogMessage {
    /// Why.
    pub what: What,
    /// Device it came in by; 0 for none.
    pub iif: IfIndex,
    /// Device it leaves by; 0 for none.
    pub oif: IfIndex,
    /// Firewall mark.
    pub mark: u32,
    /// The Ethernet header it came with.
    pub ether: Option<[u8; eth::HEADER_LEN]>,
    /// Length from the IP header on.
    pub len: u32,
    /// How much of it `bytes` holds.
    pub taken: u8,
    /// The packet from its IP header on.
    pub bytes: [u8; HEADER_BYTES],
}

/// The queue of messages.
#[derive(Debug)]
pub struct NfLog {
    queue: ArrayQueue<LogMessage>,
    lost: AtomicU64,
}

impl Default for NfLog {
    fn default() -> Self {
        NfLog { queue: ArrayQueue::new(QUEUE), lost: AtomicU64::new(0) }
    }
}

impl NfLog {
    /// Puts a message in; false, and counted, if there is no room.
    pub fn push(&self, message: LogMessage) -> bool {
        let taken = self.queue.push(message).is_ok();
        self.lost.fetch_add(u64::from(!taken), Ordering::Relaxed);
        taken
    }

    /// The next message.
    pub fn pop(&self) -> Option<LogMessage> {
        self.queue.pop()
    }

    /// No message waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Messages lost so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl LogMessage {
    /// Syslog level to print it at.
    pub fn level(&self) -> u8 {
        match &self.what {
            What::Log(spec) => spec.level,
            What::Trace { .. } => WARNING,
        }
    }

    /// The line, without an end of line. `name` gives the names of devices.
    pub fn line(&self, name: impl Fn(IfIndex) -> String) -> String {
        let mut line = String::with_capacity(256);
        // Writing to a string does not fail.
        let _ = self.write(&mut line, name);
        line
    }

    fn write(&self, out: &mut String, name: impl Fn(IfIndex) -> String) -> fmt::Result {
        let flags = match &self.what {
            What::Log(spec) => {
                out.push_str(&spec.prefix);
                spec.flags
            }
            What::Trace { table, chain, kind, rule } => {
                let kind = match kind {
                    TraceKind::Rule => "rule",
                    TraceKind::Return => "return",
                    TraceKind::Policy => "policy",
                };
                write!(out, "TRACE: {table}:{chain}:{kind}:{rule} ")?;
                log_flags::ALL
            }
        };
        let device = |dev: IfIndex| if dev == IfIndex::NONE { String::new() } else { name(dev) };
        write!(out, "IN={} OUT={} ", device(self.iif), device(self.oif))?;
        if self.iif != IfIndex::NONE {
            self.mac(out, flags)?;
        }
        let packet = self.bytes.get(..usize::from(self.taken)).unwrap_or(&[]);
        Dump { flags, packet, len: self.len as usize, inner: false }.ip(out)?;
        if self.mark != 0 {
            write!(out, "MARK=0x{:x} ", self.mark)?;
        }
        Ok(())
    }

    fn mac(&self, out: &mut String, flags: u8) -> fmt::Result {
        let Some(ether) = &self.ether else { return out.write_str("MAC= ") };
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, high, low] = *ether;
        if flags & log_flags::MACDECODE != 0 {
            let (src, dst) = (MacAddr([s0, s1, s2, s3, s4, s5]), MacAddr([d0, d1, d2, d3, d4, d5]));
            return write!(out, "MACSRC={src} MACDST={dst} MACPROTO={high:02x}{low:02x} ");
        }
        for (i, byte) in ether.iter().enumerate() {
            write!(out, "{}{byte:02x}", if i == 0 { "MAC=" } else { ":" })?;
        }
        out.write_char(' ')
    }
}

/// A packet being printed, or one that an ICMP error quotes.
struct Dump<'a> {
    flags: u8,
    /// What there is of it.
    packet: &'a [u8],
    /// Its whole length.
    len: usize,
    inner: bool,
}

impl Dump<'_> {
    fn ip(&self, out: &mut String) -> fmt::Result {
        let Some(ip) = Ipv4Header::parse(self.packet) else { return out.write_str("TRUNCATED") };
        write!(out, "SRC={} DST={} ", ipv4::addr(ip.src()), ipv4::addr(ip.dst()))?;
        write!(out, "LEN={} TOS=0x{:02X} PREC=0x{:02X} ", ip.total_len(), ip.tos() & 0x1e, ip.tos() & 0xe0)?;
        write!(out, "TTL={} ID={} ", ip.ttl(), ip.id())?;
        let words = [(0x8000, "CE "), (IP_DF, "DF "), (IP_MF, "MF ")];
        words
            .iter()
            .filter(|(bit, _)| ip.frag_off() & bit != 0)
            .try_for_each(|(_, word)| out.write_str(word))?;
        let offset = ip.frag_off() & IP_OFFSET;
        if offset != 0 {
            write!(out, "FRAG:{offset} ")?;
        }
        let header_len = ip.header_len();
        if self.flags & log_flags::IPOPT != 0 && header_len > 20 {
            let Some(options) = self.packet.get(20..header_len) else { return out.write_str("TRUNCATED") };
            hex_options(out, options)?;
        }
        let body = self.packet.get(header_len..).unwrap_or(&[]);
        let body = Body { bytes: body, len: self.len.saturating_sub(header_len), fragment: offset != 0 };
        match ip.protocol() {
            ipv4::IPPROTO_TCP => self.tcp(out, &body),
            ipv4::IPPROTO_UDP => udp(out, "PROTO=UDP ", &body),
            136 => udp(out, "PROTO=UDPLITE ", &body),
            ipv4::IPPROTO_ICMP => self.icmp(out, &body),
            51 => spi(out, "PROTO=AH ", &body, 12, 4),
            50 => spi(out, "PROTO=ESP ", &body, 8, 0),
            protocol => write!(out, "PROTO={protocol} "),
        }
    }

    fn tcp(&self, out: &mut String, body: &Body<'_>) -> fmt::Result {
        out.write_str("PROTO=TCP ")?;
        if body.fragment {
            return Ok(());
        }
        let Some(h) = body.bytes.first_chunk::<20>() else { return incomplete(out, body) };
        let long = |at: usize| u32::from_be_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]);
        let word = |at: usize| u16::from_be_bytes([h[at], h[at + 1]]);
        write!(out, "SPT={} DPT={} ", word(0), word(2))?;
        if self.flags & log_flags::TCPSEQ != 0 {
            write!(out, "SEQ={} ACK={} ", long(4), long(8))?;
        }
        write!(out, "WINDOW={} RES=0x{:02x} ", word(14), (h[12] & 0xf) << 2)?;
        const NAMES: [(u8, &str); 8] = [
            (0x80, "CWR "),
            (0x40, "ECE "),
            (0x20, "URG "),
            (0x10, "ACK "),
            (0x08, "PSH "),
            (0x04, "RST "),
            (0x02, "SYN "),
            (0x01, "FIN "),
        ];
        NAMES.iter().filter(|(bit, _)| h[13] & bit != 0).try_for_each(|(_, name)| out.write_str(name))?;
        write!(out, "URGP={} ", word(18))?;
        let data_offset = usize::from(h[12] >> 4) * 4;
        if self.flags & log_flags::TCPOPT != 0 && data_offset > 20 {
            let Some(options) = body.bytes.get(20..data_offset) else {
                return out.write_str("OPT (TRUNCATED)");
            };
            hex_options(out, options)?;
        }
        Ok(())
    }

    fn icmp(&self, out: &mut String, body: &Body<'_>) -> fmt::Result {
        out.write_str("PROTO=ICMP ")?;
        if body.fragment {
            return Ok(());
        }
        let Some(&[kind, code, _, _, a, b, c, d]) = body.bytes.first_chunk() else {
            return incomplete(out, body);
        };
        write!(out, "TYPE={kind} CODE={code} ")?;
        // What each type needs to be more than a number (bytes).
        let needed = match kind {
            0 | 8 => 4,
            3 | 4 | 5 | 11 | 12 => 28,
            13 | 14 => 20,
            17 | 18 => 12,
            _ => 0,
        };
        if body.len < needed {
            return incomplete(out, body);
        }
        let (first, second) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        match kind {
            0 | 8 => write!(out, "ID={first} SEQ={second} ")?,
            12 => write!(out, "PARAMETER={a} ")?,
            5 => write!(out, "GATEWAY={a}.{b}.{c}.{d} ")?,
            _ => {}
        }
        if matches!(kind, 3 | 4 | 5 | 11) {
            if !self.inner {
                out.write_char('[')?;
                let packet = body.bytes.get(8..).unwrap_or(&[]);
                Dump { flags: self.flags, packet, len: body.len.saturating_sub(8), inner: true }.ip(out)?;
                out.write_str("] ")?;
            }
            if (kind, code) == (3, 4) {
                write!(out, "MTU={second} ")?;
            }
        }
        Ok(())
    }
}

/// What follows an IP header.
struct Body<'a> {
    bytes: &'a [u8],
    len: usize,
    /// Not of the first fragment: it begins with no header.
    fragment: bool,
}

fn udp(out: &mut String, name: &str, body: &Body<'_>) -> fmt::Result {
    out.write_str(name)?;
    if body.fragment {
        return Ok(());
    }
    let Some(&[a, b, c, d, e, f, _, _]) = body.bytes.first_chunk() else { return incomplete(out, body) };
    let [sport, dport, len] = [[a, b], [c, d], [e, f]].map(u16::from_be_bytes);
    write!(out, "SPT={sport} DPT={dport} LEN={len} ")
}

fn spi(out: &mut String, name: &str, body: &Body<'_>, needed: usize, at: usize) -> fmt::Result {
    out.write_str(name)?;
    if body.fragment {
        return Ok(());
    }
    match body.bytes.get(at..).and_then(|b| b.first_chunk()).filter(|_| body.bytes.len() >= needed) {
        Some(spi) => write!(out, "SPI=0x{:x} ", u32::from_be_bytes(*spi)),
        None => incomplete(out, body),
    }
}

fn incomplete(out: &mut String, body: &Body<'_>) -> fmt::Result {
    write!(out, "INCOMPLETE [{} bytes] ", body.len)
}

fn hex_options(out: &mut String, options: &[u8]) -> fmt::Result {
    out.write_str("OPT (")?;
    options.iter().try_for_each(|byte| write!(out, "{byte:02X}"))?;
    out.write_str(") ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netfilter::ip_tables::tests::Bytes;

    const ETHER: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0];

    fn message(packet: &Bytes, flags: u8, prefix: &str) -> LogMessage {
        let mut bytes = [0; HEADER_BYTES];
        let taken = packet.0.len().min(HEADER_BYTES);
        bytes[..taken].copy_from_slice(&packet.0[..taken]);
        LogMessage {
            what: What::Log(Arc::new(LogSpec { prefix: prefix.into(), level: 4, flags, group: None })),
            iif: IfIndex(2),
            oif: IfIndex::NONE,
            mark: 0,
            ether: Some(ETHER),
            len: packet.0.len() as u32,
            taken: taken as u8,
            bytes,
        }
    }

    fn line(packet: &Bytes, flags: u8) -> String {
        message(packet, flags, "").line(|_| "v1".into())
    }

    const HEAD: &str = "IN=v1 OUT= MAC=02:00:00:00:00:01:02:00:00:00:00:09:08:00 SRC=10.1.0.2 DST=10.1.0.1 ";

    fn ip(protocol: u8, payload: &[u8]) -> Bytes {
        Bytes::new("10.1.0.2", "10.1.0.1", protocol, payload)
    }

    /// What a kernel 6.18 printed for the same packets.
    #[test]
    fn lines_are_the_kernels() {
        let mut udp = ip(17, &[0, 5, 0, 53, 0, 12, 0, 0, 97, 98, 99, 100]);
        (udp.0[1], udp.0[6]) = (0x28, 0x40);
        let whole = "LEN=32 TOS=0x08 PREC=0x20 TTL=64 ID=7 DF PROTO=UDP SPT=5 DPT=53 LEN=12 ";
        assert_eq!(message(&udp, 0, "u: ").line(|_| "v1".into()), format!("u: {HEAD}{whole}"));
        (udp.0[1], udp.0[6], udp.0[7]) = (0, 0x20, 3);
        assert_eq!(
            line(&udp, 0),
            format!("{HEAD}LEN=32 TOS=0x00 PREC=0x00 TTL=64 ID=7 MF FRAG:3 PROTO=UDP ")
        );
        let short = "LEN=23 TOS=0x00 PREC=0x00 TTL=64 ID=7 PROTO=UDP INCOMPLETE [3 bytes] ";
        assert_eq!(line(&ip(17, b"abc"), 0), format!("{HEAD}{short}"));

        let plain = "TOS=0x00 PREC=0x00 TTL=64 ID=7";
        let mut tcp = ip(6, &[3, 232, 0, 80, 0, 0, 0, 11, 0, 0, 0, 22, 0x70, 0xc2, 32, 0, 0, 0, 0, 0]);
        tcp.0.extend([2, 4, 5, 180, 1, 3, 3, 7]);
        tcp.0.splice(20..20, [0x94, 4, 0, 0]);
        (tcp.0[0], tcp.0[3]) = (0x46, 52);
        let options = "OPT (94040000) PROTO=TCP SPT=1000 DPT=80 SEQ=11 ACK=22 WINDOW=8192 RES=0x00 CWR ECE SYN \
                       URGP=0 OPT (020405B401030307) ";
        assert_eq!(line(&tcp, 7), format!("{HEAD}LEN=52 {plain} {options}"));
        let tcp = ip(6, &[3, 232, 0, 80, 0, 0, 0, 11, 0, 0, 0, 22, 0x5a, 0x39, 32, 0, 0, 0, 0, 9]);
        let flags = "PROTO=TCP SPT=1000 DPT=80 SEQ=11 ACK=22 WINDOW=8192 RES=0x28 URG ACK PSH FIN URGP=9 ";
        assert_eq!(line(&tcp, 7), format!("{HEAD}LEN=40 {plain} {flags}"));

        let echo = ip(1, &[8, 0, 0, 0, 0, 3, 0, 4, 104, 101, 108, 108, 111]);
        let mut decoded = message(&echo, log_flags::MACDECODE, "");
        decoded.mark = 0x1f;
        let head = "IN=v1 OUT= MACSRC=02:00:00:00:00:09 MACDST=02:00:00:00:00:01 MACPROTO=0800 ";
        let body = format!(
            "SRC=10.1.0.2 DST=10.1.0.1 LEN=33 {plain} PROTO=ICMP TYPE=8 CODE=0 ID=3 SEQ=4 MARK=0x1f "
        );
        assert_eq!(decoded.line(|_| "v1".into()), format!("{head}{body}"));
    }

    #[test]
    fn lines_about_errors_show_what_they_quote() {
        let plain = "TOS=0x00 PREC=0x00 TTL=64";
        let error = |head: [u8; 8], quoted: &Bytes| ip(1, &[&head[..], &quoted.0].concat());
        let mut inner =
            Bytes::new("10.1.0.1", "9.9.9.9", 17, &[0, 1, 0, 2, 0, 16, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        inner.0[5] = 77;
        let quote = format!("[SRC=10.1.0.1 DST=9.9.9.9 LEN=36 {plain} ID=77 PROTO=UDP SPT=1 DPT=2 LEN=16 ] ");
        let too_big = error([3, 4, 0, 0, 0, 0, 5, 120], &inner);
        let want = format!("{HEAD}LEN=64 {plain} ID=7 PROTO=ICMP TYPE=3 CODE=4 {quote}MTU=1400 ");
        assert_eq!(line(&too_big, 0), want);
        let redirect = error([5, 1, 0, 0, 10, 1, 0, 77], &inner);
        let want = format!("{HEAD}LEN=64 {plain} ID=7 PROTO=ICMP TYPE=5 CODE=1 GATEWAY=10.1.0.77 {quote}");
        assert_eq!(line(&redirect, 0), want);
        let parameter = error([12, 0, 0, 0, 20, 0, 0, 0], &inner);
        let want = format!("{HEAD}LEN=64 {plain} ID=7 PROTO=ICMP TYPE=12 CODE=0 PARAMETER=20 ");
        assert_eq!(line(&parameter, 0), want);
        let cut = ip(1, &[11, 0, 0, 0, 0, 0, 0, 0, 97, 98, 99]);
        let want = format!("{HEAD}LEN=31 {plain} ID=7 PROTO=ICMP TYPE=11 CODE=0 INCOMPLETE [11 bytes] ");
        assert_eq!(line(&cut, 0), want);
    }

    #[test]
    fn lines_about_other_protocols() {
        let plain = "TOS=0x00 PREC=0x00 TTL=64 ID=7";
        let esp = ip(50, &[0x12, 0x34, 0x56, 0x78, 97, 98, 99, 100, 101, 102, 103, 104]);
        assert_eq!(line(&esp, 0), format!("{HEAD}LEN=32 {plain} PROTO=ESP SPI=0x12345678 "));
        let ah = ip(51, &[4, 2, 0, 0, 0x12, 0x34, 0x56, 0x78, 97, 98, 99, 100, 101, 102, 103, 104]);
        assert_eq!(line(&ah, 0), format!("{HEAD}LEN=36 {plain} PROTO=AH SPI=0x12345678 "));
        assert_eq!(line(&ip(47, b"abcdefgh"), 0), format!("{HEAD}LEN=28 {plain} PROTO=47 "));
        let mut own = message(&ip(47, b"abcdefgh"), 0, "o: ");
        (own.iif, own.oif, own.ether) = (IfIndex::NONE, IfIndex(2), None);
        let want = format!("o: IN= OUT=v1 SRC=10.1.0.2 DST=10.1.0.1 LEN=28 {plain} PROTO=47 ");
        assert_eq!(own.line(|_| "v1".into()), want);
    }

    #[test]
    fn a_full_queue_counts_what_it_loses() {
        let log = NfLog::default();
        let one = message(&ip(47, b""), 0, "");
        let taken = (0..QUEUE + 5).filter(|_| log.push(one.clone())).count();
        assert_eq!((taken, log.lost(), log.is_empty()), (QUEUE, 5, false));
    }
}
