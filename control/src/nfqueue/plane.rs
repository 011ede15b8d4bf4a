//! What the server asks of the data plane; a trait, so that the server is tested without one.

use std::collections::BTreeMap;
use std::sync::Arc;

use nfqueue::{Action, CopyMode, Packet, Settings};
use skiff_dataplane::core::drop_reason::DropReason;
use skiff_dataplane::core::shared::{Shared, ToLcore};
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::netfilter::hooks::{Hook, node_of};
use skiff_dataplane::netfilter::mangle::{copy_payload, hw_protocol, payload_offset, replace_payload};
use skiff_dataplane::netfilter::queue::{NfQueue, QueueVerdict, Queued, Reinject, nf_queue_drop};
use skiff_dataplane::skb::SkbExt;
use skiff_dataplane::skb::eth::EthHeader;
use skiff_pmd::Pool;

use crate::observe::capture::tap_freed;

/// Of the packet pool, what may wait for listeners: a listener that sleeps must not starve the receive rings.
const HELD_SHARE: u32 = 4;

/// Why a packet is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A verdict, or none could come.
    Dropped,
    /// The router stops.
    Shutdown,
}

/// Where queued packets come from and go to.
pub(super) trait Plane: Send + 'static {
    /// A packet that waits.
    type Held: Send;

    /// How lcores wake the server.
    fn wake_by(&self, wake: Box<dyn Fn() + Send + Sync>);
    /// Called before the server sleeps: whether it may, see [`Shared::listeners_may_sleep`].
    fn may_sleep(&self) -> bool;
    /// Most packets that may wait in all queues together.
    fn capacity(&self) -> usize;
    /// The queues that have a listener from now on.
    fn publish(&mut self, queues: BTreeMap<u16, Arc<NfQueue>>);
    /// The next packet that was queued.
    fn arrived(&mut self) -> Option<(Arc<NfQueue>, Self::Held)>;
    /// What the listener is told of a packet; queue and number are still to be filled in.
    fn describe(&self, held: &Self::Held, settings: &Settings) -> Packet;
    /// Sets the mark.
    fn set_mark(&mut self, held: &mut Self::Held, mark: u32);
    /// Puts another payload into the packet; false if it cannot travel on so.
    fn replace(&mut self, held: &mut Self::Held, payload: &[u8]) -> bool;
    /// Gives the packet back to its lcore.
    fn reinject(&mut self, held: Self::Held, action: Action);
    /// Frees the packet.
    fn free(&mut self, held: Self::Held, end: End);
}

/// The running data plane.
pub(super) struct DataPlane {
    shared: Arc<Shared>,
    pool: Pool,
}

impl DataPlane {
    pub(super) fn new(shared: Arc<Shared>, pool: Pool) -> DataPlane {
        DataPlane { shared, pool }
    }

    fn name(&self, dev: u16) -> String {
        if dev == 0 { String::new() } else { self.shared.snapshot().device(IfIndex(dev)).name.clone() }
    }

    fn drop_for(&self, queued: Queued, reason: DropReason) {
        tap_freed(&self.shared, &queued.skb, node_of(queued.resume.hook), reason);
        nf_queue_drop(self.shared.listener_cells(), queued.resume.hook, queued.skb, reason);
    }
}

impl Plane for DataPlane {
    type Held = Queued;

    fn wake_by(&self, wake: Box<dyn Fn() + Send + Sync>) {
        self.shared.wake_listeners_by(wake);
    }

    fn may_sleep(&self) -> bool {
        self.shared.listeners_may_sleep()
    }

    fn capacity(&self) -> usize {
        (self.pool.capacity() / HELD_SHARE) as usize
    }

    fn publish(&mut self, queues: BTreeMap<u16, Arc<NfQueue>>) {
        self.shared.set_nf_queues(queues);
    }

    fn arrived(&mut self) -> Option<(Arc<NfQueue>, Queued)> {
        self.shared.receive_nf_queued().map(|queued| (Arc::clone(&queued.queue), queued))
    }

    fn describe(&self, held: &Queued, settings: &Settings) -> Packet {
        let (hook, skb) = (held.resume.hook, &held.skb);
        let fields = skb.fields();
        let oif = if knows_oif(hook) { fields.oif } else { 0 };
        let mac = (fields.iif != 0 && has_received_header(hook))
            .then(|| EthHeader::parse(skb.data()).map(|header| header.src().0))
            .flatten();
        let mut packet = Packet {
            hook: hook as u8,
            hw_protocol: hw_protocol(hook, skb),
            mac,
            iif: fields.iif,
            oif,
            mark: fields.mark,
            priority: fields.priority,
            length: skb.len().saturating_sub(payload_offset(hook, skb)) as u32,
            timestamp: self.shared.wall_origin_millis * 1_000_000 + held.at.as_nanos(),
            ..Packet::default()
        };
        if settings.names {
            (packet.iif_name, packet.oif_name) = (self.name(fields.iif), self.name(oif));
        }
        if settings.copy_mode == CopyMode::Packet {
            copy_payload(hook, skb, settings.copy_range as usize, &mut packet.payload);
        }
        packet
    }

    fn set_mark(&mut self, held: &mut Queued, mark: u32) {
        held.skb.fields_mut().mark = mark;
    }

    fn replace(&mut self, held: &mut Queued, payload: &[u8]) -> bool {
        let oif = IfIndex(held.skb.fields().oif);
        let mtu = self.shared.snapshot().device(oif).mtu as usize;
        replace_payload(held.resume.hook, &mut held.skb, &self.pool, payload, mtu).is_ok()
    }

    fn reinject(&mut self, held: Queued, action: Action) {
        let Queued { skb, queue, lcore, resume, at } = held;
        let verdict = match action {
            Action::Drop => {
                return self.drop_for(Queued { skb, queue, lcore, resume, at }, DropReason::NetfilterDrop);
            }
            Action::Accept => QueueVerdict::Accept,
            Action::Repeat => QueueVerdict::Repeat,
            Action::Queue(num) => QueueVerdict::Queue(num),
        };
        let message = ToLcore::NfReinject(Reinject { skb, resume, verdict });
        if let Err(ToLcore::NfReinject(Reinject { skb, .. })) = self.shared.send_to_lcore(lcore, message) {
            self.drop_for(Queued { skb, queue, lcore, resume, at }, DropReason::PuntFull);
        }
    }

    fn free(&mut self, held: Queued, end: End) {
        self.drop_for(
            held,
            match end {
                End::Dropped => DropReason::NetfilterDrop,
                End::Shutdown => DropReason::Shutdown,
            },
        );
    }
}

/// Whether packets have their way out at `hook`.
fn knows_oif(hook: Hook) -> bool {
    !matches!(hook, Hook::PreRouting | Hook::LocalIn | Hook::L2Input)
}

/// Whether packets from outside still have the Ethernet header they came with at `hook`.
fn has_received_header(hook: Hook) -> bool {
    !matches!(hook, Hook::LocalOut | Hook::L2Enqueue | Hook::L2Dequeue)
}
