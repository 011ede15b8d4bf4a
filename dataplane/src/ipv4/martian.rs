//! What the kernel says of packets that cannot be (`log_martians`): a line in the log for each of the first ten in five
//! seconds. Lcores only hand the facts to the control thread.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::core::drop_reason::DropReason;
use crate::core::env::Env;
use crate::core::shared::ToControl;
use crate::device::NetDevice;
use crate::net::IfIndex;
use crate::skb::ipv4::{self, Ipv4Header};
use crate::skb::{Skb, SkbExt, eth};

/// What is odd about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// Its source cannot be where it came from.
    Source,
    /// Its destination cannot be on a wire.
    Destination,
    /// It names its route, and `accept_source_route` is off.
    SourceRoute,
    /// It is an ICMP error of this type and code about a packet to a broadcast address.
    BogusError(u8, u8),
}

/// A packet worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Martian {
    /// Device it came in by.
    pub dev: IfIndex,
    /// What is odd about it.
    pub oddity: Oddity,
    /// Its source, host byte order.
    pub src: u32,
    /// Its destination, or that of the packet a bogus error quotes; host byte order.
    pub dst: u32,
    /// Its Ethernet header: the only hint at who sent it.
    pub link: [u8; eth::HEADER_LEN],
}

impl Martian {
    /// The line, `dev` being the name of the device.
    pub fn line(&self, dev: &str) -> String {
        let (src, dst) = (ipv4::addr(self.src), ipv4::addr(self.dst));
        match self.oddity {
            Oddity::Source => {
                format!("martian source {dst} from {src}, on dev {dev}, ll header: {}", Hex(&self.link))
            }
            Oddity::Destination => format!("martian destination {dst} from {src}, dev {dev}"),
            Oddity::SourceRoute => format!("source route option {src} -> {dst}"),
            Oddity::BogusError(kind, code) => {
                format!(
                    "{src} sent an invalid ICMP type {kind}, code {code} error to a broadcast: {dst} on {dev}"
                )
            }
        }
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .enumerate()
            .try_for_each(|(i, byte)| write!(f, "{}{byte:02x}", if i == 0 { "" } else { " " }))
    }
}

/// Lines in a window, see [`LineLimiter`].
const BURST: u64 = 10;
/// Length of a window, in milliseconds.
const WINDOW_MS: u64 = 5000;

/// The kernel's `net_ratelimit` with its defaults (`message_cost`, `message_burst`), shared by all lcores.
#[derive(Debug, Default)]
pub struct LineLimiter {
    /// When the window began in ms, plus one, times 16; lines so far in the low bits.
    window: AtomicU64,
}

impl LineLimiter {
    /// True if one more line may be written now.
    pub fn allow(&self, now_ms: u64) -> bool {
        let mut allowed = false;
        let _ = self.window.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            let (began, lines) = ((word >> 4).wrapping_sub(1), word & 0xf);
            if word == 0 || now_ms > began.wrapping_add(WINDOW_MS) {
                allowed = true;
                return Some((now_ms + 1) << 4 | 1);
            }
            allowed = lines < BURST;
            allowed.then_some(word + 1)
        });
        allowed
    }
}

/// Reports a packet that was refused for `reason` when it was routed.
#[cold]
pub fn refused(env: &Env<'_>, dev: &NetDevice, skb: &Skb, reason: DropReason) {
    let loopback_dst = || Ipv4Header::parse(skb.network()).is_some_and(|h| ipv4::is_loopback(h.dst()));
    let oddity = match reason {
        DropReason::IpInvalidDest => Oddity::Destination,
        DropReason::IpLocalnet if loopback_dst() => Oddity::Destination,
        DropReason::IpInvalidSource
        | DropReason::IpLocalSource
        | DropReason::IpRpfilter
        | DropReason::IpLocalnet => Oddity::Source,
        _ => return,
    };
    report(env, dev, skb, oddity, None);
}

/// Reports a source route that is not accepted.
#[cold]
pub fn source_route(env: &Env<'_>, dev: &NetDevice, skb: &Skb) {
    report(env, dev, skb, Oddity::SourceRoute, None);
}

/// Reports an ICMP error about a packet that was sent to the broadcast address `quoted_dst`. Not a martian: it is
/// reported whatever `log_martians` says.
#[cold]
pub fn bogus_error(env: &Env<'_>, skb: &Skb, (kind, code): (u8, u8), quoted_dst: u32) {
    tell(env, IfIndex(skb.fields().iif), skb, Oddity::BogusError(kind, code), Some(quoted_dst));
}

fn report(env: &Env<'_>, dev: &NetDevice, skb: &Skb, oddity: Oddity, dst: Option<u32>) {
    if dev.conf.log_martians {
        tell(env, dev.ifindex, skb, oddity, dst);
    }
}

fn tell(env: &Env<'_>, dev: IfIndex, skb: &Skb, oddity: Oddity, dst: Option<u32>) {
    let Some(header) = Ipv4Header::parse(skb.network()) else { return };
    if !env.shared.martian_lines.allow(env.now.as_millis()) {
        return;
    }
    let link = skb.data().first_chunk().copied().unwrap_or_default();
    let martian = Martian { dev, oddity, src: header.src(), dst: dst.unwrap_or(header.dst()), link };
    // A line that finds the queue full is a line too many.
    let _ = env.shared.send_to_control(ToControl::Martian(martian));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_in_five_seconds() {
        let limiter = LineLimiter::default();
        let lines = |now_ms| (0..100).filter(|_| limiter.allow(now_ms)).count();
        assert_eq!([0, 1, 5000, 5001, 5002, 20_000].map(lines), [10, 0, 0, 10, 0, 10]);
    }

    #[test]
    fn lines_read_as_the_kernels_do() {
        let line = |oddity| {
            let martian =
                Martian { dev: IfIndex(2), oddity, src: 0xc000_0209, dst: 0x0a02_0002, link: [0xab; 14] };
            martian.line("lan0")
        };
        assert_eq!(
            line(Oddity::Source),
            "martian source 10.2.0.2 from 192.0.2.9, on dev lan0, ll header: \
             ab ab ab ab ab ab ab ab ab ab ab ab ab ab"
        );
        assert_eq!(line(Oddity::Destination), "martian destination 10.2.0.2 from 192.0.2.9, dev lan0");
        assert_eq!(line(Oddity::SourceRoute), "source route option 192.0.2.9 -> 10.2.0.2");
    }
}
