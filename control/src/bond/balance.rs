//! Learning packets: they tell switches where the hardware addresses of members are (balance-tlb and balance-alb).

use skiff_dataplane::net::MacAddr;

/// EtherType of learning packets: nobody takes them.
const ETH_P_LOOPBACK: u16 = 0x9000;
/// Shortest Ethernet frame without its check sequence.
const MIN_FRAME: usize = 60;

/// A frame a member sends to itself.
pub fn learning_packet(mac: MacAddr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(MIN_FRAME);
    frame.extend(mac.0);
    frame.extend(mac.0);
    frame.extend(ETH_P_LOOPBACK.to_be_bytes());
    frame.resize(MIN_FRAME, 0);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learning_packet_goes_to_its_sender() {
        let frame = learning_packet(MacAddr([2, 0, 0, 0, 0, 7]));
        assert_eq!((frame.len(), &frame[..6], &frame[12..14]), (60, &frame[6..12], &[0x90, 0][..]));
    }
}
