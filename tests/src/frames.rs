//! Frames made by hand, and the socket that sends them as they are.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, bind, recv, sendmsg,
    setsockopt, socket, sockopt::RcvBufForce,
};

use crate::netns::Netns;

/// An Ethernet frame without FCS.
pub type Frame = Vec<u8>;

/// Bytes of buffers that frames may wait in.
const RECEIVE_BUFFER: usize = 16 << 20;
/// No frame is longer.
const MAX_FRAME: usize = 65536;

/// The lab's router, as some random frames address it.
const ROUTER: [u8; 4] = [10, 0, 0, 1];

/// A small generator (splitmix64): the same seed gives the same frames on every machine.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator for `seed`.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.bits().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// A UDP datagram with right checksums, in a frame of `len` bytes (at least 42).
pub fn udp_frame(dst_mac: [u8; 6], src_mac: [u8; 6], src: [u8; 4], dst: [u8; 4], len: usize) -> Frame {
    let mut frame = vec![0; len.max(42)];
    let ip_len = frame.len() - 14;
    frame[..6].copy_from_slice(&dst_mac);
    frame[6..12].copy_from_slice(&src_mac);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14..26].copy_from_slice(&[0x45, 0, (ip_len >> 8) as u8, ip_len as u8, 0, 0, 0x40, 0, 64, 17, 0, 0]);
    frame[26..30].copy_from_slice(&src);
    frame[30..34].copy_from_slice(&dst);
    // Source port 1000, discard; a UDP checksum of 0 means none (RFC 768).
    let udp_len = ip_len - 20;
    frame[34..42].copy_from_slice(&[0x03, 0xe8, 0, 9, (udp_len >> 8) as u8, udp_len as u8, 0, 0]);
    seal(&mut frame);
    frame
}

