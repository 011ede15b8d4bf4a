//! The filters of one attachment point: a discipline, a class, or a side of `clsact`.
//!
//! A preference of a chain has one protocol and one kind; the first filter made there decides. Refusals and their texts are
//! the kernel's.

mod kinds;
mod row;
mod u32;

use std::collections::BTreeMap;
use std::sync::Arc;

use skiff_dataplane::net::IfIndex;
use skiff_dataplane::sched::cls::ematch::Tree;
use skiff_dataplane::sched::cls::flow::Flower;
use skiff_dataplane::sched::cls::u32::Node;
use skiff_dataplane::sched::cls::{FilterCells, FilterKind, FilterProgram, FilterSpec, compile};
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::time::Instant;

use super::{Common, FilterCommand, Options, Verb};
use crate::tc::action::table::{ActionRef, ActionTable};
use crate::tc::error::{Errno, TcError};
use crate::tc::request::Devices;

/// First preference that is given when none is asked for; the next is one less.
const AUTO_PREF: u16 = 0xc000;
/// Kinds there are.
const KINDS: [&str; 5] = ["u32", "fw", "matchall", "flower", "basic"];

/// The filters of one attachment point.
#[derive(Clone, Debug, Default)]
pub struct FilterTable {
    /// Chain and preference.
    prefs: BTreeMap<(u32, u16), Pref>,
    /// Tables of u32, the youngest first.
    tables: Vec<u32::Table>,
    /// The number the next table's search begins with.
    next_table: u32,
    /// The age of flower's next set of masks.
    next_age: u64,
}

/// The filters of one preference.
#[derive(Clone, Debug)]
struct Pref {
    protocol: u16,
    kind: String,
    /// In the order packets meet them, where the kind does not decide.
    filters: Vec<Filter>,
    /// fw: the mask all share.
    fw_mask: Option<u32>,
}

/// A filter.
#[derive(Clone, Debug)]
struct Filter {
    handle: u32,
    classid: TcHandle,
    indev: Option<IfIndex>,
    skip_hw: bool,
    skip_sw: bool,
    old_police: bool,
    actions: Vec<ActionRef>,
    body: Body,
    /// Tells most filters of flower apart.
    print: u64,
    cells: Arc<FilterCells>,
}

/// What a filter looks at.
#[derive(Clone, Debug)]
enum Body {
    U32(Node),
    Fw,
    Matchall,
    Flower(Box<Flower>),
    Basic(Option<Tree>),
}

/// What a change needs beside the table.
pub struct Cx<'a> {
    /// All actions.
    pub actions: &'a mut ActionTable,
    /// The devices there are.
    pub devices: &'a dyn Devices,
    /// The time.
    pub now: Instant,
}

impl std::fmt::Debug for Cx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cx").field("now", &self.now).finish_non_exhaustive()
    }
}

impl FilterTable {
    /// Carries out a command that changes filters.
    ///
    /// # Errors
    /// The kernel's refusals as tc writes them.
    pub fn apply(&mut self, command: &FilterCommand, cx: &mut Cx<'_>) -> Result<(), TcError> {
        match command.verb {
            Verb::Add | Verb::Change | Verb::Replace => self.modify(command, cx),
            Verb::Delete => self.delete(command, cx),
            Verb::Get | Verb::Show => Ok(()),
        }
    }

    /// The classes that filters name, once for each.
    pub fn classes(&self) -> Vec<TcHandle> {
        let filters = self.prefs.values().flat_map(|pref| &pref.filters);
        filters.map(|filter| filter.classid).filter(|class| *class != TcHandle::UNSPEC).collect()
    }

    /// True without filters.
    pub fn is_empty(&self) -> bool {
        self.prefs.is_empty()
    }

    /// Removes everything: the attachment point goes away.
    pub fn clear(&mut self, actions: &mut ActionTable) {
        self.prefs.values().flat_map(|pref| &pref.filters).for_each(|f| actions.unbind(&f.actions));
        *self = FilterTable::default();
    }

