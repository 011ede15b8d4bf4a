//! Devices as the user names them, and as the EAL wants them.

use std::collections::HashSet;
use std::fmt;

use super::diag::{Fault, quote};
use super::model::{Config, Interface, Port};
use super::value::interface_name;

/// The device under a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// `pci:0000:00:04.0`: a NIC bound to a driver that hands it to user space.
    Pci {
        /// Domain, bus, device and function, always with the domain.
        address: String,
        /// Driver arguments after the address, without the comma.
        args: Option<String>,
    },
    /// `vdev:DEVARGS`: a software device.
    Vdev {
        /// The driver with or without a number, `net_tap` or `net_tap0`.
        name: String,
        /// Driver arguments after the name, without the comma.
        args: Option<String>,
    },
    /// `netdev:eth1`: an interface of the kernel, driven through an AF_PACKET socket.
    Netdev(String),
}

/// What the EAL is told about one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EalDevice {
    /// The interface the device belongs to.
    pub interface: String,
    /// Whether it goes to the PCI bus (allow list) or to the virtual one.
    pub bus: Bus,
    /// The name the EAL knows the device by, unique: a PCI address or a vdev name.
    pub name: String,
    /// The name with its arguments, as `-a` or `--vdev` takes it.
    pub devargs: String,
}

/// The bus a device is found on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// `-a DEVARGS`
    Pci,
    /// `--vdev DEVARGS`
    Vdev,
}

impl Config {
    /// The devices of all ports, in the order of the interfaces.
    ///
    /// The EAL wants every vdev to have its own name, which starts with the driver's. A name the user ended in a
    /// digit is kept; a bare driver name gets the first free number.
    pub fn eal_devices(&self) -> Vec<EalDevice> {
        let ports = || self.interfaces.iter().filter_map(|interface| Some((interface, interface.port()?)));
        let mut taken: HashSet<String> = ports()
            .filter_map(|(_, port)| match &port.device.value {
                Device::Vdev { name, .. } if is_numbered(name) => Some(name.clone()),
                _ => None,
            })
            .collect();
        ports().map(|(interface, port)| eal_device(interface, port, &mut taken)).collect()
    }
}

fn eal_device(interface: &Interface, port: &Port, taken: &mut HashSet<String>) -> EalDevice {
    let (bus, name, args) = match &port.device.value {
        Device::Pci { address, args } => (Bus::Pci, address.clone(), args.clone()),
        Device::Vdev { name, args } if is_numbered(name) => (Bus::Vdev, name.clone(), args.clone()),
        Device::Vdev { name, args } => (Bus::Vdev, number(name, taken), args.clone()),
        Device::Netdev(netdev) => {
            let args = af_packet_args(netdev, port.rx_queues.value);
            (Bus::Vdev, number("net_af_packet", taken), Some(args))
        }
    };
    let devargs = match args {
        Some(args) => format!("{name},{args}"),
        None => name.clone(),
    };
    EalDevice { interface: interface.name.value.clone(), bus, name, devargs }
}

/// The arguments of the af_packet driver for a kernel interface.
///
/// Its sockets share the traffic among themselves, so there must be one pair a receive queue: one more, and the
/// frames it gets are never read.
fn af_packet_args(netdev: &str, rx_queues: u16) -> String {
    format!("iface={netdev},qpairs={rx_queues}")
}

fn number(driver: &str, taken: &mut HashSet<String>) -> String {
    let mut n = 0u32;
    loop {
        let name = format!("{driver}_{n}");
        if taken.insert(name.clone()) {
            return name;
        }
        n += 1;
    }
}

fn is_numbered(name: &str) -> bool {
    name.ends_with(|c: char| c.is_ascii_digit())
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, args) = match self {
            Device::Pci { address, args } => (format!("pci:{address}"), args),
            Device::Vdev { name, args } => (format!("vdev:{name}"), args),
            Device::Netdev(name) => (format!("netdev:{name}"), &None),
        };
        match args {
            Some(args) => write!(f, "{head},{args}"),
            None => f.write_str(&head),
        }
    }
}

impl Device {
    /// What the device holds for itself alone, in words: two interfaces that name the same thing cannot both run.
    pub(super) fn claims(&self) -> Vec<String> {
        let Device::Vdev { name, args } = self else {
            return match self {
                Device::Netdev(netdev) => vec![format!("kernel interface {}", quote(netdev))],
                _ => vec![format!("device \"{}\"", self.without_args())],
            };
        };
        let arg = |key: &str| argument(args.as_deref(), key);
        let held = match driver_of(name) {
            "net_af_packet" | "net_af_xdp" => {
                arg("iface").map(|iface| format!("kernel interface {}", quote(iface)))
            }
            "net_vhost" => arg("iface").map(|path| format!("vhost socket {}", quote(path))),
            "net_virtio_user" => arg("path").map(|path| format!("virtio-user path {}", quote(path))),
            "net_tap" => arg("iface").map(|iface| format!("tap {}", quote(iface))),
            _ => None,
        };
        let name = is_numbered(name).then(|| format!("device \"{}\"", self.without_args()));
        name.into_iter().chain(held).collect()
    }