/// Puts the right checksum into the IPv4 header of an untagged frame, as far as there is one.
pub(crate) fn seal(frame: &mut [u8]) {
    let header_len = frame.get(14).map_or(0, |byte| (byte & 15) as usize * 4);
    if header_len < 20 || frame.len() < 14 + header_len {
        return;
    }
    frame[24..26].fill(0);
    let sum: u32 = frame[14..14 + header_len].chunks(2).map(|b| u32::from(b[0]) << 8 | u32::from(b[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    frame[24..26].copy_from_slice(&(!folded as u16).to_be_bytes());
}

/// A frame that a router has to survive: sound to begin with, then bent in one or several ways. Most get past the
/// checks of the layer below, so that each layer has its share.
pub fn random_frame(rng: &mut Rng, dst_mac: [u8; 6], src_mac: [u8; 6], src: [u8; 4], dst: [u8; 4]) -> Frame {
    let most = if rng.one_in(4) { 1400 } else { 60 };
    let len = 42 + rng.below(most);
    let to = if rng.one_in(6) { ROUTER } else { dst };
    let mut frame = udp_frame(dst_mac, src_mac, src, to, len);
    rng.fill(&mut frame[42..]);
    if rng.one_in(2) {
        bend_ip_header(rng, &mut frame);
    }
    if rng.one_in(4) {
        insert_options(rng, &mut frame);
    }
    if rng.one_in(3) {
        bend_payload(rng, &mut frame);
    }
    if !rng.one_in(8) {
        seal(&mut frame);
    }
    if rng.one_in(6) {
        bend_ethernet(rng, &mut frame);
    }
    if rng.one_in(6) {
        frame.truncate(14 + rng.below(frame.len() - 13));
    }
    frame
}

fn bend_ip_header(rng: &mut Rng, frame: &mut [u8]) {
    match rng.below(8) {
        0 => frame[14] = rng.bits() as u8,
        1 => frame[16..18].copy_from_slice(&(rng.bits() as u16).to_be_bytes()),
        2 => frame[20..22].copy_from_slice(&(rng.bits() as u16).to_be_bytes()),
        3 => frame[22] = rng.below(3) as u8,
        4 => frame[23] = [1, 2, 6, 17, 47, 89, 255][rng.below(7)],
        5 => frame[26..30].copy_from_slice(&special_address(rng)),
        6 => frame[30..34].copy_from_slice(&special_address(rng)),
        _ => {
            let at = 14 + rng.below(20);
            frame[at] = rng.bits() as u8;
        }
    }
}

fn special_address(rng: &mut Rng) -> [u8; 4] {
    const SPECIAL: [[u8; 4]; 9] = [
        [0, 0, 0, 0],
        [255, 255, 255, 255],
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [240, 0, 0, 1],
        [10, 0, 0, 1],
        [10, 0, 0, 255],
        [10, 0, 1, 255],
        [192, 0, 2, 1],
    ];
    match rng.below(SPECIAL.len() + 2) {
        n if n < SPECIAL.len() => SPECIAL[n],
        _ => (rng.bits() as u32).to_be_bytes(),
    }
}

/// Lengthens the header by up to 40 bytes of options, kinds that are known more often than not.
fn insert_options(rng: &mut Rng, frame: &mut Frame) {
    const KINDS: [u8; 10] = [0, 1, 7, 68, 130, 131, 134, 137, 148, 149];
    let words = 1 + rng.below(10);
    let mut options = vec![0; words * 4];
    rng.fill(&mut options);
    options[0] = KINDS[rng.below(KINDS.len())];
    if rng.one_in(2) {
        options[1] = options.len() as u8;
    }
    if rng.one_in(2) {
        options[2] = 4 + rng.below(40) as u8;
    }
    frame.splice(34..34, options);
    frame[14] = 0x45 + words as u8;
    let ip_len = frame.len() - 14;
    frame[16..18].copy_from_slice(&(ip_len as u16).to_be_bytes());
}

/// Turns the payload into ICMP, or into a UDP or TCP header that lies.
fn bend_payload(rng: &mut Rng, frame: &mut [u8]) {
    let end = frame.len().min(34 + 20);
    rng.fill(&mut frame[34..end]);
    frame[23] = [1, 6, 17][rng.below(3)];
    frame[34] = [0, 3, 5, 8, 11, 12, 13, 255][rng.below(8)];
}

fn bend_ethernet(rng: &mut Rng, frame: &mut Frame) {
    match rng.below(6) {
        0 => frame[..6].fill(0xff),
        1 => frame[0] ^= 1,
        2 => rng.fill(&mut frame[..6]),
        3 => frame[12..14].copy_from_slice(&(rng.bits() as u16).to_be_bytes()),
        4 => {
            frame.splice(12..12, [0x81, 0, rng.bits() as u8, rng.bits() as u8]);
        }
        _ => random_arp(rng, frame),
    }
}

/// ARP whose fixed fields are right more often than not (RFC 826).
fn random_arp(rng: &mut Rng, frame: &mut Frame) {
    frame.resize(42, 0);
    frame[12..14].copy_from_slice(&[0x08, 0x06]);
    frame[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1 + rng.below(2) as u8]);
    rng.fill(&mut frame[22..28]);
    // Nobody the test still wants to talk to.
    frame[28..32].copy_from_slice(&[10, 0, 0, 100 + rng.below(100) as u8]);
    frame[38..42].copy_from_slice(&[10, 0, 0, 1 + rng.below(3) as u8]);
    if rng.one_in(4) {
        let at = 14 + rng.below(28);
        frame[at] = rng.bits() as u8;
    }
}

/// A packet socket bound to one interface.
#[derive(Debug)]
pub struct RawSocket(OwnedFd);

impl RawSocket {
    /// Opens one on `iface` inside a namespace.
    ///
    /// # Panics
    /// If the interface is not there.
    #[track_caller]
    pub fn open(netns: &Netns, iface: &str) -> Self {
        netns.enter(|| {
            let flags = SockFlag::SOCK_CLOEXEC;
            let fd = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll);
            let fd = fd.unwrap_or_else(|why| panic!("packet socket: {why}"));
            let address = link_address(iface).unwrap_or_else(|| panic!("no interface {iface}"));
            bind(fd.as_raw_fd(), &address).unwrap_or_else(|why| panic!("bind to {iface}: {why}"));
            // Room for what arrives while the test is busy sending.
            setsockopt(&fd, RcvBufForce, &RECEIVE_BUFFER)
                .unwrap_or_else(|why| panic!("receive buffer: {why}"));
            RawSocket(fd)
        })
    }

    /// Sends one frame; waits while the interface has no room.
    ///
    /// # Panics
    /// If the kernel refuses the frame.
    pub fn send(&self, frame: &[u8]) {
        let slices = [IoSlice::new(frame)];
        let sent = sendmsg::<LinkAddr>(self.0.as_raw_fd(), &slices, &[], MsgFlags::empty(), None);
        sent.unwrap_or_else(|why| panic!("send {} bytes: {why}", frame.len()));
    }

    /// The next frame that came in, if there is one.
    ///
    /// # Panics
    /// If the interface is gone.
    pub fn receive(&self) -> Option<Frame> {
        let mut frame = vec![0; MAX_FRAME];
        match recv(self.0.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) {
            Ok(len) => {
                frame.truncate(len);
                Some(frame)
            }
            Err(Errno::EAGAIN) => None,
            Err(why) => panic!("receive: {why}"),
        }
    }

    /// For polling.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn link_address(iface: &str) -> Option<LinkAddr> {
    let mut addresses = getifaddrs().ok()?.filter(|entry| entry.interface_name == iface);
    addresses.find_map(|entry| {
        let address = entry.address?;
        (address.family() == Some(AddressFamily::Packet)).then(|| address.as_link_addr().copied())?
    })
}

/// A capture (the libpcap file format).
pub fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
    let mut out = words(&[0xa1b2_c3d4, 0, 0, 0, 65_535, 1]);
    out[4..8].copy_from_slice(&[2u16.to_ne_bytes(), 4u16.to_ne_bytes()].concat());
    for frame in frames {
        out.extend(words(&[0, 0, frame.len() as u32, frame.len() as u32]));
        out.extend(frame);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn checksum(frame: &[u8]) -> u32 {
        let sum: u32 = frame[14..34].chunks(2).map(|b| u32::from(b[0]) << 8 | u32::from(b[1])).sum();
        (sum & 0xffff) + (sum >> 16)
    }

    #[test]
    fn a_plain_frame_has_right_lengths_and_checksum() {
        let frame = udp_frame(MAC, MAC, [10, 0, 0, 2], [10, 0, 1, 2], 60);
        assert_eq!(frame.len(), 60);
        assert_eq!(checksum(&frame), 0xffff);
        assert_eq!(frame[16..18], [0, 46]);
        assert_eq!(frame[38..40], [0, 26]);
    }

    #[test]
    fn random_frames_are_of_every_kind_and_repeat() {
        let frames = |seed| -> Vec<Frame> {
            let mut rng = Rng::new(seed);
            (0..20_000).map(|_| random_frame(&mut rng, MAC, MAC, [10, 0, 0, 2], [10, 0, 1, 2])).collect()
        };
        let made = frames(1);
        assert_eq!(made, frames(1));
        assert_ne!(made, frames(2));
        let count = |what: fn(&Frame) -> bool| made.iter().filter(|frame| what(frame)).count();
        assert!(count(|f| f.len() < 34) > 500, "truncated");
        assert!(count(|f| f[12..14] == [8, 6]) > 300, "ARP");
        assert!(count(|f| f.len() > 34 && f[14] > 0x45 && f[14] < 0x50) > 2000, "options");
        assert!(count(|f| f.len() >= 34 && f[14] == 0x45 && checksum(f) == 0xffff) > 5000, "sound");
        assert!(made.iter().all(|f| f.len() >= 14 && f.len() <= 1514));
    }
}
