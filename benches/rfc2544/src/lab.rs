//! The lab on paper: addresses, flows, and the configuration a router under test needs.
//!
//! ```text
//! generator A 198.18.0.2 ---- 198.18.0.1 a [router] b 198.19.0.1 ---- 198.19.0.2 generator B
//! ```
//! The links are of the range that RFC 2544 appendix C.2.2 sets aside. Destinations behind B are 10.0.0.0/24,
//! 10.0.1.0/24 and so on; those behind A begin at 10.128.0.0.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::frame::Flow;

/// Routes in each direction, at most: the /24s of a /9.
pub const MOST_ROUTES: usize = 1 << 15;
/// Flows in each direction, at most.
pub const MOST_FLOWS: usize = 1 << 20;

/// One side of the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// The router's interface.
    pub name: &'static str,
    /// The generator port's MAC address.
    pub generator_mac: [u8; 6],
    /// The router port's.
    pub router_mac: [u8; 6],
    /// The generator's address.
    pub generator_addr: Ipv4Addr,
    /// The router's.
    pub router_addr: Ipv4Addr,
    /// The first of the networks behind the generator.
    networks: u32,
}

/// Where frames enter when there is one direction.
pub const A: Side = Side {
    name: "a",
    generator_mac: [0x02, 0, 0, 0, 0x0a, 0x02],
    router_mac: [0x02, 0, 0, 0, 0x0a, 0x01],
    generator_addr: Ipv4Addr::new(198, 18, 0, 2),
    router_addr: Ipv4Addr::new(198, 18, 0, 1),
    networks: u32::from_be_bytes([10, 128, 0, 0]),
};
/// Where they leave.
pub const B: Side = Side {
    name: "b",
    generator_mac: [0x02, 0, 0, 0, 0x0b, 0x02],
    router_mac: [0x02, 0, 0, 0, 0x0b, 0x01],
    generator_addr: Ipv4Addr::new(198, 19, 0, 2),
    router_addr: Ipv4Addr::new(198, 19, 0, 1),
    networks: u32::from_be_bytes([10, 0, 0, 0]),
};

/// What testpmd's flowgen sends to, of which nothing can be changed.
const FLOWGEN_NETWORK: &str = "10.253.0.0/16";

/// What differs from lab to lab.
#[derive(Clone, Debug, PartialEq)]
pub struct Lab {
    /// Both sides; the MAC addresses may be those of another router.
    pub sides: [Side; 2],
    /// Flows in each direction.
    pub flows: usize,
    /// Destination networks in each direction.
    pub routes: usize,
    /// The tag frames carry.
    pub vlan: Option<u16>,
}

impl Lab {
    /// The flows from one side to the other: destinations first, then source ports, go round.
    pub fn flows(&self, from: Side, to: Side) -> Vec<Flow> {
        let flow = |n: usize| {
            let (network, host) = (n % self.routes, 1 + n / self.routes % 254);
            Flow {
                src_mac: from.generator_mac,
                dst_mac: from.router_mac,
                vlan: self.vlan,
                src: from.generator_addr,
                dst: Ipv4Addr::from(to.networks + ((network as u32) << 8) + host as u32),
                src_port: (1024 + n % 60_000) as u16,
            }
        };
        (0..self.flows).map(flow).collect()
    }

    /// A configuration of skiff. `devices` are those of A and B; `extra` is appended as it is.
    pub fn skiff_config(&self, system: &System, devices: &[String; 2], extra: &str) -> String {
        let mut text = format!(
            "[system]\nlcores = \"{}\"\nmemory = \"{}\"\nhugepages = \"{}\"\nidle = \"poll\"\n",
            system.cpu, system.memory, system.hugepages
        );
        for (side, device) in self.sides.iter().zip(devices) {
            text += &self.interface(side, device);
        }
        for side in &self.sides {
            text += &self.neighbour_and_routes(side);
        }
        text + "\n" + extra
    }

    /// The device that has the addresses.
    fn device(&self, side: &Side) -> String {
        self.vlan.map_or_else(|| side.name.to_owned(), |id| format!("{}.{id}", side.name))
    }