    /// The largest MTU the driver takes, if it is less than that of other devices.
    ///
    /// af_packet hands a frame over in one buffer, which holds a ring slot of 2048 bytes: 66 of them are the ring's
    /// header and its padding, 22 the Ethernet header with two tags.
    pub(super) fn max_mtu(&self) -> Option<u16> {
        const AF_PACKET: u16 = 2048 - 66 - 22;
        match self {
            Device::Netdev(_) => Some(AF_PACKET),
            Device::Vdev { name, .. } if driver_of(name) == "net_af_packet" => Some(AF_PACKET),
            _ => None,
        }
    }

    fn without_args(&self) -> String {
        match self {
            Device::Pci { address, .. } => format!("pci:{address}"),
            Device::Vdev { name, .. } => format!("vdev:{name}"),
            Device::Netdev(name) => format!("netdev:{name}"),
        }
    }

    /// Reads `pci:ADDRESS[,ARGS]`, `vdev:NAME[,ARGS]` or `netdev:NAME`.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        const FORMS: &str = "one of \"pci:0000:00:04.0\", \"vdev:net_tap0\" or \"netdev:eth1\" is wanted";
        match text.split_once(':') {
            Some(("pci", rest)) => pci(rest),
            Some(("vdev", rest)) => vdev(rest),
            Some(("netdev", rest)) => netdev(rest),
            Some((kind, rest)) => {
                let fault = Fault::from(format!("{} is not a device", quote(text)));
                if pci_address(text).is_some() {
                    return Err(fault.help(format!("did you mean \"pci:{text}\"?")));
                }
                let near = fault.clone().nearest(kind, ["pci", "vdev", "netdev"]);
                let known = near.help.is_some() && !rest.is_empty();
                Err(if known { near } else { fault.help(FORMS) })
            }
            None => Err(bare(text, FORMS)),
        }
    }
}

/// The mistake of a device without its `KIND:`.
fn bare(text: &str, forms: &str) -> Fault {
    let fault = Fault::from(format!("{} is not a device", quote(text)));
    if text.starts_with("net_") {
        fault.help(format!("did you mean {}?", quote(&format!("vdev:{text}"))))
    } else if !text.is_empty() && interface_name(text).is_ok() && !text.contains(',') {
        fault.help(format!("did you mean {}?", quote(&format!("netdev:{text}"))))
    } else {
        fault.help(forms)
    }
}

fn pci(text: &str) -> Result<Device, Fault> {
    let (address, args) = split_args(text)?;
    let address = pci_address(address).ok_or_else(|| {
        Fault::from(format!("{} is not a PCI address", quote(address))).help("as in \"0000:00:04.0\"")
    })?;
    Ok(Device::Pci { address, args })
}

/// `[DOMAIN:]BUS:DEVICE.FUNCTION` in hex, given back in full and in lower case.
pub(crate) fn pci_address(text: &str) -> Option<String> {
    let hex = |part: &str, digits: usize, below: u32| {
        let plain = part.len() == digits && part.bytes().all(|b| b.is_ascii_hexdigit());
        u32::from_str_radix(part, 16).ok().filter(|&n| plain && n < below)
    };
    let (rest, function) = text.rsplit_once('.')?;
    let (rest, device) = rest.rsplit_once(':')?;
    let (domain, bus) = rest.split_once(':').unwrap_or(("0000", rest));
    let domain = hex(domain, 4, 1 << 16)?;
    let (bus, device, function) = (hex(bus, 2, 256)?, hex(device, 2, 32)?, hex(function, 1, 8)?);
    Some(format!("{domain:04x}:{bus:02x}:{device:02x}.{function}"))
}

/// Network drivers of DPDK that make virtual devices, each with the argument it cannot do without.
const VDEV_DRIVERS: &[(&str, Option<&str>)] = &[
    ("net_af_packet", Some("iface")),
    ("net_af_xdp", Some("iface")),
    ("net_bonding", None),
    ("net_failsafe", None),
    ("net_memif", None),
    ("net_null", None),
    ("net_pcap", None),
    ("net_ring", None),
    ("net_softnic", None),
    ("net_tap", None),
    ("net_tun", None),
    ("net_vdev_netvsc", None),
    ("net_vhost", Some("iface")),
    ("net_virtio_user", Some("path")),
];

