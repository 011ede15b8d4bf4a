use super::*;
use crate::netfilter::ip_tables::tests::Bytes;

/// 10.0.0.1 is ours on device 2, 10.0.0.255 a broadcast address; the way back to 10/8 is device 2.
struct Fake;

impl World for Fake {
    fn addr_type(&self, addr: u32, dev: Option<IfIndex>) -> u8 {
        match addr {
            0x0a00_0001 if dev.is_none_or(|d| d.0 == 2) => rtn::LOCAL,
            0x0a00_00ff => rtn::BROADCAST,
            _ => rtn::UNICAST,
        }
    }
    fn reverse_path(&self, addr: u32, dev: IfIndex) -> ReversePath {
        let unicast = addr >> 24 == 10;
        ReversePath { unicast, local: addr >> 24 == 11, same_dev: dev.0 == 2 }
    }
    fn is_loopback(&self, dev: IfIndex) -> bool {
        dev.0 == 1
    }
    fn now_millis(&self) -> u64 {
        0
    }
    fn wall_seconds(&self) -> u64 {
        0
    }
    fn random(&mut self) -> u32 {
        0x4000_0000
    }
}

fn yes<T>(value: T) -> Inv<T> {
    Inv { value, invert: false }
}

fn no<T>(value: T) -> Inv<T> {
    Inv { value, invert: true }
}

#[track_caller]
fn check(packet: &Bytes, cases: &[(Match, Held)]) {
    for (m, want) in cases {
        assert_eq!(holds(m, &packet.view(), &mut Fake), *want, "{m:?}");
    }
}

#[test]
fn header_fields() {
    let mut p = Bytes::udp("10.0.0.1", "10.0.0.255", 5, 53);
    p.0[1] = 0xb9;
    let tos = |value, mask| Masked8 { value, mask };
    check(
        &p,
        &[
            (Match::Length(yes(Range { min: 32, max: 32 })), Ok(true)),
            (Match::Length(no(Range { min: 30, max: 40 })), Ok(false)),
            (Match::Ttl(TtlMatch::Eq(64)), Ok(true)),
            (Match::Ttl(TtlMatch::Ne(64)), Ok(false)),
            (Match::Ttl(TtlMatch::Lt(65)), Ok(true)),
            (Match::Ttl(TtlMatch::Gt(64)), Ok(false)),
            (Match::Dscp(yes(0x2e)), Ok(true)),
            (Match::Dscp(no(0x2e)), Ok(false)),
            (Match::Tos(yes(tos(0x38, 0x3c))), Ok(true)),
            (Match::Tos(no(tos(0x38, 0x3c))), Ok(false)),
            (Match::Ecn(EcnMatch { ip_ect: Some(yes(1)), ..EcnMatch::default() }), Ok(true)),
            (Match::Ecn(EcnMatch { ip_ect: Some(no(1)), ..EcnMatch::default() }), Ok(false)),
            (Match::Mac(yes(crate::net::MacAddr([2, 0, 0, 0, 0, 9]))), Ok(true)),
            (Match::Mac(no(crate::net::MacAddr([2, 0, 0, 0, 0, 9]))), Ok(false)),
            (Match::Pkttype(yes(0)), Ok(true)),
            (Match::Pkttype(yes(1)), Ok(false)),
            (Match::Statistic(yes(StatisticMatch::Random { probability: 0x4000_0001 })), Ok(true)),
            (Match::Statistic(yes(StatisticMatch::Random { probability: 0x4000_0000 })), Ok(false)),
        ],
    );
}

#[test]
fn tcp_and_its_options() {
    let p = Bytes::tcp("10.0.0.1", "10.0.0.2", 5, 80, 0xc2, &[1, 2, 4, 5, 180, 3, 3, 7]);
    let option = |o| Match::Tcp(TcpMatch { option: Some(o), ..TcpMatch::default() });
    let flags = |mask, comp| {
        Match::Tcp(TcpMatch { flags: Some(yes(TcpFlagsMatch { mask, comp })), ..TcpMatch::default() })
    };
    let ecn = |ece, cwr| Match::Ecn(EcnMatch { ip_ect: None, tcp_ece: ece, tcp_cwr: cwr });
    check(
        &p,
        &[
            (option(yes(3)), Ok(true)),
            (option(yes(8)), Ok(false)),
            (option(no(8)), Ok(true)),
            (flags(0x17, 2), Ok(true)),
            (flags(0x17, 0x12), Ok(false)),
            (Match::Tcpmss(yes(Range { min: 1400, max: 1460 })), Ok(true)),
            (Match::Tcpmss(no(Range { min: 1400, max: 1460 })), Ok(false)),
            (ecn(Some(yes(())), Some(yes(()))), Ok(true)),
            (ecn(Some(no(())), None), Ok(false)),
        ],
    );
    let mut bad = p.clone();
    bad.0[32] = 0x40;
    check(
        &bad,
        &[(option(yes(3)), Err(HotDrop)), (Match::Tcpmss(yes(Range { min: 0, max: 9 })), Err(HotDrop))],
    );
    let mut short = p;
    short.cut(44);
    check(
        &short,
        &[(option(yes(3)), Err(HotDrop)), (Match::Tcpmss(yes(Range { min: 0, max: 9 })), Err(HotDrop))],
    );
}

