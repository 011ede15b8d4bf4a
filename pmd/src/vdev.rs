//! Device arguments of virtual devices, typed: `Pcap { rx: Some("in.pcap".into()), ..Pcap::new(0) }`.
//!
//! `devargs` gives the text for [`EalConfig::vdevs`](crate::EalConfig) and
//! [`Eal::attach_vdev`](crate::Eal::attach_vdev). It refuses values that hold a comma, because device
//! arguments cannot express one.

use crate::error::Error;

/// Receives endless packets of zeroes and swallows what is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Null {
    /// Makes the name: `net_null` and this.
    pub index: u32,
    /// Bytes of a received packet; the driver's default is 64.
    pub size: Option<u16>,
    /// Whether bytes are really copied.
    pub copy: bool,
    /// Receive nothing.
    pub no_rx: bool,
}

impl Null {
    /// The defaults.
    pub fn new(index: u32) -> Null {
        Null { index, size: None, copy: false, no_rx: false }
    }

    /// The device arguments.
    ///
    /// # Errors
    /// Never, as all values are numbers.
    pub fn devargs(&self) -> Result<String, Error> {
        Devargs::new("net_null", self.index)
            .option("size", self.size)
            .flag("copy", self.copy)
            .flag("no-rx", self.no_rx)
            .finish()
    }
}

/// Gives back on its receive queues what is sent on its transmit queues.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ring {
    /// Makes the name: `net_ring` and this.
    pub index: u32,
}

impl Ring {
    /// A loop.
    pub fn new(index: u32) -> Ring {
        Ring { index }
    }

    /// The device arguments.
    ///
    /// # Errors
    /// Never, as all values are numbers.
    pub fn devargs(&self) -> Result<String, Error> {
        Devargs::new("net_ring", self.index).finish()
    }
}

/// Plays and records capture files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pcap {
    /// Makes the name: `net_pcap` and this.
    pub index: u32,
    /// The file to receive from; without one nothing is received.
    pub rx: Option<String>,
    /// Play it for ever, from memory.
    pub infinite_rx: bool,
    /// The file to record what is sent; without one it is dropped.
    pub tx: Option<String>,
}

impl Pcap {
    /// No files.
    pub fn new(index: u32) -> Pcap {
        Pcap { index, rx: None, infinite_rx: false, tx: None }
    }

    /// The device arguments.
    ///
    /// # Errors
    /// [`Error::Argument`] if a path holds a comma.
    pub fn devargs(&self) -> Result<String, Error> {
        Devargs::new("net_pcap", self.index)
            .option("rx_pcap", self.rx.as_deref())
            .flag("infinite_rx", self.infinite_rx)
            .option("tx_pcap", self.tx.as_deref())
            .finish()
    }
}

/// A kernel interface through a packet socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AfPacket {
    /// Makes the name: `net_af_packet` and this.
    pub index: u32,
    /// The kernel interface.
    pub iface: String,
    /// Queues each way.
    pub qpairs: Option<u16>,
    /// Bytes of a ring slot. A received frame longer than this less 66 is cut.
    pub framesz: Option<u32>,
    /// Bytes of a ring block: a multiple of the page and of `framesz`.
    pub blocksz: Option<u32>,
    /// Slots of a ring.
    pub framecnt: Option<u32>,
    /// Send past the kernel's own queueing.
    pub qdisc_bypass: bool,
}

impl AfPacket {
    /// The driver's defaults.
    pub fn new(index: u32, iface: &str) -> AfPacket {
        let iface = iface.into();
        AfPacket {
            index,
            iface,
            qpairs: None,
            framesz: None,
            blocksz: None,
            framecnt: None,
            qdisc_bypass: false,
        }
    }

    /// The device arguments.
    ///
    /// # Errors
    /// [`Error::Argument`] if the interface's name holds a comma.
    pub fn devargs(&self) -> Result<String, Error> {
        Devargs::new("net_af_packet", self.index)
            .option("iface", Some(&self.iface))
            .option("qpairs", self.qpairs)
            .option("blocksz", self.blocksz)
            .option("framesz", self.framesz)
            .option("framecnt", self.framecnt)
            .flag("qdisc_bypass", self.qdisc_bypass)
            .finish()
    }
}

/// One end of a shared-memory link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Memif {
    /// Makes the name: `net_memif` and this.
    pub index: u32,
    /// The end that listens; the other end connects.
    pub server: bool,
    /// The socket's path.
    pub socket: String,
    /// Tells links of one socket apart; the same at both ends.
    pub id: u32,
    /// The socket is abstract, not a file.
    pub socket_abstract: bool,
    /// Logarithm of the ring size.
    pub rsize: Option<u8>,
    /// Bytes of a buffer.
    pub bsize: Option<u16>,
}

impl Memif {
    /// The driver's defaults, with a socket file.
    pub fn new(index: u32, server: bool, socket: &str) -> Memif {
        let socket = socket.into();
        Memif { index, server, socket, id: 0, socket_abstract: false, rsize: None, bsize: None }
    }

    /// The device arguments.
    ///
    /// # Errors
    /// [`Error::Argument`] if the path holds a comma.
    pub fn devargs(&self) -> Result<String, Error> {
        Devargs::new("net_memif", self.index)
            .option("role", Some(if self.server { "server" } else { "client" }))
            .option("id", Some(self.id))
            .option("socket", Some(&self.socket))
            .option("socket-abstract", Some(if self.socket_abstract { "yes" } else { "no" }))
            .option("rsize", self.rsize)
            .option("bsize", self.bsize)
            .finish()
    }
}