    fn modify(&mut self, command: &FilterCommand, cx: &mut Cx<'_>) -> Result<(), TcError> {
        let create = command.verb != Verb::Change;
        let chain = command.chain.unwrap_or(0);
        if chain > 0x0fff_ffff {
            return Err(TcError::filter_refused("Specified chain index exceeds upper limit"));
        }
        if command.pref == 0 && !create {
            return Err(TcError::filter_refused("Invalid filter command with priority of zero"));
        }
        let pref = match command.pref {
            0 => self.auto_pref(chain)?,
            pref => pref,
        };
        let key = (chain, pref);
        let made = !self.prefs.contains_key(&key);
        match self.prefs.get(&key) {
            None => self.create_pref(key, command, create)?,
            Some(there) => {
                if command.protocol.is_some_and(|protocol| protocol != there.protocol) {
                    return Err(TcError::filter_refused(
                        "Protocol mismatch for filter with specified priority",
                    ));
                }
                if command.kind.as_ref().is_some_and(|kind| *kind != there.kind) {
                    return Err(TcError::filter_refused("Specified filter kind does not match existing one"));
                }
            }
        }
        let result = self.modify_in(key, command, cx);
        if result.is_err() && made {
            self.remove_pref(key, cx.actions);
        }
        result
    }

    /// The preference for a filter that names none.
    fn auto_pref(&self, chain: u32) -> Result<u16, TcError> {
        let lowest = self.prefs.range((chain, 0x8000)..=(chain, u16::MAX)).next().map(|((_, pref), _)| *pref);
        match lowest {
            None => Ok(AUTO_PREF),
            Some(0x8000) => Err(TcError::filter_errno(Errno::Invalid)),
            Some(lowest) => Ok(lowest - 1),
        }
    }

    fn create_pref(&mut self, key: (u32, u16), command: &FilterCommand, create: bool) -> Result<(), TcError> {
        if command.kind.is_none() || command.protocol.is_none() && create {
            return Err(TcError::filter_refused("Filter kind and protocol must be specified"));
        }
        let (Some(kind), true) = (&command.kind, create) else {
            return Err(TcError::filter_refused(
                "Need both RTM_NEWTFILTER and NLM_F_CREATE to create a new filter",
            ));
        };
        if !KINDS.contains(&kind.as_str()) {
            return Err(TcError::filter_refused("TC classifier not found"));
        }
        if kind == "u32" {
            self.add_root(key)?;
        }
        let protocol = command.protocol.unwrap_or_default();
        let pref = Pref { protocol, kind: kind.clone(), filters: Vec::new(), fw_mask: None };
        self.prefs.insert(key, pref);
        Ok(())
    }

    /// The change in a preference that is there.
    fn modify_in(
        &mut self,
        key: (u32, u16),
        command: &FilterCommand,
        cx: &mut Cx<'_>,
    ) -> Result<(), TcError> {
        let there = self.find(key, command.handle);
        match (there, command.verb) {
            (None, Verb::Change) => Err(TcError::filter_refused(
                "Need both RTM_NEWTFILTER and NLM_F_CREATE to create a new filter",
            )),
            (Some(_), Verb::Add) => Err(TcError::filter_refused("Filter already exists")),
            (there, _) => match &command.options {
                Some(Options::U32(options)) => self.set_u32(key, there, command.handle, options, cx),
                Some(Options::Fw(options)) => self.set_fw(key, there, command.handle, options, cx),
                Some(Options::Matchall(common)) => self.set_matchall(key, command.handle, common, cx),
                Some(Options::Flower(options)) => self.set_flower(key, there, command.handle, options, cx),
                Some(Options::Basic(options)) => self.set_basic(key, there, command.handle, options, cx),
                Some(Options::None) | None => self.set_nothing(key, command.handle),
            },
        }
    }

    /// A filter without options.
    fn set_nothing(&self, key: (u32, u16), handle: u32) -> Result<(), TcError> {
        match self.prefs.get(&key).map(|pref| pref.kind.as_str()) {
            Some("u32") if handle != 0 => {
                Err(TcError::filter_refused("cls_u32: Filter handle requires options"))
            }
            // u32 makes its first table, fw takes marks for classes.
            Some("u32" | "fw") if handle == 0 => Ok(()),
            _ => Err(TcError::filter_errno(Errno::Invalid)),
        }
    }