fn vdev(text: &str) -> Result<Device, Fault> {
    let (name, args) = split_args(text)?;
    let driver = driver_of(name);
    if !name.starts_with("net_") || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        let fault = Fault::from(format!("{} is not a network driver", quote(name)));
        return Err(fault.nearest(driver, VDEV_DRIVERS.iter().map(|(name, _)| *name)));
    }
    match VDEV_DRIVERS.iter().find(|(known, _)| *known == driver) {
        Some((_, Some(needed))) if argument(args.as_deref(), needed).is_none() => {
            Err(Fault::from(format!("{} needs {needed}=", quote(name)))
                .help(format!("as in \"vdev:{name},{needed}=...\"")))
        }
        Some(_) => Ok(Device::Vdev { name: name.to_owned(), args }),
        // A driver that is not in the table may still be installed, unless it looks like a slip.
        None => {
            let fault = Fault::from(format!("no driver is called {}", quote(driver)));
            match fault.nearest(driver, VDEV_DRIVERS.iter().map(|(name, _)| *name)) {
                slip if slip.help.is_some() => Err(slip),
                _ => Ok(Device::Vdev { name: name.to_owned(), args }),
            }
        }
    }
}

/// The driver in a vdev name: what is left without its number.
fn driver_of(name: &str) -> &str {
    let driver = name.trim_end_matches(|c: char| c.is_ascii_digit());
    driver.strip_suffix('_').unwrap_or(driver)
}

fn netdev(text: &str) -> Result<Device, Fault> {
    interface_name(text).map_err(|fault| Fault::from(format!("kernel {}", fault.message)))?;
    if text.contains(',') {
        return Err(Fault::from("netdev takes no driver arguments".to_owned())
            .help("\"vdev:net_af_packet,iface=...\" does"));
    }
    Ok(Device::Netdev(text.to_owned()))
}

/// Splits `NAME[,KEY=VALUE...]`; every argument must have a key, and nothing may hold white space.
fn split_args(text: &str) -> Result<(&str, Option<String>), Fault> {
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!("{}: device arguments cannot hold white space", quote(text)).into());
    }
    let Some((name, args)) = text.split_once(',') else { return Ok((text, None)) };
    match args.split(',').find(|arg| arg.split('=').next().is_none_or(str::is_empty)) {
        Some(arg) => Err(format!("{}: argument {} has no name", quote(text), quote(arg)).into()),
        None => Ok((name, Some(args.to_owned()))),
    }
}

/// The value of one driver argument, if it is there and not empty.
fn argument<'a>(args: Option<&'a str>, key: &str) -> Option<&'a str> {
    let pairs = args?.split(',').filter_map(|arg| arg.split_once('='));
    pairs.filter(|(name, _)| *name == key).map(|(_, value)| value).find(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_and_shown_in_full() {
        for (text, shown) in [
            ("pci:0000:00:04.0", "pci:0000:00:04.0"),
            ("pci:0A:1f.7,queues=2", "pci:0000:0a:1f.7,queues=2"),
            ("vdev:net_null0", "vdev:net_null0"),
            ("vdev:net_af_packet,iface=veth0", "vdev:net_af_packet,iface=veth0"),
            ("vdev:net_other", "vdev:net_other"),
            ("netdev:eth1", "netdev:eth1"),
        ] {
            assert_eq!(Device::parse(text).map(|d| d.to_string()), Ok(shown.to_owned()));
        }
    }

    #[test]
    fn what_is_not_a_device_says_what_would_be() {
        for (text, help) in [
            ("0000:00:04.0", "did you mean \"pci:0000:00:04.0\"?"),
            ("net_tap0", "did you mean \"vdev:net_tap0\"?"),
            ("eth1", "did you mean \"netdev:eth1\"?"),
            ("vdve:net_tap0", "did you mean \"vdev\"?"),
            ("vdev:net_af_paket,iface=x", "did you mean \"net_af_packet\"?"),
            ("vdev:net_af_packet", "as in \"vdev:net_af_packet,iface=...\""),
            ("pci:4.0", "as in \"0000:00:04.0\""),
            ("pci:0000:00:20.0", "as in \"0000:00:04.0\""),
        ] {
            assert_eq!(Device::parse(text).unwrap_err().help.as_deref(), Some(help), "{text}");
        }
        for bad in [
            "",
            ":",
            "vdev:",
            "vdev:net_null0,",
            "vdev:net_null0,=1",
            "vdev:net null",
            "netdev:",
            "netdev:a,b=1",
        ] {
            assert!(Device::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