/// The guest's end of a vhost-user link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VirtioUser {
    /// Makes the name: `net_virtio_user` and this.
    pub index: u32,
    /// The socket's path.
    pub path: String,
    /// Queues each way.
    pub queues: Option<u16>,
    /// Descriptors of a queue.
    pub queue_size: Option<u16>,
    /// Listen on the socket instead of connecting.
    pub server: bool,
}

impl VirtioUser {
    /// The driver's defaults.
    pub fn new(index: u32, path: &str) -> VirtioUser {
        VirtioUser { index, path: path.into(), queues: None, queue_size: None, server: false }
    }

    /// The device arguments.
    ///
    /// # Errors
    /// [`Error::Argument`] if the path holds a comma.
    pub fn devargs(&self) -> Result<String, Error> {
        Devargs::new("net_virtio_user", self.index)
            .option("path", Some(&self.path))
            .option("queues", self.queues)
            .option("queue_size", self.queue_size)
            .flag("server", self.server)
            .finish()
    }
}

/// The host's end of a vhost-user link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vhost {
    /// Makes the name: `net_vhost` and this.
    pub index: u32,
    /// The socket's path.
    pub iface: String,
    /// Queues each way.
    pub queues: Option<u16>,
    /// Connect to the socket instead of listening.
    pub client: bool,
}

impl Vhost {
    /// The driver's defaults.
    pub fn new(index: u32, iface: &str) -> Vhost {
        Vhost { index, iface: iface.into(), queues: None, client: false }
    }

    /// The device arguments.
    ///
    /// # Errors
    /// [`Error::Argument`] if the path holds a comma.
    pub fn devargs(&self) -> Result<String, Error> {
        Devargs::new("net_vhost", self.index)
            .option("iface", Some(&self.iface))
            .option("queues", self.queues)
            .flag("client", self.client)
            .finish()
    }
}

/// A TAP interface of the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tap {
    /// Makes the name: `net_tap` and this.
    pub index: u32,
    /// The interface's name; the driver's default is `dtap` and a number.
    pub iface: Option<String>,
    /// An interface to take the MAC address and the traffic from.
    pub remote: Option<String>,
    /// The interface stays when the device is closed.
    pub persist: bool,
}

impl Tap {
    /// The driver's defaults.
    pub fn new(index: u32) -> Tap {
        Tap { index, iface: None, remote: None, persist: false }
    }

    /// The device arguments.
    ///
    /// # Errors
    /// [`Error::Argument`] if an interface's name holds a comma.
    pub fn devargs(&self) -> Result<String, Error> {
        let args = Devargs::new("net_tap", self.index)
            .option("iface", self.iface.as_deref())
            .option("remote", self.remote.as_deref());
        // The one flag without a value.
        if self.persist { args.word("persist").finish() } else { args.finish() }
    }
}

struct Devargs {
    text: String,
    refused: Option<String>,
}

impl Devargs {
    fn new(driver: &str, index: u32) -> Devargs {
        Devargs { text: format!("{driver}{index}"), refused: None }
    }

    fn option(mut self, key: &str, value: Option<impl ToString>) -> Devargs {
        if let Some(value) = value {
            let value = value.to_string();
            self.text.push_str(&format!(",{key}={value}"));
            if value.contains([',', '\0']) {
                self.refused = Some(value);
            }
        }
        self
    }

    fn flag(self, key: &str, set: bool) -> Devargs {
        self.option(key, set.then_some(1))
    }

    fn word(mut self, word: &str) -> Devargs {
        self.text.push(',');
        self.text.push_str(word);
        self
    }

    fn finish(self) -> Result<String, Error> {
        match self.refused {
            None => Ok(self.text),
            Some(text) => Err(Error::Argument { text, why: "device arguments cannot hold a comma" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devargs_are_what_drivers_expect() {
        let null = Null { size: Some(60), no_rx: true, ..Null::new(3) };
        assert_eq!(null.devargs().unwrap(), "net_null3,size=60,no-rx=1");
        let pcap = Pcap { rx: Some("a.pcap".into()), infinite_rx: true, ..Pcap::new(0) };
        assert_eq!(pcap.devargs().unwrap(), "net_pcap0,rx_pcap=a.pcap,infinite_rx=1");
        let memif = Memif { rsize: Some(11), ..Memif::new(1, true, "/p/m.sock") };
        let expected = "net_memif1,role=server,id=0,socket=/p/m.sock,socket-abstract=no,rsize=11";
        assert_eq!(memif.devargs().unwrap(), expected);
        let af_packet = AfPacket { framecnt: Some(4096), qdisc_bypass: true, ..AfPacket::new(0, "veth0") };
        assert_eq!(af_packet.devargs().unwrap(), "net_af_packet0,iface=veth0,framecnt=4096,qdisc_bypass=1");
        assert_eq!(VirtioUser::new(0, "/v").devargs().unwrap(), "net_virtio_user0,path=/v");
        assert_eq!(
            Vhost { client: true, ..Vhost::new(2, "/v") }.devargs().unwrap(),
            "net_vhost2,iface=/v,client=1"
        );
        assert_eq!(Tap { persist: true, ..Tap::new(0) }.devargs().unwrap(), "net_tap0,persist");
        assert_eq!(Ring::new(7).devargs().unwrap(), "net_ring7");
    }

    #[test]
    fn comma_in_a_value_is_refused() {
        assert!(
            matches!(AfPacket::new(0, "a,b").devargs(), Err(Error::Argument { text, .. }) if text == "a,b")
        );
    }
}
