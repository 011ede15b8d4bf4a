//! `arp_rcv`: what a received ARP packet means, in the kernel's order.
//!
//! Uses:  the parsed packet, the receiving device's settings, what routing says of its addresses.
//! Gives: an answer to send, something to learn, both, or the reason why neither.
//!
//! A sender's link address is taken as it comes, group addresses too: clusters that answer with a multicast
//! address for a unicast one work here as they do with the kernel, against RFC 1812 section 3.3.2.

use super::arp::{ArpFrame, ArpOp, ArpView};
use crate::net::MacAddr;

/// `net.ipv4.conf.DEV.arp_ignore`: which requests for our own addresses are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArpIgnore {
    /// 0: for any of our addresses, on whatever device it is.
    #[default]
    AnyLocal,
    /// 1: only for addresses of the receiving device.
    OnDevice,
    /// 2: only for addresses of the receiving device in whose subnet the sender is.
    SameSubnet,
    /// 3: for all but those of host scope, whatever device they are on.
    Public,
    /// 8: for none.
    All,
}

impl ArpIgnore {
    /// The meaning of a value; 4 to 7 are reserved and ignore nothing.
    pub const fn from_value(value: i64) -> Self {
        match value {
            1 => ArpIgnore::OnDevice,
            2 => ArpIgnore::SameSubnet,
            3 => ArpIgnore::Public,
            8 => ArpIgnore::All,
            _ => ArpIgnore::AnyLocal,
        }
    }
}

/// `net.ipv4.conf.DEV.arp_accept`: whether unsolicited replies and gratuitous ARP make new entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArpAccept {
    /// 0: never.
    #[default]
    Never,
    /// 1: for any sender.
    Always,
    /// 2: for senders in a subnet of the receiving device.
    SameSubnet,
}

impl ArpAccept {
    /// The meaning of a value.
    pub const fn from_value(value: i64) -> Self {
        match value {
            1 => ArpAccept::Always,
            2 => ArpAccept::SameSubnet,
            _ => ArpAccept::Never,
        }
    }
}

/// Settings of the device an ARP packet came in by. The default is the kernel's, with a zero MAC address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArpDevice {
    /// Our link address there.
    pub mac: MacAddr,
    /// `arp_ignore`.
    pub ignore: ArpIgnore,
    /// `arp_accept`.
    pub accept: ArpAccept,
    /// `arp_filter`: answer only where our way to the sender leads.
    pub filter: bool,
    /// `drop_gratuitous_arp`.
    pub drop_gratuitous: bool,
    /// `forwarding`: without it nothing is proxied.
    pub forwarding: bool,
    /// `proxy_arp`: answer for what we route by another device.
    pub proxy: bool,
    /// `proxy_arp_pvlan`: answer for what is on the receiving device's own link.
    pub pvlan: bool,
    /// `medium_id`: 0 is a medium of its own, -1 one for which nothing is proxied.
    pub medium: i32,
    /// `neigh.DEV.proxy_delay` is not zero: proxied answers to broadcasts wait.
    pub proxy_delay: bool,
    /// `route_localnet`: 127/8 is an address like any other.
    pub route_localnet: bool,
}

/// What routing and the address table say; addresses in host order.
pub trait ArpRoutes {
    /// Delivered here: one of our own addresses, on any device, or in a local route (`RTN_LOCAL`).
    fn is_local(&self, ip: u32) -> bool;
    /// One of the receiving device's own addresses.
    fn is_on_device(&self, ip: u32) -> bool;
    /// An address of any device that is not of host scope.
    fn is_public(&self, ip: u32) -> bool;
    /// `local` is an address of the receiving device, and `peer` lies in its subnet.
    fn shares_subnet(&self, local: u32, peer: u32) -> bool;
    /// `peer` lies in a subnet of the receiving device.
    fn is_on_link(&self, peer: u32) -> bool;
    /// A packet from `ip` would be taken on the receiving device: not ours, no martian, passes `rp_filter`.
    fn source_is_valid(&self, ip: u32) -> bool;
    /// No address of ours, no broadcast, no multicast (`inet_addr_type`: what has no route counts as unicast).
    fn is_unicast(&self, ip: u32) -> bool;
    /// Where the unicast route from `sender` to `target` leads.
    fn way(&self, sender: u32, target: u32) -> Way;
    /// Where our answer from `local` to `peer` would go.
    fn way_back(&self, local: u32, peer: u32) -> Way;
    /// The operator wants `ip` answered for on the receiving device (`ip neigh add proxy`).
    fn is_proxied(&self, ip: u32) -> bool;
}

