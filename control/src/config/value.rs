//! The small texts a configuration is made of: addresses, prefixes, sizes, CPU lists, names.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::Ipv4Net;
use skiff_dataplane::net::MacAddr;

use super::diag::{Fault, quote};
use super::model::Lcores;

/// An IPv4 address.
pub(super) fn address(text: &str) -> Result<Ipv4Addr, Fault> {
    text.parse().map_err(|_| {
        if text.parse::<Ipv6Addr>().is_ok() {
            return ipv6(text);
        }
        let fault = Fault::from(format!("{} is not an IPv4 address", quote(text)));
        if text.contains('/') {
            fault.help("an address without a prefix length is wanted here")
        } else {
            fault
        }
    })
}

/// An address a station can own: not zero, loopback, multicast or broadcast.
pub(super) fn unicast_address(text: &str) -> Result<Ipv4Addr, Fault> {
    let address = address(text)?;
    if is_unicast(address) {
        Ok(address)
    } else {
        Err(format!("{} is not a unicast address", quote(text)).into())
    }
}

/// The address of an interface with the length of its subnet, `10.0.0.1/24`.
///
/// The subnet's own address and its broadcast address are refused: a host that takes one of them cannot be
/// reached (RFC 1122 section 3.2.1.3). /31 (RFC 3021) and /32 have neither.
pub(super) fn interface_address(text: &str) -> Result<Ipv4Net, Fault> {
    let net = prefix(text)?.ok_or_else(|| {
        Fault::from(format!("{} has no prefix length", quote(text))).help(format!("as in \"{text}/24\""))
    })?;
    if !is_unicast(net.addr()) {
        return Err(format!("{} is not a unicast address", quote(text)).into());
    }
    if net.prefix_len() < 31 && net.addr() == net.network() {
        let first = Ipv4Addr::from(u32::from(net.network()) + 1);
        let fault = Fault::from(format!("{} is the address of the subnet itself", quote(text)));
        return Err(fault.help(format!("did you mean \"{first}/{}\"?", net.prefix_len())));
    }
    if net.prefix_len() < 31 && net.addr() == net.broadcast() {
        return Err(format!("{} is the broadcast address of its subnet", quote(text)).into());
    }
    Ok(net)
}

/// The destination of a route: `default`, a prefix without host bits, or an address (its /32).
pub(super) fn destination(text: &str) -> Result<Ipv4Net, Fault> {
    if text == "default" {
        return Ok(Ipv4Net::default());
    }
    let Some(net) = prefix(text)? else { return Ok(Ipv4Net::from(address(text)?)) };
    if net.trunc() != net {
        let fault = Fault::from(format!("{} has host bits set", quote(text)));
        return Err(fault.help(format!("did you mean \"{}\"?", net.trunc())));
    }
    Ok(net)
}

/// An address with a prefix length, or `None` if the text has no length.
fn prefix(text: &str) -> Result<Option<Ipv4Net>, Fault> {
    let Some((head, length)) = text.split_once('/') else { return address(text).map(|_| None) };
    if head.parse::<Ipv6Addr>().is_ok() {
        return Err(ipv6(text));
    }
    let Ok(address) = head.parse::<Ipv4Addr>() else {
        return Err(format!("{} is not an IPv4 prefix", quote(text)).into());
    };
    let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    match length.parse::<u8>().ok().filter(|_| digits).and_then(|length| Ipv4Net::new(address, length).ok()) {
        Some(net) => Ok(Some(net)),
        None if length.parse::<Ipv4Addr>().is_ok() => {
            Err(Fault::from(format!("{} has a netmask", quote(text)))
                .help("a prefix length is wanted, as in \"/24\""))
        }
        None => Err(format!("{}: the prefix length must be between 0 and 32", quote(text)).into()),
    }
}

fn is_unicast(address: Ipv4Addr) -> bool {
    let unusable = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    !unusable && !address.is_broadcast()
}

fn ipv6(text: &str) -> Fault {
    format!("{} is IPv6, which is not supported yet", quote(text)).into()
}

/// The address of a station: neither zero nor a group.
pub(super) fn unicast_mac(text: &str) -> Result<MacAddr, Fault> {
    let mac: MacAddr = text.parse().map_err(|_| {
        Fault::from(format!("{} is not a MAC address", quote(text)))
            .help("six hex bytes are wanted, as in \"02:00:00:00:00:01\"")
    })?;
    match mac.is_valid_unicast() {
        true => Ok(mac),
        false => {
            Err(format!("{} is not the address of one station (zero, or the group bit set)", quote(text))
                .into())
        }
    }
}

/// A socket address to listen on, `127.0.0.1:9477`; the host's own stack serves it, so IPv6 is fine.
pub(super) fn listen(text: &str) -> Result<SocketAddr, Fault> {
    text.parse().map_err(|_| {
        Fault::from(format!("{} is not an address and port", quote(text))).help("as in \"127.0.0.1:9477\"")
    })
}

