//! Why a well-formed request was not carried out, in the words the kernel and iproute2 taught their users.

/// The router understood the request and did not do it. Shown after the command, as
/// `skiff: ip route add 10.0.0.0/8: File exists`; exit code 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `add` of what is there already (EEXIST).
    #[error("File exists")]
    Exists,
    /// `del` of a route that is not there (ESRCH).
    #[error("No such process")]
    NoSuchProcess,
    /// `change` of what is not there, or `del` of a neighbour that is not (ENOENT).
    #[error("No such file or directory")]
    NoSuchEntry,
    /// `addr add` of an address the device has.
    #[error("ipv4: Address already assigned.")]
    AddressExists,
    /// `addr del` of an address the device does not have.
    #[error("ipv4: Address not found.")]
    AddressNotFound,
    /// The gateway is not on a link of ours.
    #[error("Nexthop has invalid gateway.")]
    Unreachable,
    /// The device the route leaves by is down.
    #[error("Device for nexthop is not up.")]
    DeviceDown,
    /// A prefix with bits set beyond its length.
    #[error("Invalid prefix for given prefix length.")]
    InvalidPrefix,
    /// A blackhole, unreachable, prohibit or throw route with a next hop.
    #[error("Gateway, device and multipath can not be specified for this route type.")]
    NextHopOnReject,
    /// A route with neither gateway nor device (ENODEV).
    #[error("No such device")]
    NoNextHop,
    /// `route get` of an address no route leads to (ENETUNREACH).
    #[error("Network is unreachable")]
    NoRoute,
    /// `route get` of an address behind an unreachable route (EHOSTUNREACH).
    #[error("No route to host")]
    HostUnreachable,
    /// A command names a device that is not there.
    #[error("Cannot find device \"{0}\"")]
    NoDevice(String),
    /// A show names a device that is not there.
    #[error("Device \"{0}\" does not exist.")]
    NoSuchDevice(String),
    /// A value the device or the table cannot take; the text says which and why.
    #[error("{0}")]
    Invalid(String),
    /// A feature that is not there; the text names it.
    #[error("{0} is not supported yet")]
    NotSupported(String),
}

impl Refusal {
    /// The line for stderr: `skiff: WHAT: WHY` and a newline. `what` is [`Request::what`](super::Request::what).
    pub fn line(&self, what: &str) -> String {
        format!("skiff: {what}: {self}\n")
    }
}