/// Where a route leads, seen from the receiving device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// There is none, or it is not a unicast route.
    None,
    /// Out by the receiving device.
    Back,
    /// Out by another one.
    Elsewhere {
        /// The other device's `medium_id`.
        medium: i32,
    },
}

/// How the frame was addressed (`pkt_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameTo {
    /// Our link address.
    Us,
    /// Broadcast or multicast.
    Group,
    /// Somebody else's link address.
    Other,
}

/// What kind of evidence about the sender a packet was; decides state and override in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArpKind {
    /// It asked for an address we answer for.
    Request,
    /// It answered.
    Reply {
        /// To us alone: it hears us, the neighbour is reachable.
        unicast: bool,
    },
    /// It announced itself.
    Gratuitous {
        /// In a reply sent to our link address.
        reply_to_us: bool,
    },
    /// It asked for somebody else.
    Overheard,
}

/// A binding of addresses that a packet claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learn {
    /// The sender's IPv4 address.
    pub ip: u32,
    /// The sender's link address.
    pub mac: MacAddr,
    /// How it was claimed.
    pub kind: ArpKind,
    /// Make an entry if there is none; otherwise only a known one is updated.
    pub create: bool,
}

/// Why a packet has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// The frame is for somebody else.
    OtherHost,
    /// It asks for a multicast or loopback address.
    BadTarget,
    /// `drop_gratuitous_arp`.
    Gratuitous,
    /// `arp_ignore`.
    ArpIgnore,
    /// `arp_filter`: the answer would leave by another device.
    ArpFilter,
    /// `arp_filter`: there is no way back to the sender.
    NoWayBack,
    /// A probe (RFC 5227) for an address that is not ours, or a reply from 0.0.0.0.
    NoSender,
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArpVerdict {
    /// Nothing to do.
    Ignore(Ignored),
    /// Answer.
    Reply {
        /// The frame to send.
        frame: ArpFrame,
        /// It is a proxied answer to a broadcast: wait a random part of `proxy_delay`.
        delayed: bool,
        /// What to learn first; nothing from a probe.
        learn: Option<Learn>,
    },
    /// Only learn.
    Learn(Learn),
}

/// Decides what to do with an ARP packet.
pub fn arp_rcv(arp: &ArpView<'_>, to: FrameTo, dev: &ArpDevice, routes: &impl ArpRoutes) -> ArpVerdict {
    let (sender, target) = (arp.sender_ip(), arp.target_ip());
    if to == FrameTo::Other {
        return ArpVerdict::Ignore(Ignored::OtherHost);
    }
    if is_multicast(target) || (is_loopback(target) && !dev.route_localnet) {
        return ArpVerdict::Ignore(Ignored::BadTarget);
    }
    if sender == target && dev.drop_gratuitous {
        return ArpVerdict::Ignore(Ignored::Gratuitous);
    }
    if sender == 0 {
        return probe(arp, dev, routes);
    }
    if arp.op() == ArpOp::Request && routes.source_is_valid(sender) {
        if routes.is_local(target) {
            return request_for_us(arp, dev, routes);
        }
        if dev.forwarding && answers_for(arp, dev, routes) {
            return proxied(arp, to, dev, routes);
        }
    }
    ArpVerdict::Learn(unsolicited(arp, to, dev, routes))
}

/// Address conflict detection: defended, but a sender without address teaches nothing (RFC 5227 section 2.1.1).
fn probe(arp: &ArpView<'_>, dev: &ArpDevice, routes: &impl ArpRoutes) -> ArpVerdict {
    if arp.op() != ArpOp::Request || !routes.is_local(arp.target_ip()) {
        ArpVerdict::Ignore(Ignored::NoSender)
    } else if ignores(arp, dev, routes) {
        ArpVerdict::Ignore(Ignored::ArpIgnore)
    } else {
        ArpVerdict::Reply { frame: ArpFrame::reply(dev.mac, arp), delayed: false, learn: None }
    }
}

