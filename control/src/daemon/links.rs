//! Watches the links of ports. Drivers that ride on a kernel interface (af_packet, af_xdp) always report a link, so for
//! them the interface itself is asked.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use skiff_dataplane::net::IfIndex;

use crate::router::Router;

/// How often links are looked at, where no bond wants it more often.
const PERIOD: Duration = Duration::from_millis(200);

/// When links were looked at, and which ports have been reported as gone.
#[derive(Default)]
pub(super) struct LinkWatch {
    last: Option<Instant>,
    gone: HashSet<IfIndex>,
}

impl LinkWatch {
    /// Looks at every link if it is time.
    pub(super) fn turn(&mut self, router: &mut Router, now: Instant) {
        let waiting = self.last.is_some_and(|last| now.duration_since(last) < PERIOD);
        if waiting && !router.bonds_want_links() {
            return;
        }
        self.last = Some(now);
        let wants_kernel = router.ports.values().any(|handle| handle.netdev.is_some());
        let kernel = if wants_kernel { kernel_flags() } else { BTreeMap::new() };
        let devices: Vec<IfIndex> = router.ports.keys().copied().collect();
        for dev in devices {
            self.look(router, dev, &kernel);
        }
    }

    fn look(&mut self, router: &mut Router, dev: IfIndex, kernel: &BTreeMap<String, InterfaceFlags>) {
        let Some(handle) = router.ports.get(&dev) else { return };
        let below = handle.netdev.as_deref().map(|name| (name, kernel.get(name).copied()));
        let removed = handle.port.is_removed() || matches!(below, Some((_, None)));
        let up = match below {
            Some((_, flags)) => {
                flags.is_some_and(|f| f.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING))
            }
            None => handle.port.link().up,
        };
        if removed && self.gone.insert(dev) {
            let device = handle.netdev.clone().unwrap_or_else(|| handle.port.info().device);
            eprintln!(
                "skiff: interface \"{}\": its device {device} is gone: it stays down until it is back",
                handle.port.name()
            );
        }
        if !removed {
            self.gone.remove(&dev);
        }
        let carrier = up && !removed;
        if router.rtnl.link(dev).is_some_and(|link| link.has_carrier() != carrier) {
            if let Some(handle) = router.ports.get_mut(&dev) {
                handle.carrier_changes += 1;
            }
            let effects = router.rtnl.set_carrier(dev, carrier);
            router.carry_out(effects);
        }
    }
}

/// Flags of the kernel's interfaces by name.
fn kernel_flags() -> BTreeMap<String, InterfaceFlags> {
    match getifaddrs() {
        Ok(addrs) => addrs.map(|addr| (addr.interface_name, addr.flags)).collect(),
        Err(_) => BTreeMap::new(),
    }
}
