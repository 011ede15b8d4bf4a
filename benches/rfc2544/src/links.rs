//! What the generator's ports and the router's are called, link by link.

use std::path::Path;

use anyhow::Result;
use skiff_pmd::vdev::{AfPacket, Memif, Vhost, VirtioUser};

use crate::cli::{Link, Role};
use crate::lab::mac_text;
use crate::netns::{GENERATOR_PORTS, ROUTER_PORTS};

/// The most descriptors a vhost-user queue has.
const MOST_VIRTIO: u32 = 1024;

/// Device arguments of both ends of both links: the generator's, then the router's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The generator's ports.
    pub generator: [String; 2],
    /// The router's.
    pub router: [String; 2],
}

impl Ends {
    /// The ends of links whose sockets are in `dir`; the router's have these MAC addresses.
    ///
    /// # Errors
    /// If the directory's name has a comma.
    pub fn of(link: Link, dir: &Path, ring: u32, router_role: Role, macs: [[u8; 6]; 2]) -> Result<Ends> {
        let pair = |index: u32| -> Result<(String, String)> {
            // memif has no other way to be given an address, and of the others af_packet has no such argument.
            let mac = format!(",mac={}", mac_text(macs[index as usize % 2]));
            let socket = dir.join(format!("{index}.sock")).display().to_string();
            Ok(match link {
                Link::Memif => {
                    let end = |server| Memif {
                        rsize: Some(ring.ilog2() as u8),
                        ..Memif::new(index, server, &socket)
                    };
                    let router_listens = router_role == Role::Server;
                    (end(!router_listens).devargs()?, end(router_listens).devargs()? + &mac)
                }
                Link::VhostUser => {
                    let queue_size = Some(ring.min(MOST_VIRTIO) as u16);
                    let guest = VirtioUser { queue_size, ..VirtioUser::new(index, &socket) };
                    (Vhost::new(index, &socket).devargs()?, guest.devargs()? + &mac)
                }
                Link::AfPacket => {
                    let end = |ports: [&str; 2]| AfPacket {
                        framesz: Some(2048),
                        blocksz: Some(65536),
                        framecnt: Some(ring),
                        qdisc_bypass: true,
                        ..AfPacket::new(index, ports[index as usize % 2])
                    };
                    (end(GENERATOR_PORTS).devargs()?, end(ROUTER_PORTS).devargs()?)
                }
            })
        };
        let (a, b) = (pair(0)?, pair(1)?);
        Ok(Ends { generator: [a.0, b.0], router: [a.1, b.1] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{A, B};

    fn ends(link: Link, role: Role) -> Ends {
        Ends::of(link, Path::new("/tmp/x"), 2048, role, [A.router_mac, B.router_mac]).unwrap()
    }

    #[test]
    fn one_end_of_a_memif_listens() {
        let ends = ends(Link::Memif, Role::Client);
        assert_eq!(
            ends.generator[1],
            "net_memif1,role=server,id=0,socket=/tmp/x/1.sock,socket-abstract=no,rsize=11"
        );
        assert!(ends.router[1].contains("role=client"));
    }

    #[test]
    fn the_router_is_the_guest_of_vhost_user() {
        let ends = ends(Link::VhostUser, Role::Server);
        assert_eq!(ends.generator[0], "net_vhost0,iface=/tmp/x/0.sock");
        assert_eq!(
            ends.router[0],
            "net_virtio_user0,path=/tmp/x/0.sock,queue_size=1024,mac=02:00:00:00:0a:01"
        );
    }

    #[test]
    fn veth_ends_are_named() {
        let ends = ends(Link::AfPacket, Role::Server);
        assert!(ends.generator[1].starts_with("net_af_packet1,iface=gb,"));
        assert!(ends.router[0].starts_with("net_af_packet0,iface=ra,"));
    }
}