fn request_for_us(arp: &ArpView<'_>, dev: &ArpDevice, routes: &impl ArpRoutes) -> ArpVerdict {
    if ignores(arp, dev, routes) {
        return ArpVerdict::Ignore(Ignored::ArpIgnore);
    }
    if dev.filter {
        match routes.way_back(arp.target_ip(), arp.sender_ip()) {
            Way::Back => {}
            Way::Elsewhere { .. } => return ArpVerdict::Ignore(Ignored::ArpFilter),
            Way::None => return ArpVerdict::Ignore(Ignored::NoWayBack),
        }
    }
    ArpVerdict::Reply { frame: ArpFrame::reply(dev.mac, arp), delayed: false, learn: asker(arp, routes) }
}

/// Whether to answer for somebody else (kernel: `arp_fwd_proxy`, `arp_fwd_pvlan`, `pneigh_lookup`).
fn answers_for(arp: &ArpView<'_>, dev: &ArpDevice, routes: &impl ArpRoutes) -> bool {
    let (sender, target) = (arp.sender_ip(), arp.target_ip());
    if !dev.proxy && !dev.pvlan && !routes.is_proxied(target) {
        return false;
    }
    match routes.way(sender, target) {
        Way::None => false,
        // A station that asks for itself looks whether the address is taken.
        Way::Back => dev.pvlan && sender != target,
        Way::Elsewhere { medium } => (dev.proxy && bridges(dev.medium, medium)) || routes.is_proxied(target),
    }
}

/// Whether proxied answers join two media.
fn bridges(inward: i32, outward: i32) -> bool {
    match inward {
        0 => true,
        -1 => false,
        _ => outward != inward && outward != -1,
    }
}

fn proxied(arp: &ArpView<'_>, to: FrameTo, dev: &ArpDevice, routes: &impl ArpRoutes) -> ArpVerdict {
    let delayed = dev.proxy_delay && to != FrameTo::Us;
    ArpVerdict::Reply { frame: ArpFrame::reply(dev.mac, arp), delayed, learn: asker(arp, routes) }
}

/// Who asks for us is about to talk to us: it gets an entry. A broadcast address is nobody's, so it gets none, where the
/// kernel makes one without a use.
fn asker(arp: &ArpView<'_>, routes: &impl ArpRoutes) -> Option<Learn> {
    let ip = arp.sender_ip();
    let somebody = routes.is_unicast(ip) || routes.is_local(ip);
    somebody.then(|| Learn { ip, mac: arp.sender_mac(), kind: ArpKind::Request, create: true })
}

fn unsolicited(arp: &ArpView<'_>, to: FrameTo, dev: &ArpDevice, routes: &impl ArpRoutes) -> Learn {
    let reply = arp.op() == ArpOp::Reply;
    let to_us = to == FrameTo::Us;
    let unicast = routes.is_unicast(arp.sender_ip());
    let gratuitous = is_gratuitous(arp) && unicast;
    let kind = match (gratuitous, reply) {
        (true, _) => ArpKind::Gratuitous { reply_to_us: reply && to_us },
        (false, true) => ArpKind::Reply { unicast: to_us },
        (false, false) => ArpKind::Overheard,
    };
    let accept = match dev.accept {
        ArpAccept::Never => false,
        ArpAccept::Always => true,
        ArpAccept::SameSubnet => routes.is_on_link(arp.sender_ip()),
    };
    let create = accept && (gratuitous || (reply && unicast));
    Learn { ip: arp.sender_ip(), mac: arp.sender_mac(), kind, create }
}

/// Sender and target are one; a reply must name the same link address twice as well.
fn is_gratuitous(arp: &ArpView<'_>) -> bool {
    arp.sender_ip() == arp.target_ip() && (arp.op() == ArpOp::Request || arp.sender_mac() == arp.target_mac())
}

fn ignores(arp: &ArpView<'_>, dev: &ArpDevice, routes: &impl ArpRoutes) -> bool {
    let (sender, target) = (arp.sender_ip(), arp.target_ip());
    match dev.ignore {
        ArpIgnore::AnyLocal => false,
        ArpIgnore::OnDevice => !routes.is_on_device(target),
        // A probe has no address to be in a subnet with.
        ArpIgnore::SameSubnet if sender == 0 => !routes.is_on_device(target),
        ArpIgnore::SameSubnet => !routes.shares_subnet(target, sender),
        ArpIgnore::Public => !routes.is_public(target),
        ArpIgnore::All => true,
    }
}

