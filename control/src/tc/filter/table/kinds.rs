//! New and changed filters of the kinds that have no tables.

use std::hash::{DefaultHasher, Hash, Hasher};

use skiff_dataplane::sched::cls::flow::Flower;

use super::super::Common;
use super::super::basic::BasicOptions;
use super::super::flower::FlowerOptions;
use super::super::fw::FwOptions;
use super::{Body, Cx, Filter, FilterTable, Found, indev};
use crate::tc::error::{Errno, TcError};

impl FilterTable {
    pub(super) fn set_fw(
        &mut self,
        key: (u32, u16),
        there: Option<Found>,
        handle: u32,
        options: &FwOptions,
        cx: &mut Cx<'_>,
    ) -> Result<(), TcError> {
        let invalid = || TcError::filter_errno(Errno::Invalid);
        let indev = indev(options.indev.as_deref(), cx.devices)?;
        let pref = self.prefs.get_mut(&key).ok_or_else(invalid)?;
        if handle == 0 && there.is_none() {
            return Err(invalid());
        }
        let mask = options.mask.unwrap_or(u32::MAX);
        if pref.fw_mask.is_some_and(|of_all| of_all != mask) {
            return Err(invalid());
        }
        let mut filter = Filter::new(handle, Body::Fw, &options.common, cx)?;
        filter.indev = indev;
        pref.fw_mask = Some(mask);
        match there {
            Some(Found::Filter(_, at)) => pref.replace(at, filter, options.common.classid, cx.actions),
            _ => pref.filters.push(filter),
        }
        Ok(())
    }

    pub(super) fn set_matchall(
        &mut self,
        key: (u32, u16),
        handle: u32,
        common: &Common,
        cx: &mut Cx<'_>,
    ) -> Result<(), TcError> {
        let Some(pref) = self.prefs.get_mut(&key).filter(|pref| pref.filters.is_empty()) else {
            return Err(TcError::filter_errno(Errno::Exists));
        };
        pref.filters.push(Filter::new(handle.max(1), Body::Matchall, common, cx)?);
        Ok(())
    }

    pub(super) fn set_flower(
        &mut self,
        key: (u32, u16),
        there: Option<Found>,
        handle: u32,
        options: &FlowerOptions,
        cx: &mut Cx<'_>,
    ) -> Result<(), TcError> {
        let mut options = options.clone();
        if let Some(dev) = indev(options.indev.as_deref(), cx.devices)? {
            options.indev(dev);
        }
        let Some(pref) = self.prefs.get_mut(&key) else { return Ok(()) };
        let mut flower = options.flower;
        let print = fingerprint(&flower);
        let same = |f: &Filter| {
            f.print == print && matches!(&f.body, Body::Flower(other) if is_same(other, &flower))
        };
        if pref.filters.iter().any(|f| f.handle != handle && same(f)) {
            return Err(TcError::filter_errno(Errno::Exists));
        }
        let age = pref.filters.iter().find_map(|f| match &f.body {
            Body::Flower(other) if other.same_mask(&flower) => Some(other.age),
            _ => None,
        });
        flower.age = age.unwrap_or_else(|| {
            self.next_age += 1;
            self.next_age
        });
        let number = if handle == 0 { pref.free_number() } else { handle };
        let mut filter = Filter::new(number, Body::Flower(Box::new(flower)), &options.common, cx)?;
        filter.print = print;
        pref.put(there, filter, cx.actions, true);
        pref.filters.sort_by_key(|f| f.handle);
        Ok(())
    }

    pub(super) fn set_basic(
        &mut self,
        key: (u32, u16),
        there: Option<Found>,
        handle: u32,
        options: &BasicOptions,
        cx: &mut Cx<'_>,
    ) -> Result<(), TcError> {
        let Some(pref) = self.prefs.get_mut(&key) else { return Ok(()) };
        let number = if handle == 0 { pref.free_number() } else { handle };
        let filter = Filter::new(number, Body::Basic(options.tree.clone()), &options.common, cx)?;
        pref.put(there, filter, cx.actions, false);
        Ok(())
    }
}

/// Whether two filters of flower compare the same with the same.
fn is_same(a: &Flower, b: &Flower) -> bool {
    a.same_mask(b) && a.words().eq(b.words()) && (a.dst_ports, a.src_ports) == (b.dst_ports, b.src_ports)
}

/// Equal for filters that are the same, and hardly ever for others.
fn fingerprint(flower: &Flower) -> u64 {
    let mut hasher = DefaultHasher::new();
    flower.words().for_each(|word| word.hash(&mut hasher));
    (flower.dst_ports, flower.src_ports).hash(&mut hasher);
    hasher.finish()
}
