//! IGMP (RFC 2236, RFC 3376): who on a link wants which multicast, and telling a router what we want.
//!
//! Pure machines: each takes messages, wishes and a `now`, and gives back messages to send and the moment it wants to
//! run again. The router ([`crate::router`]) owns their packets, devices and clock.
//!
//! * [`wire`]: messages to and from bytes.
//! * [`filter`]: which sources of a group are wanted.
//! * [`querier`]: the router's side of a link, memberships of the hosts on it.
//! * [`host`]: the host's side of a link, reports of what we want from the router there.

pub mod filter;
pub mod host;
pub mod querier;
pub mod wire;

use std::time::Duration;

/// 224.0.0.1: where general queries go.
pub const ALL_SYSTEMS: u32 = 0xe000_0001;
/// 224.0.0.2: where version 2 hosts say that they leave.
pub const ALL_ROUTERS: u32 = 0xe000_0002;
/// 224.0.0.22: where version 3 hosts report.
pub const ALL_IGMPV3_ROUTERS: u32 = 0xe000_0016;

/// A message to be sent, and the address it goes to (host byte order).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Destination.
    pub to: u32,
    /// What to say.
    pub message: wire::Message,
}

/// The values of RFC 3376 section 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Robustness variable: how often a lost message may be lost (8.1).
    pub robustness: u8,
    /// Time between general queries (8.2).
    pub query_interval: Duration,
    /// Longest time hosts take to answer them (8.3).
    pub query_response_interval: Duration,
    /// Longest time hosts take to answer a query after somebody left, and the time between such queries (8.8).
    pub last_member_query_interval: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            robustness: 2,
            query_interval: Duration::from_secs(125),
            query_response_interval: Duration::from_secs(10),
            last_member_query_interval: Duration::from_secs(1),
        }
    }
}

impl Timing {
    /// How long a membership lasts without a report (8.4): 260 s by default.
    pub fn group_membership_interval(&self) -> Duration {
        self.query_interval * u32::from(self.robustness) + self.query_response_interval
    }

    /// How long another querier is believed to be there (8.5): 255 s by default.
    pub fn other_querier_present_interval(&self) -> Duration {
        self.query_interval * u32::from(self.robustness) + self.query_response_interval / 2
    }

    /// How long a membership lasts after somebody left and nobody answered (8.10): 2 s by default.
    pub fn last_member_query_time(&self) -> Duration {
        self.last_member_query_interval * u32::from(self.robustness)
    }

    /// Time between the first queries of a router (8.6).
    pub fn startup_query_interval(&self) -> Duration {
        self.query_interval / 4
    }
}
