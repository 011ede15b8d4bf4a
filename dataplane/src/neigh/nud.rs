//! The states of neighbour unreachability detection and the parameters that drive them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A neighbour's state, with the values of the kernel's `NUD_*` bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Nud {
    /// Known by its address only; nobody has used it yet.
    #[default]
    None = 0x00,
    /// Broadcast requests are out; packets wait.
    Incomplete = 0x01,
    /// Confirmed less than the reachable time ago.
    Reachable = 0x02,
    /// The link address is believed; the next use starts a check.
    Stale = 0x04,
    /// Used while stale; waiting for a confirmation before probing.
    Delay = 0x08,
    /// Unicast probes are out; packets still go.
    Probe = 0x10,
    /// Nobody answered.
    Failed = 0x20,
    /// The device needs no resolution.
    Noarp = 0x40,
    /// Set by the operator; never checked, never collected.
    Permanent = 0x80,
}

impl Nud {
    /// Every state, in the order of the kernel's bits.
    pub const ALL: [Nud; 9] = [
        Nud::None,
        Nud::Incomplete,
        Nud::Reachable,
        Nud::Stale,
        Nud::Delay,
        Nud::Probe,
        Nud::Failed,
        Nud::Noarp,
        Nud::Permanent,
    ];

    /// `NUD_VALID`: the link address may be used.
    #[inline]
    pub const fn is_valid(self) -> bool {
        valid_bits(self as u8)
    }

    /// `NUD_CONNECTED`: the link address may be used without telling anyone.
    #[inline]
    pub const fn is_connected(self) -> bool {
        matches!(self, Nud::Permanent | Nud::Noarp | Nud::Reachable)
    }

    /// `NUD_IN_TIMER`: a timer will end this state.
    #[inline]
    pub const fn in_timer(self) -> bool {
        matches!(self, Nud::Incomplete | Nud::Reachable | Nud::Delay | Nud::Probe)
    }

    /// The name `ip neigh` prints, upper case.
    pub const fn name(self) -> &'static str {
        match self {
            Nud::None => "NONE",
            Nud::Incomplete => "INCOMPLETE",
            Nud::Reachable => "REACHABLE",
            Nud::Stale => "STALE",
            Nud::Delay => "DELAY",
            Nud::Probe => "PROBE",
            Nud::Failed => "FAILED",
            Nud::Noarp => "NOARP",
            Nud::Permanent => "PERMANENT",
        }
    }

    /// Position in [`Nud::ALL`].
    pub(super) const fn ordinal(self) -> usize {
        match self as u8 {
            0 => 0,
            bit => bit.trailing_zeros() as usize + 1,
        }
    }

    /// The state with this value; `None` (the state) for anything else.
    #[inline]
    pub(super) const fn from_bits(bits: u8) -> Nud {
        match bits {
            0x01 => Nud::Incomplete,
            0x02 => Nud::Reachable,
            0x04 => Nud::Stale,
            0x08 => Nud::Delay,
            0x10 => Nud::Probe,
            0x20 => Nud::Failed,
            0x40 => Nud::Noarp,
            0x80 => Nud::Permanent,
            _ => Nud::None,
        }
    }
}

/// [`Nud::is_valid`] on the raw value: one AND for the lcores.
#[inline]
pub(super) const fn connected_bits(bits: u8) -> bool {
    const CONNECTED: u8 = Nud::Permanent as u8 | Nud::Noarp as u8 | Nud::Reachable as u8;
    bits & CONNECTED != 0
}

pub(super) const fn valid_bits(bits: u8) -> bool {
    const VALID: u8 = Nud::Permanent as u8
        | Nud::Noarp as u8
        | Nud::Reachable as u8
        | Nud::Probe as u8
        | Nud::Stale as u8
        | Nud::Delay as u8;
    bits & VALID != 0
}

impl fmt::Display for Nud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The word is no NUD state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a neighbour state (expected permanent, noarp, reachable, stale, delay, probe, failed, incomplete or none)"
)]
pub struct InvalidNud(pub String);

impl FromStr for Nud {
    type Err = InvalidNud;

    /// Reads the words of `ip neigh ... nud STATE`, in either case.
    fn from_str(s: &str) -> Result<Self, InvalidNud> {
        Nud::ALL
            .into_iter()
            .find(|state| state.name().eq_ignore_ascii_case(s))
            .ok_or_else(|| InvalidNud(s.to_owned()))
    }
}

/// `net.ipv4.neigh.DEV.*`: what each device may set for its neighbours. Defaults are the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighParams {
    /// `base_reachable_time_ms`: the real time is drawn from 0.5 to 1.5 times this.
    pub base_reachable: Duration,
    /// `retrans_time_ms`: between two probes; never less than [`MIN_RETRANS`].
    pub retrans: Duration,
    /// `delay_first_probe_time`.
    pub delay_first_probe: Duration,
    /// `mcast_solicit`: broadcast requests before an unresolved neighbour fails.
    pub mcast_solicit: u32,
    /// `ucast_solicit`: unicast requests before a known neighbour fails.
    pub ucast_solicit: u32,
    /// `mcast_resolicit`: broadcast requests after the unicast ones stayed unanswered.
    pub mcast_resolicit: u32,
    /// `app_solicit`: between unicast and broadcast requests, how many times the kernel would ask a daemon. Nobody
    /// listens here, so each is a pause of `retrans`.
    pub app_solicit: u32,
    /// `gc_stale_time`: an entry unused for this long may be collected.
    pub gc_stale: Duration,
    /// `locktime`: a link address is not replaced by ARP within this time of the last change.
    pub locktime: Duration,
    /// `unres_qlen_bytes`: true size of the packets that may wait for one neighbour.
    pub unres_qlen_bytes: usize,
    /// `proxy_delay`: answers for others to broadcast requests wait a random time below this.
    pub proxy_delay: Duration,
    /// `proxy_qlen`: answers of a device that may wait; one more is let in, as in the kernel.
    pub proxy_qlen: usize,
}

/// The shortest time between two probes, whatever `retrans` says (kernel: HZ/100).
pub const MIN_RETRANS: Duration = Duration::from_millis(10);

impl Default for NeighParams {
    fn default() -> Self {
        NeighParams {
            base_reachable: Duration::from_secs(30),
            retrans: Duration::from_secs(1),
            delay_first_probe: Duration::from_secs(5),
            mcast_solicit: 3,
            ucast_solicit: 3,
            mcast_resolicit: 0,
            app_solicit: 0,
            gc_stale: Duration::from_secs(60),
            locktime: Duration::from_secs(1),
            unres_qlen_bytes: 212_992,
            proxy_delay: Duration::from_millis(800),
            proxy_qlen: 64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_bits_and_ordinals_agree() {
        for (i, state) in Nud::ALL.into_iter().enumerate() {
            assert_eq!(state.ordinal(), i);
            assert_eq!(Nud::from_bits(state as u8), state);
            assert_eq!(state.name().to_lowercase().parse(), Ok(state));
        }
        assert!("reachabel".parse::<Nud>().is_err());
    }

    #[test]
    fn only_the_kernels_valid_states_are_valid() {
        let valid: Vec<_> = Nud::ALL.into_iter().filter(|s| s.is_valid()).collect();
        assert_eq!(valid, [Nud::Reachable, Nud::Stale, Nud::Delay, Nud::Probe, Nud::Noarp, Nud::Permanent]);
    }
}
