//! What a packet costs at which rate.

use super::*;

fn alone(rate: f64, layer: LinkLayer, len: u32) -> f64 {
    Sim::new().class(0, 10, mbit(rate).layer(layer)).rate(len, 10)
}

#[test]
fn rates_from_100_kbit_to_1_gbit() {
    let plain = LinkLayer::default();
    near(&[alone(10.0, plain, 64)], &[10.0], 0.1);
    near(&[alone(1.0, plain, FRAME)], &[1.0], 0.2);
    near(&[alone(0.1, plain, FRAME)], &[0.1], 1.6);
    near(&[alone(200.0, plain, FRAME)], &[200.0], 0.1);
    let mut sim = Sim::new().class(0, 10, mbit(1000.0));
    sim.fill(10, FRAME, 20);
    near(&sim.measure(SECOND / 10, SECOND, &[10]), &[1000.0], 0.1);
}

#[test]
fn overhead_least_size_and_cells() {
    let line = LinkLayer { overhead: 24, mpu: 84, atm: false };
    near(&[alone(10.0, line, 60)], &[10.0 * 60.0 / 84.0], 0.1);
    near(&[alone(10.0, line, 1514)], &[10.0 * 1514.0 / 1538.0], 0.1);
    let least = LinkLayer { overhead: 0, mpu: 84, atm: false };
    near(&[alone(10.0, least, 60)], &[10.0 * 60.0 / 84.0], 0.1);
    let atm = LinkLayer { overhead: 0, mpu: 0, atm: true };
    near(&[alone(10.0, atm, 60)], &[10.0 * 60.0 / 106.0], 0.1);
    let atm = LinkLayer { overhead: 10, mpu: 0, atm: true };
    near(&[alone(10.0, atm, 1000)], &[10.0 * 1000.0 / 1166.0], 0.1);
}

#[test]
fn rate_and_ceiling_may_be_charged_differently() {
    let mut params = mbit(10.0);
    params.ceil_layer = LinkLayer { overhead: 24, mpu: 84, atm: false };
    near(&[Sim::new().class(0, 10, params).rate(60, 10)], &[10.0 * 60.0 / 84.0], 0.1);
}

#[test]
fn small_packets_at_high_rates() {
    for rate in [10_000.0, 25_000.0, 100_000.0, 400_000.0] {
        let mut sim = Sim::new().class(0, 10, mbit(rate));
        sim.link = Some(125_000_000_000);
        sim.fill(10, 64, 32);
        // As a poll every 500 ns does it: the clock stands still during a burst.
        let (mut bytes, window) = (0, 4 * MS);
        let burst = |sim: &mut Sim| {
            let mut sum = 0;
            while let Ok(pkt) = sim.take() {
                sum += u64::from(pkt.len);
                sim.send(TcHandle(pkt.priority), pkt.len);
            }
            sum
        };
        burst(&mut sim);
        while sim.world.now < window {
            sim.world.now += 500;
            bytes += burst(&mut sim);
        }
        near(&[bytes as f64 * 8.0 / window as f64 * 1000.0], &[rate], 0.02);
    }
}