    fn interface(&self, side: &Side, device: &str) -> String {
        let name = side.name;
        let mac = match device.contains(",mac=") {
            true => String::new(),
            false => format!("mac = \"{}\"\n", mac_text(side.router_mac)),
        };
        let address = format!("addresses = [\"{}/24\"]\n", side.router_addr);
        let port = format!("\n[interface.{name}]\ndevice = \"{device}\"\n{mac}");
        match self.vlan {
            None => port + &address,
            Some(id) => format!(
                "{port}\n[interface.\"{}\"]\nvlan = {{ parent = \"{name}\", id = {id} }}\n{address}",
                self.device(side)
            ),
        }
    }

    fn neighbour_and_routes(&self, side: &Side) -> String {
        let via = side.generator_addr;
        let mut text = format!(
            "\n[[neighbour]]\naddress = \"{via}\"\nmac = \"{}\"\ndev = \"{}\"\n",
            mac_text(side.generator_mac),
            self.device(side)
        );
        let mut route = |to: &str| {
            // Writing to a string does not fail.
            let _ = write!(text, "[[route]]\nto = \"{to}\"\nvia = \"{via}\"\n");
        };
        for network in 0..self.routes as u32 {
            route(&format!("{}/24", Ipv4Addr::from(side.networks + (network << 8))));
        }
        if side.name == B.name {
            route(FLOWGEN_NETWORK);
        }
        text
    }
}

/// The `[system]` part of skiff's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct System {
    /// The worker's CPU.
    pub cpu: u16,
    /// Memory, as in `256M`.
    pub memory: String,
    /// `prefer`, `require` or `off`.
    pub hugepages: &'static str,
}

/// As in `02:00:00:00:0a:01`.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The opposite.
///
/// # Errors
/// A sentence for the user.
pub fn parse_mac(text: &str) -> Result<[u8; 6], String> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| "not a MAC address, as in 02:00:00:00:0a:01".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab(flows: usize, routes: usize, vlan: Option<u16>) -> Lab {
        Lab { sides: [A, B], flows, routes, vlan }
    }

    #[test]
    fn flows_go_round_the_routes() {
        let flows = lab(4, 2, None).flows(A, B);
        let dsts: Vec<String> = flows.iter().map(|flow| flow.dst.to_string()).collect();
        assert_eq!(dsts, ["10.0.0.1", "10.0.1.1", "10.0.0.2", "10.0.1.2"]);
        assert_eq!(
            (flows[3].src_port, flows[3].dst_mac, flows[3].src_mac),
            (1027, A.router_mac, A.generator_mac)
        );
        let back = lab(1, 1, Some(7)).flows(B, A);
        assert_eq!((back[0].dst.to_string().as_str(), back[0].vlan), ("10.128.0.1", Some(7)));
    }

    #[test]
    fn every_flow_has_a_route() {
        let lab = lab(100_000, MOST_ROUTES, None);
        let last = lab.flows(A, B).iter().map(|flow| flow.dst).max();
        assert_eq!(last, Some(Ipv4Addr::new(10, 127, 255, 3)));
    }

    #[test]
    fn the_configuration_has_all_of_it() {
        let system = System { cpu: 1, memory: "256M".into(), hugepages: "off" };
        let devices = ["vdev:x".to_owned(), "vdev:y,mac=02:00:00:00:0b:01".to_owned()];
        let text = lab(1, 2, Some(7)).skiff_config(&system, &devices, "[netfilter]\n");
        for line in [
            "lcores = \"1\"",
            "[interface.a]\ndevice = \"vdev:x\"\nmac = \"02:00:00:00:0a:01\"\n",
            "[interface.b]\ndevice = \"vdev:y,mac=02:00:00:00:0b:01\"\n\n[interface.\"b.7\"]\nvlan = { parent = \"b\", id = 7 }\naddresses = [\"198.19.0.1/24\"]",
            "address = \"198.19.0.2\"\nmac = \"02:00:00:00:0b:02\"\ndev = \"b.7\"",
            "to = \"10.0.1.0/24\"\nvia = \"198.19.0.2\"",
            "to = \"10.128.1.0/24\"\nvia = \"198.18.0.2\"",
            "\n[netfilter]\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn mac_addresses_go_both_ways() {
        assert_eq!(parse_mac("02:00:00:00:0A:01"), Ok(A.router_mac));
        assert_eq!(mac_text(A.router_mac), "02:00:00:00:0a:01");
        for wrong in ["", "02:00:00:00:0a", "02:00:00:00:0a:01:02", "xx:00:00:00:0a:01", "100:00:00:00:0a:01"]
        {
            assert!(parse_mac(wrong).is_err(), "{wrong}");
        }
    }
}