#[test]
fn fragments_and_truncated_headers() {
    let tcp = Match::Tcp(TcpMatch::default());
    let p = Bytes::tcp("10.0.0.1", "10.0.0.2", 5, 80, 2, &[]);
    check(
        &p.clone().fragment(1),
        &[(tcp.clone(), Err(HotDrop)), (Match::Udp(PortsMatch::default()), Ok(false))],
    );
    check(&p.clone().fragment(2), &[(tcp.clone(), Ok(false))]);
    let mut short = p;
    short.cut(39);
    check(&short, &[(tcp, Err(HotDrop)), (Match::Udp(PortsMatch::default()), Ok(true))]);
    short.cut(27);
    let icmp = Match::Icmp(yes(IcmpMatch { icmp_type: 255, code: Range { min: 0, max: 255 } }));
    check(&short, &[(Match::Udp(PortsMatch::default()), Err(HotDrop)), (icmp, Err(HotDrop))]);
}

#[test]
fn u32_follows_headers() {
    let p = Bytes::tcp("10.0.0.1", "10.0.0.2", 5, 80, 2, &[]);
    // "0>>22&0x3C@0&0xFFFF=80": the destination port behind a header of any length.
    let test = |at, value| U32Test {
        location: vec![
            (U32Op::And, 0),
            (U32Op::RightShift, 22),
            (U32Op::And, 0x3c),
            (U32Op::At, at),
            (U32Op::And, 0xffff),
        ],
        values: vec![Range { min: 1, max: 2 }, Range { min: value, max: value }],
    };
    check(
        &p,
        &[
            (Match::U32(yes(vec![test(0, 80)])), Ok(true)),
            (Match::U32(yes(vec![test(0, 81)])), Ok(false)),
            (Match::U32(no(vec![test(0, 81)])), Ok(true)),
            (Match::U32(yes(vec![test(17, 0)])), Ok(false)),
            (Match::U32(yes(vec![test(u32::MAX, 0)])), Ok(false)),
        ],
    );
}

#[test]
fn what_the_routes_say() {
    let p = Bytes::udp("10.0.0.1", "10.0.0.255", 1, 2);
    let types = |src, dst, limit_iface_out| {
        Match::Addrtype(AddrtypeMatch { src, dst, limit_iface_in: false, limit_iface_out })
    };
    check(
        &p,
        &[
            (types(Some(yes(1 << 2)), Some(yes(1 << 3)), false), Ok(true)),
            (types(Some(no(1 << 2)), None, false), Ok(false)),
            // The packet leaves by device 3, which has no such address.
            (types(Some(yes(1 << 2)), None, true), Ok(false)),
            (Match::Rpfilter(RpfilterMatch::default()), Ok(true)),
            (Match::Rpfilter(RpfilterMatch { invert: true, ..RpfilterMatch::default() }), Ok(false)),
        ],
    );
    let from = |src: &str, dev, m: RpfilterMatch| {
        let p = Bytes::udp(src, "10.9.9.9", 1, 2);
        let v = PacketView { iif: IfIndex(dev), ..p.view() };
        holds(&Match::Rpfilter(m), &v, &mut Fake)
    };
    let loose = RpfilterMatch { loose: true, ..RpfilterMatch::default() };
    assert_eq!(from("10.0.0.9", 3, RpfilterMatch::default()), Ok(false));
    assert_eq!(from("10.0.0.9", 3, loose), Ok(true));
    assert_eq!(from("192.0.2.1", 2, loose), Ok(false));
    assert_eq!(from("192.0.2.1", 1, RpfilterMatch::default()), Ok(true));
    assert_eq!(from("11.0.0.1", 2, RpfilterMatch::default()), Ok(false));
    assert_eq!(from("11.0.0.1", 2, RpfilterMatch { accept_local: true, ..loose }), Ok(true));
}

#[test]
fn every_third_packet() {
    let count = AtomicU32::new(2 - 1);
    let hits: Vec<bool> = (0..7).map(|_| nth(&count, 3)).collect();
    assert_eq!(hits, [false, true, false, false, true, false, false]);
}