    /// A filter by number.
    fn find(&self, key: (u32, u16), handle: u32) -> Option<Found> {
        let pref = self.prefs.get(&key)?;
        if handle == 0 {
            return None;
        }
        if pref.kind == "u32" && self.tables.iter().any(|table| table.handle == handle) {
            return Some(Found::Table);
        }
        if pref.kind == "u32" {
            // Numbers of nodes are unique in all preferences.
            let (key, pref) = self.prefs.iter().find(|(_, p)| p.filters.iter().any(|f| is_u32(f, handle)))?;
            return Some(Found::Filter(*key, pref.filters.iter().position(|f| is_u32(f, handle))?));
        }
        Some(Found::Filter(key, pref.filters.iter().position(|f| f.handle == handle)?))
    }

    fn delete(&mut self, command: &FilterCommand, cx: &mut Cx<'_>) -> Result<(), TcError> {
        let chain = command.chain.unwrap_or(0);
        if command.pref == 0 {
            if command.protocol.is_some() || command.handle != 0 || command.kind.is_some() {
                return Err(TcError::filter_refused(
                    "Cannot flush filters with protocol, handle or kind set",
                ));
            }
            if command.chain.is_some() && self.of_chain(chain).is_empty() {
                return Err(TcError::filter_refused("Cannot find specified filter chain"));
            }
            self.of_chain(chain).into_iter().for_each(|key| self.remove_pref(key, cx.actions));
            return Ok(());
        }
        let key = (chain, command.pref);
        let missing = || TcError::filter_refused("Filter with specified priority/protocol not found");
        let pref = self.prefs.get(&key).ok_or_else(missing)?;
        if command.protocol.is_some_and(|protocol| protocol != pref.protocol) {
            return Err(missing());
        }
        if command.kind.as_ref().is_some_and(|kind| *kind != pref.kind) {
            return Err(TcError::filter_refused("Specified filter kind does not match existing one"));
        }
        if command.handle == 0 {
            self.remove_pref(key, cx.actions);
            return Ok(());
        }
        let kind_u32 = pref.kind == "u32";
        match self.find(key, command.handle) {
            None => return Err(TcError::filter_refused("Specified filter handle not found")),
            Some(Found::Table) => self.delete_table(command.handle, cx.actions)?,
            Some(Found::Filter(at, place)) => self.remove_filter(at, place, cx.actions),
        }
        let empty = self.prefs.get(&key).is_some_and(|pref| pref.filters.is_empty());
        let alone = !kind_u32 || self.prefs.values().filter(|pref| pref.kind == "u32").count() == 1;
        if empty && alone {
            self.remove_pref(key, cx.actions);
        }
        Ok(())
    }

    fn of_chain(&self, chain: u32) -> Vec<(u32, u16)> {
        self.prefs.range((chain, 0)..=(chain, u16::MAX)).map(|(key, _)| *key).collect()
    }

    fn remove_filter(&mut self, key: (u32, u16), place: usize, actions: &mut ActionTable) {
        if let Some(pref) = self.prefs.get_mut(&key).filter(|pref| place < pref.filters.len()) {
            actions.unbind(&pref.filters.remove(place).actions);
        }
    }

    fn remove_pref(&mut self, key: (u32, u16), actions: &mut ActionTable) {
        let Some(pref) = self.prefs.remove(&key) else { return };
        pref.filters.iter().for_each(|f| actions.unbind(&f.actions));
        if pref.kind == "u32" {
            self.remove_tables(key, actions);
        }
    }

    /// Makes the filters ready for packets. `qdisc` is the discipline they belong to.
    pub fn compile(&self, qdisc: TcHandle, actions: &ActionTable) -> FilterProgram {
        compile(qdisc, &self.specs(actions))
    }

