//! Classes come, change and go.

use std::sync::Arc;

use super::class::{Class, LEVELS, Leaf, Mode, NIL};
use super::round::Round;
use super::tree::{Inner, Layers, Tree};
use crate::core::counters::Counter;
use crate::sched::cells::ClassCells;
use crate::sched::params::HtbClassParams;

impl Tree {
    /// A new leaf, below nothing or below an inner class, that may send at once.
    pub(super) fn add(
        &mut self,
        parent: u32,
        params: &HtbClassParams,
        limit: u32,
        cells: Arc<ClassCells>,
        now: u64,
    ) -> u32 {
        let mut class = Class::new(params, parent, now);
        let layers = Layers { rate: params.rate_layer, ceil: params.ceil_layer };
        class.show_tokens(&cells);
        let leaf = Leaf::new(params, limit, cells);
        let at = self.free.pop().unwrap_or(self.classes.len() as u32);
        if let Some(parent) = self.classes.get(parent as usize) {
            class.place = self.adopt(parent.inner, at);
        }
        if at as usize == self.classes.len() {
            self.classes.push(class);
            self.leaves.push(leaf);
            self.layers.push(layers);
            self.rows[0].iter_mut().for_each(|row| row.reserve(self.classes.len()));
            self.wheel.reserve(self.classes.len());
        } else {
            self.classes[at as usize] = class;
            self.leaves[at as usize] = leaf;
            self.layers[at as usize] = layers;
        }
        at
    }

    fn adopt(&mut self, inner: u32, child: u32) -> u32 {
        let Inner { children, left, .. } = &mut self.inners[inner as usize];
        let place = left.pop().unwrap_or(children.len() as u32);
        match children.get_mut(place as usize) {
            Some(at) => *at = child,
            None => children.push(child),
        }
        let most = children.len();
        let feeds = inner as usize * LEVELS;
        self.feeds[feeds..feeds + LEVELS].iter_mut().for_each(|feed| feed.reserve(most));
        place
    }

    /// Takes new limits for a class, and keeps its tokens.
    pub(super) fn change(&mut self, at: u32, params: &HtbClassParams, now: u64, overlimits: &Counter) {
        let active = self.classes[at as usize].active != 0;
        let is_leaf = self.is_leaf(at);
        if active && is_leaf {
            self.deactivate(at);
        }
        self.classes[at as usize].limit(params);
        self.leaves[at as usize].set_quantum(params.quantum);
        self.layers[at as usize] = Layers { rate: params.rate_layer, ceil: params.ceil_layer };
        if active && is_leaf {
            self.activate(at);
        }
        let earned = self.classes[at as usize].earned(now);
        self.update_mode(at, now, earned, overlimits);
    }

    /// Makes a leaf whose queue is empty an inner class. False if it is too deep.
    pub(super) fn make_inner(&mut self, at: u32) -> bool {
        let Some(level) = self.level_as_inner(at) else { return false };
        if self.classes[at as usize].active != 0 {
            self.deactivate(at);
        }
        self.wheel.remove(at);
        let inner = self.free_inners.pop().unwrap_or(self.inners.len() as u32);
        if inner as usize == self.inners.len() {
            self.inners.push(Inner::default());
            self.feeds.resize_with(self.feeds.len() + LEVELS, Round::default);
            let most = self.inners.len();
            self.rows[1..].iter_mut().flatten().for_each(|row| row.reserve(most));
        }
        self.inners[inner as usize].class = at;
        let class = &mut self.classes[at as usize];
        (class.mode, class.level, class.inner) = (Mode::CanSend, level, inner);
        true
    }

    /// The level a leaf would have as an inner class; none if it is too deep for children.
    pub(super) fn level_as_inner(&self, at: u32) -> Option<u8> {
        let parent = self.classes[at as usize].parent;
        let above = self.classes.get(parent as usize).map_or(LEVELS as u8, |parent| parent.level);
        above.checked_sub(1).filter(|&level| level > 0)
    }

    /// Takes away a class without children and without packets. Its parent, if this was the last child, is a leaf again.
    pub(super) fn remove(&mut self, at: u32, now: u64) {
        if self.classes[at as usize].active != 0 {
            self.deactivate(at);
        }
        self.wheel.remove(at);
        let Class { parent, place, .. } = self.classes[at as usize];
        self.free.push(at);
        self.leaves[at as usize].cells = Arc::default();
        if parent == NIL {
            return;
        }
        let number = self.classes[parent as usize].inner;
        let inner = &mut self.inners[number as usize];
        inner.left.push(place);
        if inner.left.len() < inner.children.len() {
            return;
        }
        (inner.children, inner.left) = Default::default();
        self.free_inners.push(number);
        let feeds = number as usize * LEVELS;
        self.feeds[feeds..feeds + LEVELS].iter_mut().for_each(Round::clear);
        self.wheel.remove(parent);
        let class = &mut self.classes[parent as usize];
        (class.level, class.inner, class.active) = (0, NIL, 0);
        class.fill(now);
        class.show_tokens(&self.leaves[parent as usize].cells);
        self.leaves[parent as usize].renew();
    }
}