/// An amount of memory in bytes: digits with an optional K, M, G or T (powers of 1024).
pub(super) fn size(text: &str) -> Result<u64, Fault> {
    let fault = || {
        Fault::from(format!("{} is not an amount of memory", quote(text))).help("as in \"256M\" or \"1G\"")
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return Err(fault()),
    };
    let number: u64 = number.parse().map_err(|_| fault())?;
    number.checked_mul(1 << shift).filter(|&bytes| bytes > 0).ok_or_else(fault)
}

/// Bytes as a person writes them: the largest unit that divides them.
pub fn format_size(bytes: u64) -> String {
    let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
    match units.iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}

/// Worker CPUs: `auto`, or numbers and ranges as in `2-5,8`.
pub(super) fn lcores(text: &str) -> Result<Lcores, Fault> {
    if text == "auto" {
        return Ok(Lcores::Auto);
    }
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Some(first), Some(last)) = (cpu(first.trim()), cpu(last.trim())) else {
            let fault = Fault::from(format!("{} is not a list of CPUs", quote(text)));
            return Err(fault.help("as in \"1\", \"2-5,8\" or \"auto\""));
        };
        if first > last {
            return Err(Fault::from(format!("{}: the range {first}-{last} runs backwards", quote(text)))
                .help(format!("did you mean \"{last}-{first}\"?")));
        }
        cpus.extend(first..=last);
        if cpus.len() > usize::from(MAX_CPUS) {
            return Err(format!("{}: more than {MAX_CPUS} CPUs", quote(text)).into());
        }
    }
    cpus.sort_unstable();
    match cpus.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("{}: CPU {} is listed twice", quote(text), pair[0]).into()),
        None => Ok(Lcores::List(cpus)),
    }
}

/// CPUs are numbered below this (CPU_SETSIZE of the C library).
pub(super) const MAX_CPUS: u16 = 1024;

fn cpu(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|&cpu| digits && cpu < MAX_CPUS)
}

/// Checks the name of an interface by the kernel's rule for device names: 1 to 15 bytes, no slash, colon or
/// white space, not a dot or two. `all` and `default` would be ambiguous in sysctl names and `lo` is built in.
pub(super) fn interface_name(name: &str) -> Result<(), Fault> {
    const LONGEST: usize = 15;
    let reason = match name {
        "" => "is empty".to_owned(),
        _ if name.len() > LONGEST => format!("is longer than {LONGEST} bytes"),
        "." | ".." => "is not a name".to_owned(),
        "lo" | "all" | "default" => "is reserved".to_owned(),
        _ if name.chars().any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control()) => {
            "holds a slash, a colon or white space".to_owned()
        }
        _ => return Ok(()),
    };
    Err(format!("interface name {} {reason}", quote(name)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(size("256M"), Ok(256 << 20));
        assert_eq!(size("1g"), Ok(1 << 30));
        assert_eq!(size("4096"), Ok(4096));
        for bad in ["", "M", "1.5G", "-1M", "0", "12Q", "99999999999T", "１M"] {
            assert!(size(bad).is_err(), "{bad:?} was accepted");
        }
        assert_eq!(format_size(256 << 20), "256M");
        assert_eq!(format_size(1536 << 20), "1536M");
        assert_eq!(format_size(1), "1");
    }

    #[test]
    fn cpu_lists() {
        assert_eq!(lcores("auto"), Ok(Lcores::Auto));
        assert_eq!(lcores("1"), Ok(Lcores::List(vec![1])));
        assert_eq!(lcores("8, 2-5"), Ok(Lcores::List(vec![2, 3, 4, 5, 8])));
        for bad in ["", ",", "1,", "5-2", "1,1", "a", "+1", "1-", "1024", "0-99999", "1-3,2"] {
            assert!(lcores(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn interface_addresses_can_be_owned() {
        for good in ["10.0.0.1/24", "10.0.0.0/31", "10.0.0.1/31", "10.0.0.7/32", "240.0.0.1/8"] {
            assert_eq!(interface_address(good).map(|net| net.to_string()), Ok(good.to_owned()));
        }
        for bad in ["10.0.0.0/24", "10.0.0.255/24", "0.0.0.0/0", "127.0.0.1/8", "224.0.0.5/24", "10.0.0.1"] {
            assert!(interface_address(bad).is_err(), "{bad:?} was accepted");
        }
        for bad in [
            "10.0.0.1/33",
            "10.0.0.1/+8",
            "10.0.0.1/",
            "10.0.0/24",
            "::1/64",
            "10.0.0.1/24/1",
            " 10.0.0.1/24",
        ] {
            assert!(interface_address(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn destinations_have_no_host_bits() {
        assert_eq!(destination("default").unwrap().to_string(), "0.0.0.0/0");
        assert_eq!(destination("10.9.9.9").unwrap().to_string(), "10.9.9.9/32");
        let fault = destination("10.9.1.0/16").unwrap_err();
        assert_eq!(fault.help.as_deref(), Some("did you mean \"10.9.0.0/16\"?"));
    }

    #[test]
    fn interface_names_follow_the_kernel() {
        for good in ["lan0", "lan0.100", "x", "fifteen_letters"] {
            assert_eq!(interface_name(good), Ok(()));
        }
        for bad in ["", ".", "..", "a b", "a/b", "a:b", "sixteen_letters_", "lo", "all", "default"] {
            assert!(interface_name(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
