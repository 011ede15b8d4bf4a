//! Queues: the places where packets wait.
//!
//! All queues of an lcore share one slab of places, made once: a queue is a list of them, so that an empty one costs
//! nothing and a long one no allocation.

use skiff_pmd::prefetch_read;

/// The end of a list.
const NIL: u32 = u32::MAX;

#[derive(Debug)]
struct Place<P> {
    pkt: Option<P>,
    next: u32,
    len: u32,
}

/// The places of an lcore's queues.
#[derive(Debug)]
pub struct PktSlab<P> {
    places: Vec<Place<P>>,
    free: u32,
}

impl<P> PktSlab<P> {
    /// Room for `capacity` packets: those of the pool, so that there is always a place.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.min(NIL as usize);
        let next = |i: usize| if i + 1 == capacity { NIL } else { i as u32 + 1 };
        let places = (0..capacity).map(|i| Place { pkt: None, next: next(i), len: 0 }).collect();
        PktSlab { places, free: if capacity == 0 { NIL } else { 0 } }
    }

    /// True if every place is taken.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.free == NIL
    }
}

/// A queue of packets: the oldest leaves first.
#[derive(Clone, Copy, Debug)]
pub struct Fifo {
    head: u32,
    tail: u32,
    packets: u32,
    bytes: u32,
}

impl Default for Fifo {
    fn default() -> Self {
        Fifo { head: NIL, tail: NIL, packets: 0, bytes: 0 }
    }
}

impl Fifo {
    /// Packets in it.
    #[inline]
    pub fn len(&self) -> u32 {
        self.packets
    }

    /// True without packets.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// Bytes in it.
    #[inline]
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Appends a packet of `len` bytes.
    ///
    /// # Errors
    /// The packet, if the slab has no place, or the queue would hold 4 GiB.
    #[inline]
    pub fn push<P>(&mut self, slab: &mut PktSlab<P>, pkt: P, len: u32) -> Result<(), P> {
        let at = slab.free;
        let (Some(bytes), Some(place)) = (self.bytes.checked_add(len), slab.places.get_mut(at as usize))
        else {
            return Err(pkt);
        };
        slab.free = place.next;
        *place = Place { pkt: Some(pkt), next: NIL, len };
        if let Some(tail) = slab.places.get_mut(self.tail as usize) {
            tail.next = at;
        } else {
            self.head = at;
        }
        self.tail = at;
        self.packets += 1;
        self.bytes = bytes;
        Ok(())
    }

    /// Takes the oldest packet and its length.
    #[inline]
    pub fn pop<P>(&mut self, slab: &mut PktSlab<P>) -> Option<(P, u32)> {
        let at = self.head;
        let place = slab.places.get_mut(at as usize)?;
        let pkt = place.pkt.take()?;
        let (len, next) = (place.len, place.next);
        place.next = slab.free;
        slab.free = at;
        self.head = next;
        if next == NIL {
            self.tail = NIL;
        }
        self.packets -= 1;
        self.bytes -= len;
        Some((pkt, len))
    }

    /// Starts to bring closer what [`pop`](Self::pop) touches.
    #[inline]
    pub fn prefetch_head<P>(&self, slab: &PktSlab<P>) {
        if let Some(place) = slab.places.get(self.head as usize) {
            prefetch_read(place);
        }
    }

    /// Starts to bring closer what [`push`](Self::push) touches.
    #[inline]
    pub fn prefetch_tail<P>(&self, slab: &PktSlab<P>) {
        if let Some(place) = slab.places.get(self.tail as usize) {
            prefetch_read(place);
        }
    }

    /// Length of the oldest packet.
    #[inline]
    pub fn front_len<P>(&self, slab: &PktSlab<P>) -> Option<u32> {
        slab.places.get(self.head as usize).map(|place| place.len)
    }

    /// The oldest packet.
    #[inline]
    pub fn front<'a, P>(&self, slab: &'a PktSlab<P>) -> Option<&'a P> {
        slab.places.get(self.head as usize).and_then(|place| place.pkt.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_share_places_and_give_them_back() {
        let mut slab = PktSlab::new(5);
        let (mut a, mut b) = (Fifo::default(), Fifo::default());
        for round in 0..10u32 {
            for i in 0..3 {
                a.push(&mut slab, round * 10 + i, 100 + i).unwrap();
            }
            for i in 0..2 {
                b.push(&mut slab, round * 10 + 5 + i, 50).unwrap();
            }
            assert!(slab.is_full());
            assert_eq!(a.push(&mut slab, 7, 1), Err(7));
            assert_eq!((a.len(), a.bytes(), b.len(), b.bytes()), (3, 303, 2, 100));
            assert_eq!(a.front_len(&slab), Some(100));
            for i in 0..3 {
                assert_eq!(a.pop(&mut slab), Some((round * 10 + i, 100 + i)));
            }
            for i in 0..2 {
                assert_eq!(b.pop(&mut slab), Some((round * 10 + 5 + i, 50)));
            }
            assert_eq!((a.pop(&mut slab), a.bytes(), a.is_empty()), (None, 0, true));
        }
    }
}