fn is_multicast(ip: u32) -> bool {
    ip >> 28 == 0xe
}

fn is_loopback(ip: u32) -> bool {
    ip >> 24 == 127
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
    const OUR_IP: u32 = 0x0a01_0001;
    const OTHER_IP: u32 = 0x0a02_0001;
    const PEER_IP: u32 = 0x0a01_0009;
    const BEHIND: u32 = 0x0a02_0063;

    const HIDDEN: u32 = 0x0a07_0001;
    const NAMED: u32 = 0x0a02_0064;

    /// 10.1.0.1/24 on the device of the tests, 10.2.0.1/24 on another of medium 7; 10.7.0.1 of host scope. The
    /// operator answers for 10.2.0.100.
    struct Net;

    impl ArpRoutes for Net {
        fn is_local(&self, ip: u32) -> bool {
            [OUR_IP, OTHER_IP, HIDDEN].contains(&ip)
        }
        fn is_on_device(&self, ip: u32) -> bool {
            ip == OUR_IP
        }
        fn is_public(&self, ip: u32) -> bool {
            ip == OUR_IP || ip == OTHER_IP
        }
        fn is_on_link(&self, peer: u32) -> bool {
            peer >> 8 == OUR_IP >> 8
        }
        fn shares_subnet(&self, local: u32, peer: u32) -> bool {
            local == OUR_IP && peer >> 8 == OUR_IP >> 8
        }
        fn source_is_valid(&self, ip: u32) -> bool {
            !self.is_local(ip) && ip >> 28 != 0xe
        }
        fn is_unicast(&self, ip: u32) -> bool {
            !self.is_local(ip) && ip & 0xff != 0xff && ip >> 28 != 0xe
        }
        fn way(&self, _: u32, target: u32) -> Way {
            match target >> 8 {
                net if net == OUR_IP >> 8 => Way::Back,
                net if net == OTHER_IP >> 8 => Way::Elsewhere { medium: 7 },
                _ => Way::None,
            }
        }
        fn way_back(&self, _: u32, peer: u32) -> Way {
            self.way(0, peer)
        }
        fn is_proxied(&self, ip: u32) -> bool {
            ip == NAMED
        }
    }

    fn dev() -> ArpDevice {
        ArpDevice { mac: OURS, forwarding: true, ..ArpDevice::default() }
    }

    fn rcv(frame: ArpFrame, to: FrameTo, dev: ArpDevice) -> ArpVerdict {
        arp_rcv(&ArpView::parse(&frame.to_bytes()).unwrap(), to, &dev, &Net)
    }

    fn ask(sender: u32, target: u32) -> ArpFrame {
        ArpFrame::request(PEER, sender, target)
    }

    fn answer(sender: u32, target: u32, target_mac: MacAddr) -> ArpFrame {
        ArpFrame { op: ArpOp::Reply, target_mac, ..ask(sender, target) }
    }

    fn learned(kind: ArpKind, create: bool) -> Learn {
        Learn { ip: PEER_IP, mac: PEER, kind, create }
    }

    #[test]
    fn a_request_for_us_is_answered_and_teaches() {
        for target in [OUR_IP, OTHER_IP] {
            let ArpVerdict::Reply { frame, delayed: false, learn } =
                rcv(ask(PEER_IP, target), FrameTo::Group, dev())
            else {
                panic!("no reply for {target:#x}");
            };
            assert_eq!(learn, Some(learned(ArpKind::Request, true)));
            assert_eq!((frame.to, frame.sender_mac, frame.sender_ip), (PEER, OURS, target));
            assert_eq!((frame.op, frame.target_mac, frame.target_ip), (ArpOp::Reply, PEER, PEER_IP));
        }
    }

    #[test]
    fn arp_ignore_narrows_what_is_answered() {
        let stranger = 0x0a03_0007;
        let answered = |ignore, sender, target| {
            matches!(
                rcv(ask(sender, target), FrameTo::Group, ArpDevice { ignore, ..dev() }),
                ArpVerdict::Reply { .. }
            )
        };
        // As a 6.18 kernel answered.
        for (value, expect) in [
            (0, [true, true, true, true, true, true]),
            (1, [true, true, false, true, false, false]),
            (2, [true, false, false, true, false, false]),
            (3, [true, true, true, true, true, false]),
            (4, [true, true, true, true, true, true]),
            (7, [true, true, true, true, true, true]),
            (8, [false, false, false, false, false, false]),
        ] {
            let asked = [
                (PEER_IP, OUR_IP),
                (stranger, OUR_IP),
                (PEER_IP, OTHER_IP),
                (0, OUR_IP),
                (0, OTHER_IP),
                (PEER_IP, HIDDEN),
            ];
            let got = asked.map(|(sender, target)| answered(ArpIgnore::from_value(value), sender, target));
            assert_eq!(got, expect, "{value}");
        }
    }

    #[test]
    fn arp_filter_answers_only_where_the_way_back_leads() {
        let verdict = |sender| {
            let filtering = ArpDevice { filter: true, ..dev() };
            match rcv(ask(sender, OUR_IP), FrameTo::Group, filtering) {
                ArpVerdict::Ignore(reason) => Some(reason),
                _ => None,
            }
        };
        assert_eq!(verdict(PEER_IP), None);
        assert_eq!(verdict(0), None, "a probe is not filtered");
        assert_eq!(verdict(BEHIND), Some(Ignored::ArpFilter));
        assert_eq!(verdict(0x0a63_0005), Some(Ignored::NoWayBack));
    }

    #[test]
    fn a_probe_is_answered_without_learning() {
        let verdict = rcv(ask(0, OUR_IP), FrameTo::Group, dev());
        assert!(matches!(verdict, ArpVerdict::Reply { learn: None, delayed: false, .. }));
        let ignored = ArpVerdict::Ignore(Ignored::NoSender);
        assert_eq!(rcv(ask(0, PEER_IP), FrameTo::Group, dev()), ignored);
        assert_eq!(rcv(answer(0, OUR_IP, OURS), FrameTo::Us, dev()), ignored);
    }

    #[test]
    fn replies_and_requests_for_others_only_update() {
        let unicast = rcv(answer(PEER_IP, OUR_IP, OURS), FrameTo::Us, dev());
        assert_eq!(unicast, ArpVerdict::Learn(learned(ArpKind::Reply { unicast: true }, false)));
        let broadcast = rcv(answer(PEER_IP, OUR_IP, OURS), FrameTo::Group, dev());
        assert_eq!(broadcast, ArpVerdict::Learn(learned(ArpKind::Reply { unicast: false }, false)));
        let overheard = rcv(ask(PEER_IP, PEER_IP + 1), FrameTo::Group, dev());
        assert_eq!(overheard, ArpVerdict::Learn(learned(ArpKind::Overheard, false)));
        let accepting = ArpDevice { accept: ArpAccept::Always, ..dev() };
        let accepted = rcv(answer(PEER_IP, OUR_IP, OURS), FrameTo::Us, accepting);
        assert_eq!(accepted, ArpVerdict::Learn(learned(ArpKind::Reply { unicast: true }, true)));
    }

    #[test]
    fn gratuitous_arp_updates_creates_or_is_dropped() {
        let announce = ask(PEER_IP, PEER_IP);
        let reply = answer(PEER_IP, PEER_IP, PEER);
        let kind = |reply_to_us| ArpKind::Gratuitous { reply_to_us };
        for (value, accept) in [(0, false), (1, true), (2, true)] {
            let dev = ArpDevice { accept: ArpAccept::from_value(value), ..dev() };
            let far = rcv(ask(0x0a63_0005, 0x0a63_0005), FrameTo::Group, dev);
            assert!(matches!(far, ArpVerdict::Learn(Learn { create, .. }) if create == (value == 1)));
            let learn = |frame, to| rcv(frame, to, dev);
            assert_eq!(learn(announce, FrameTo::Group), ArpVerdict::Learn(learned(kind(false), accept)));
            assert_eq!(learn(reply, FrameTo::Group), ArpVerdict::Learn(learned(kind(false), accept)));
            assert_eq!(learn(reply, FrameTo::Us), ArpVerdict::Learn(learned(kind(true), accept)));
            // A reply that does not repeat its link address is an ordinary one.
            let odd = answer(PEER_IP, PEER_IP, MacAddr::BROADCAST);
            let ordinary = learned(ArpKind::Reply { unicast: false }, accept);
            assert_eq!(learn(odd, FrameTo::Group), ArpVerdict::Learn(ordinary));
        }
        let dropping = ArpDevice { drop_gratuitous: true, ..dev() };
        assert_eq!(rcv(announce, FrameTo::Group, dropping), ArpVerdict::Ignore(Ignored::Gratuitous));
        assert!(matches!(rcv(ask(PEER_IP, OUR_IP), FrameTo::Group, dropping), ArpVerdict::Reply { .. }));
    }

    #[test]
    fn proxy_arp_needs_forwarding_and_another_device() {
        let proxy = ArpDevice { proxy: true, proxy_delay: true, ..dev() };
        let overheard = ArpVerdict::Learn(learned(ArpKind::Overheard, false));
        for (target, to, dev, expect) in [
            (BEHIND, FrameTo::Group, proxy, Some(true)),
            (BEHIND, FrameTo::Us, proxy, Some(false)),
            (BEHIND, FrameTo::Group, ArpDevice { proxy_delay: false, ..proxy }, Some(false)),
            (BEHIND, FrameTo::Group, ArpDevice { forwarding: false, ..proxy }, None),
            (BEHIND, FrameTo::Group, dev(), None),
            (PEER_IP + 1, FrameTo::Group, proxy, None),
            (BEHIND, FrameTo::Us, ArpDevice { medium: -1, ..proxy }, None),
            (BEHIND, FrameTo::Us, ArpDevice { medium: 7, ..proxy }, None),
            (BEHIND, FrameTo::Us, ArpDevice { medium: 1, ..proxy }, Some(false)),
            // Named by the operator: without proxy_arp, but with forwarding.
            (NAMED, FrameTo::Group, ArpDevice { proxy_delay: true, ..dev() }, Some(true)),
            (NAMED, FrameTo::Us, dev(), Some(false)),
            (NAMED, FrameTo::Us, ArpDevice { forwarding: false, ..dev() }, None),
        ] {
            match (rcv(ask(PEER_IP, target), to, dev), expect) {
                (ArpVerdict::Reply { frame, delayed, learn }, Some(expect)) => {
                    assert_eq!(delayed, expect);
                    assert_eq!((frame.sender_mac, frame.sender_ip), (OURS, target));
                    assert_eq!(learn, Some(learned(ArpKind::Request, true)));
                }
                (other, _) => assert_eq!((other, expect), (overheard, None)),
            }
        }
    }

    #[test]
    fn a_private_vlan_is_proxied_on_its_own_link() {
        let pvlan = ArpDevice { pvlan: true, ..dev() };
        let replied = |sender, target, dev| {
            matches!(rcv(ask(sender, target), FrameTo::Us, dev), ArpVerdict::Reply { .. })
        };
        assert!(replied(PEER_IP, PEER_IP + 1, pvlan));
        assert!(!replied(PEER_IP, PEER_IP, pvlan), "asks whether its address is taken");
        assert!(!replied(PEER_IP, BEHIND, pvlan));
        assert!(!replied(PEER_IP, PEER_IP + 1, dev()));
    }

    #[test]
    fn what_cannot_be_meant_for_us_is_ignored() {
        let ignored = |frame, to| match rcv(frame, to, dev()) {
            ArpVerdict::Ignore(reason) => Some(reason),
            _ => None,
        };
        assert_eq!(ignored(ask(PEER_IP, OUR_IP), FrameTo::Other), Some(Ignored::OtherHost));
        assert_eq!(ignored(ask(PEER_IP, 0xe000_0001), FrameTo::Group), Some(Ignored::BadTarget));
        assert_eq!(ignored(ask(PEER_IP, 0x7f00_0001), FrameTo::Group), Some(Ignored::BadTarget));
        // Who claims an address of ours is neither answered nor learnt.
        let accepting = ArpDevice { accept: ArpAccept::Always, ..dev() };
        for frame in [ask(OTHER_IP, OUR_IP), ask(OUR_IP, OUR_IP), answer(OTHER_IP, OUR_IP, OURS)] {
            let verdict = rcv(frame, FrameTo::Us, accepting);
            assert!(matches!(verdict, ArpVerdict::Learn(Learn { create: false, .. })), "{verdict:?}");
        }
    }
}
