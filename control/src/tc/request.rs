//! Commands, read and not yet carried out.

use skiff_dataplane::net::IfIndex;
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::sched::params::QdiscSpec;

/// A device, as far as traffic control has to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number.
    pub index: IfIndex,
    /// Its name.
    pub name: String,
    /// The largest packet without its Ethernet header, bytes.
    pub mtu: u32,
    /// The speed of its link in bytes a second, if it has one.
    pub speed: Option<u64>,
}

impl Device {
    /// Packets a queue may hold if nobody says otherwise (`txqueuelen`).
    pub const TX_QUEUE_LEN: u32 = 1000;

    /// The largest frame, bytes.
    pub fn frame(&self) -> u32 {
        self.mtu.saturating_add(14)
    }
}

/// Which devices there are.
pub trait Devices {
    /// The device of this name.
    fn find(&self, name: &str) -> Option<Device>;

    /// All of them, by number.
    fn all(&self) -> Vec<Device>;

    /// The number of the device of this name.
    fn index(&self, name: &str) -> Option<IfIndex> {
        self.find(name).map(|device| device.index)
    }

    /// The name of the device of this number.
    fn name(&self, dev: IfIndex) -> Option<String> {
        self.all().into_iter().find(|device| device.index == dev).map(|device| device.name)
    }
}

/// How things are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Show {
    /// `-s`: statistics.
    pub stats: bool,
    /// `-d`: everything about parameters.
    pub details: bool,
    /// `-r`: numbers as the kernel has them.
    pub raw: bool,
    /// `-j`: JSON.
    pub json: bool,
    /// `-p`: JSON over many lines, and what u32 compares by the names of fields.
    pub pretty: bool,
    /// `-o`: a backslash where lines would end.
    pub oneline: bool,
    /// `-iec`: rates in powers of 1024.
    pub iec: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Print this.
    Help(&'static str),
    /// Show disciplines.
    QdiscShow(QdiscFilter),
    /// Change disciplines.
    Qdisc(Verb, QdiscChange),
    /// Show classes.
    ClassShow(ClassFilter),
    /// Change classes.
    Class(Verb, ClassChange),
    /// Filters and actions: the object's name in full, and the words behind it.
    Filter(&'static str, Vec<String>),
}

impl Request {
    /// It is not only to print something.
    pub fn is_change(&self) -> bool {
        match self {
            Request::Help(_) | Request::QdiscShow(_) | Request::ClassShow(_) => false,
            Request::Qdisc(..) | Request::Class(..) | Request::Filter(..) => true,
        }
    }
}

/// How to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Make it; it must not be there.
    Add,
    /// Give it other parameters; it must be there.
    Change,
    /// Make it or give it other parameters.
    Replace,
    /// Put it in another's place, without making it.
    Link,
    /// Take it away.
    Delete,
}

/// Which disciplines to show.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QdiscFilter {
    /// On this device.
    pub dev: Option<Device>,
    /// At this place.
    pub parent: Option<TcHandle>,
    /// Of this name.
    pub handle: Option<TcHandle>,
}

/// A change of disciplines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QdiscChange {
    /// On this device.
    pub dev: Option<Device>,
    /// At this place.
    pub parent: TcHandle,
    /// Of this name.
    pub handle: TcHandle,
    /// Of this kind, with these parameters.
    pub kind: Option<KindWords>,
    /// Rates are measured.
    pub estimator: Option<Estimator>,
}

/// A kind of discipline and its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct KindWords {
    /// The kind's name.
    pub name: String,
    /// What to make; none if we have nothing of this kind.
    pub spec: Option<NodeSpec>,
    /// Parameters were given, which a change is without effect without.
    pub given: bool,
    /// What tc says about them, lines for standard error.
    pub notes: String,
}

/// A kind of discipline with its parameters, those that hold no packets among them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NodeSpec {
    /// Packets do not wait.
    Noqueue,
    /// Filters for what comes in.
    Ingress,
    /// Filters for what comes in and for what goes out.
    Clsact,
    /// Packets wait.
    Sched(QdiscSpec),
}

impl NodeSpec {
    /// The kind, as tc names it.
    pub const fn kind(&self) -> &'static str {
        match self {
            NodeSpec::Noqueue => "noqueue",
            NodeSpec::Ingress => "ingress",
            NodeSpec::Clsact => "clsact",
            NodeSpec::Sched(spec) => spec.kind(),
        }
    }
}

/// How often and how smoothly a rate is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimator {
    /// Between two looks: 2 to the power of this, quarters of a second.
    pub interval: u8,
    /// A new rate's weight: 2 to the power of minus this.
    pub ewma_log: u8,
}

/// Which classes to show.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassFilter {
    /// On this device.
    pub dev: Option<Device>,
    /// Of the discipline with this one's major number.
    pub parent: Option<TcHandle>,
    /// Only of this discipline, whose number is not printed then.
    pub qdisc: Option<TcHandle>,
    /// Of this name.
    pub classid: Option<TcHandle>,
}

/// A change of classes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassChange {
    /// On this device.
    pub dev: Option<Device>,
    /// Below this one.
    pub parent: TcHandle,
    /// Of this name.
    pub classid: TcHandle,
    /// With these parameters; none if they were not given, or not htb's.
    pub htb: Option<HtbClassWords>,
}

/// The parameters of an htb class as far as they were said. Rates in bytes a second, the rest in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HtbClassWords {
    /// Guaranteed rate.
    pub rate: u64,
    /// Highest rate.
    pub ceil: u64,
    /// What may be sent at once at the rate.
    pub burst: u64,
    /// What may be sent at once at the ceiling.
    pub cburst: u64,
    /// Priority.
    pub prio: u32,
    /// What a leaf sends before it is another's turn.
    pub quantum: Option<u32>,
    /// How lengths become costs.
    pub layer: skiff_dataplane::sched::params::LinkLayer,
}