    fn specs(&self, actions: &ActionTable) -> Vec<FilterSpec> {
        let mut specs = Vec::new();
        for (key, pref) in &self.prefs {
            let spec = |handle, kind| FilterSpec {
                chain: key.0,
                pref: key.1,
                protocol: pref.protocol,
                handle,
                classid: TcHandle::UNSPEC,
                indev: None,
                kind,
                actions: Vec::new(),
                cells: Arc::default(),
            };
            for table in self.tables.iter().filter(|table| table.pref == *key) {
                specs.push(spec(
                    table.handle,
                    FilterKind::U32Table { divisor: table.divisor, root: table.root },
                ));
            }
            if pref.kind == "fw" && pref.fw_mask.is_none() {
                specs.push(spec(0, FilterKind::FwClass));
            }
            for f in pref.filters.iter().filter(|f| !f.skip_sw) {
                let kind = match &f.body {
                    Body::U32(node) => FilterKind::U32(node.clone()),
                    Body::Fw => FilterKind::Fw { mask: pref.fw_mask.unwrap_or(u32::MAX) },
                    Body::Matchall => FilterKind::Matchall,
                    Body::Flower(flower) => FilterKind::Flower(flower.clone()),
                    Body::Basic(tree) => FilterKind::Basic(tree.clone()),
                };
                specs.push(FilterSpec {
                    classid: f.classid,
                    indev: f.indev,
                    actions: actions.actions(&f.actions),
                    cells: Arc::clone(&f.cells),
                    ..spec(f.handle, kind)
                });
            }
        }
        specs
    }
}

/// Where a number was found.
#[derive(Clone, Copy, Debug)]
enum Found {
    /// It is that of a table.
    Table,
    /// The place of a filter in its preference.
    Filter((u32, u16), usize),
}

fn is_u32(filter: &Filter, handle: u32) -> bool {
    matches!(filter.body, Body::U32(_)) && filter.handle == handle
}

impl Pref {
    /// The lowest number nobody has.
    fn free_number(&self) -> u32 {
        let highest = self.filters.iter().map(|f| f.handle).max().unwrap_or(0);
        if highest as usize == self.filters.len() {
            // No gap.
            return highest.saturating_add(1);
        }
        let mut taken: Vec<u32> = self.filters.iter().map(|f| f.handle).collect();
        taken.sort_unstable();
        (1..=u32::MAX).find(|n| taken.binary_search(n).is_err()).unwrap_or(1)
    }

    /// Puts a filter in another's place, with nothing left of that but its number, or behind or before all others.
    fn put(&mut self, there: Option<Found>, filter: Filter, actions: &mut ActionTable, behind: bool) {
        match there {
            Some(Found::Filter(_, at)) => {
                let class = filter.classid;
                self.replace(at, filter, Some(class), actions);
            }
            _ if behind => self.filters.push(filter),
            _ => self.filters.insert(0, filter),
        }
    }

    /// Puts a filter in another's place. Its class stays if none is given, as fw and u32 have it.
    fn replace(&mut self, at: usize, filter: Filter, classid: Option<TcHandle>, actions: &mut ActionTable) {
        let Some(place) = self.filters.get_mut(at) else { return };
        let old = std::mem::replace(place, filter);
        actions.unbind(&old.actions);
        place.handle = old.handle;
        place.classid = classid.unwrap_or(old.classid);
        place.indev = place.indev.or(old.indev);
        place.cells = old.cells;
    }
}

impl Filter {
    fn new(handle: u32, body: Body, common: &Common, cx: &mut Cx<'_>) -> Result<Filter, TcError> {
        Ok(Filter {
            handle,
            classid: common.classid.unwrap_or(TcHandle::UNSPEC),
            indev: None,
            skip_hw: common.skip_hw,
            skip_sw: common.skip_sw,
            old_police: common.old_police,
            actions: cx.actions.bind(&common.actions, cx.now)?,
            body,
            print: 0,
            cells: Arc::default(),
        })
    }
}

fn indev(name: Option<&str>, devices: &dyn Devices) -> Result<Option<IfIndex>, TcError> {
    let unknown = || TcError::filter_refused("Network device not found");
    name.map(|name| devices.index(name).ok_or_else(unknown)).transpose()
}
