//! Prints the packets of a queue and lets them go on, but those to an address.
//!
//! `listen SOCKET QUEUE [DROP_ADDRESS]`

use std::net::Ipv4Addr;

use nfqueue::frame::HOOKS;
use nfqueue::{Client, CopyMode, Packet, Settings, Verdict};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, socket, queue, rest @ ..] = args.as_slice() else {
        return Err("usage: listen SOCKET QUEUE [DROP_ADDRESS]".into());
    };
    let queue: u16 = queue.parse()?;
    let unwanted: Option<Ipv4Addr> = rest.first().map(|address| address.parse()).transpose()?;

    let mut client = Client::connect(socket)?;
    let settings =
        Settings { copy_mode: CopyMode::Packet, copy_range: 128, names: true, ..Settings::default() };
    client.bind(queue..=queue, &settings)?;
    loop {
        let packet = client.receive()?;
        let drop = unwanted.is_some() && destination(&packet) == unwanted;
        let (hook, to) = (HOOKS.get(usize::from(packet.hook)).unwrap_or(&"?"), destination(&packet));
        println!("{hook} {} -> {}: {} bytes to {to:?}", packet.iif_name, packet.oif_name, packet.length);
        let verdict = if drop { Verdict::drop } else { Verdict::accept };
        client.verdict(&verdict(queue, packet.id))?;
    }
}

fn destination(packet: &Packet) -> Option<Ipv4Addr> {
    let bytes: [u8; 4] = packet.payload.get(16..20)?.try_into().ok()?;
    Some(Ipv4Addr::from(bytes))
}
