//! What both labs look like.
//!
//! ```text
//! p1 10.1.0.0/16, 172.16.1.0/24 ---- r1 [router] r2 ---- 10.2.0.0/16 p2
//!                                         r3 ---- 10.3.0.0/24, 10.9.0.0/31, MTU 1000 p3
//! ```
//! Behind each port there is a host for every address the suite likes to use; all of one port share a MAC, and all
//! whose last byte is below [`SILENT`] answer ARP.

/// The addresses of an Ethernet card.
pub type Mac = [u8; 6];
/// An IPv4 address.
pub type Addr = [u8; 4];

/// One of the router's ports, and the wire at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Port {
    /// Where most probes come in.
    P1,
    /// Where most probes go.
    P2,
    /// The narrow one.
    P3,
}

impl Port {
    /// All of them.
    pub const ALL: [Port; 3] = [Port::P1, Port::P2, Port::P3];

    /// Position in arrays.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The router's interface.
    pub fn router_iface(self) -> &'static str {
        ["r1", "r2", "r3"][self.index()]
    }

    /// The other end of its cable.
    pub fn host_iface(self) -> &'static str {
        ["p1", "p2", "p3"][self.index()]
    }

    /// The MAC of the router's interface.
    pub fn router_mac(self) -> Mac {
        [2, 0x5e, 0, 0, 0, 1 + self.index() as u8]
    }

    /// The MAC of every host behind it.
    pub fn host_mac(self) -> Mac {
        [2, 0xaa, 0, 0, 0, 1 + self.index() as u8]
    }

    /// The MTU of the router's interface.
    pub fn mtu(self) -> u16 {
        [1500, 1500, 1000][self.index()]
    }

    /// The router's addresses there, with prefix lengths.
    pub fn addresses(self) -> &'static [(Addr, u8)] {
        match self {
            Port::P1 => &[([10, 1, 0, 1], 16), ([172, 16, 1, 1], 24)],
            Port::P2 => &[([10, 2, 0, 1], 16)],
            Port::P3 => &[([10, 3, 0, 1], 24), ([10, 9, 0, 0], 31)],
        }
    }
}

/// Hosts whose last byte is this or more do not answer ARP.
pub const SILENT: u8 = 250;
/// The router towards [`Port::P1`].
pub const R1: Addr = [10, 1, 0, 1];
/// The router towards [`Port::P2`].
pub const R2: Addr = [10, 2, 0, 1];
/// The router towards [`Port::P3`].
pub const R3: Addr = [10, 3, 0, 1];
/// A host behind [`Port::P2`], whose MAC the router has for good; the gateway of the routes.
pub const HOST2: Addr = [10, 2, 0, 2];
/// The same behind [`Port::P3`].
pub const HOST3: Addr = [10, 3, 0, 2];
/// A gateway on the link the probes come from.
pub const GW1: Addr = [10, 1, 0, 9];
/// Beyond the gateway behind [`Port::P2`].
pub const BEYOND: Addr = [192, 0, 2, 7];
/// The same over a route with MTU 1200.
pub const BEYOND_MTU: Addr = [203, 0, 113, 7];
/// Beyond [`GW1`].
pub const BACK: Addr = [192, 88, 0, 7];
/// `unreachable`
pub const UNREACHABLE: Addr = [198, 51, 100, 7];
/// `prohibit`
pub const PROHIBIT: Addr = [198, 51, 100, 77];
/// `blackhole`
pub const BLACKHOLE: Addr = [198, 51, 100, 137];
/// `throw`
pub const THROW: Addr = [198, 51, 100, 207];
/// Nothing leads there.
pub const NO_ROUTE: Addr = [8, 8, 8, 8];

/// What both routers are told, as words behind `ip`.
pub const IP_COMMANDS: [&str; 10] = [
    "neigh add 10.2.0.2 lladdr 02:aa:00:00:00:02 dev r2 nud permanent",
    "neigh add 10.3.0.2 lladdr 02:aa:00:00:00:03 dev r3 nud permanent",
    "neigh add 10.1.0.9 lladdr 02:aa:00:00:00:01 dev r1 nud permanent",
    "route add 192.0.2.0/24 via 10.2.0.2",
    "route add 203.0.113.0/24 via 10.2.0.2 mtu 1200",
    "route add 192.88.0.0/24 via 10.1.0.9",
    "route add unreachable 198.51.100.0/26",
    "route add prohibit 198.51.100.64/26",
    "route add blackhole 198.51.100.128/26",
    "route add throw 198.51.100.192/26",
];

/// True of the router's own addresses.
pub fn is_routers(addr: Addr) -> bool {
    Port::ALL.iter().any(|port| port.addresses().iter().any(|(own, _)| *own == addr))
}

/// The host that answers an ARP request for `target` on `port`.
pub fn answers(port: Port, target: Addr) -> Option<Mac> {
    let on_link = |(own, len): &(Addr, u8)| {
        let mask = !0u32 << (32 - len);
        (u32::from_be_bytes(*own) ^ u32::from_be_bytes(target)) & mask == 0
    };
    // Whichever port it is asked for at: a route may say that a host is somewhere else.
    let known = Port::ALL.iter().any(|port| port.addresses().iter().any(on_link));
    (known && !is_routers(target) && target[3] < SILENT).then(|| port.host_mac())
}
