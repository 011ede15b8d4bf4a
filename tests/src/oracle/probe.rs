//! Probes, and the settings they run under.

use std::time::Duration;

use super::packet::Packet;
use super::shape::{Addr, Port};
use crate::frames::Frame;

/// What a probe does next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends a frame into the router's port. Frames in a row are sent as fast as they go.
    Send(Port, Frame),
    /// Waits until the router has dealt with all so far, and then as long as this.
    Wait(Duration),
}

impl Step {
    /// A packet through port 1.
    pub fn packet(packet: &Packet) -> Step {
        Step::Send(Port::P1, packet.frame())
    }

    /// A wait in milliseconds.
    pub fn wait(millis: u64) -> Step {
        Step::Wait(Duration::from_millis(millis))
    }
}

impl From<Packet> for Step {
    fn from(packet: Packet) -> Step {
        Step::packet(&packet)
    }
}

/// Who a probe is: a host behind port 1 that no other probe is, so that limits and neighbours start afresh.
#[derive(Clone, Copy, Debug)]
pub struct Host(pub u16);

impl Host {
    /// Its address.
    pub fn addr(self) -> Addr {
        let n = self.0;
        [10, 1, 1 + (n / 240) as u8, 2 + (n % 240) as u8]
    }

    /// An address behind port 2 that is its own too.
    pub fn peer(self) -> Addr {
        let [_, _, c, d] = self.addr();
        [10, 2, c, d]
    }

    /// The same, but nobody answers there. They come round after 1500 probes.
    pub fn silent(self) -> Addr {
        let n = self.0;
        [10, 2, 1 + (n / 6 % 250) as u8, 250 + (n % 6) as u8]
    }

    /// True of the addresses that are this probe's.
    pub fn owns(self, addr: Addr) -> bool {
        [self.addr(), self.peer(), self.silent()].contains(&addr)
    }
}

type Build = Box<dyn Fn(Host) -> Vec<Step>>;

/// One exchange that both routers are put through.
pub struct Probe {
    /// `section/what`
    pub name: String,
    /// What is sent.
    pub build: Build,
}

/// Probes under common settings.
#[derive(Default)]
pub struct Scene {
    /// A word for it.
    pub name: &'static str,
    /// Settings beyond the kernel's defaults, `net.ipv4` left out of their names.
    pub sysctl: Vec<(&'static str, i64)>,
    /// What both routers are told before, as words behind `ip`.
    pub setup: Vec<&'static str>,
    /// And after.
    pub undo: Vec<&'static str>,
    /// What both routers have to do with multicast.
    pub multicast: Multicast,
    /// In this order.
    pub probes: Vec<Probe>,
}

/// Groups a router has joined, and its multicast routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Multicast {
    /// Groups, each on a port.
    pub joins: Vec<(Port, Addr)>,
    /// Routes.
    pub routes: Vec<MulticastRoute>,
}

/// Where the packets of one source to one group go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MulticastRoute {
    /// To this group,
    pub group: Addr,
    /// from this host,
    pub source: Addr,
    /// if they come in here,
    pub from: Port,
    /// out of these, with a TTL above the number.
    pub to: Vec<(Port, u8)>,
}

impl Multicast {
    /// True if there is nothing.
    pub fn is_empty(&self) -> bool {
        self.joins.is_empty() && self.routes.is_empty()
    }
}

impl Scene {
    /// A scene with the kernel's defaults.
    pub fn new(name: &'static str) -> Scene {
        Scene { name, ..Scene::default() }
    }

    /// The same with settings.
    pub fn with(name: &'static str, sysctl: &[(&'static str, i64)]) -> Scene {
        Scene { name, sysctl: sysctl.to_vec(), ..Scene::default() }
    }

    /// Adds a command for both routers and the one that undoes it.
    pub fn command(mut self, setup: &'static str, undo: &'static str) -> Scene {
        self.setup.push(setup);
        self.undo.push(undo);
        self
    }

    /// Adds a probe of several steps.
    pub fn steps(&mut self, name: impl Into<String>, build: impl Fn(Host) -> Vec<Step> + 'static) {
        self.probes.push(Probe { name: name.into(), build: Box::new(build) });
    }

    /// Adds a probe of one packet.
    pub fn packet(&mut self, name: impl Into<String>, build: impl Fn(Host) -> Packet + 'static) {
        self.steps(name, move |host| vec![build(host).into()]);
    }

    /// Adds a probe of one frame through port 1.
    pub fn frame(&mut self, name: impl Into<String>, build: impl Fn(Host) -> Frame + 'static) {
        self.steps(name, move |host| vec![Step::Send(Port::P1, build(host))]);
    }
}
