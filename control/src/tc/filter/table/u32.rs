//! Tables and nodes of u32.

use skiff_dataplane::sched::cls::u32::{Node, bucket_of, node_of, table_of};

use super::super::u32::U32Options;
use super::{Body, Cx, Filter, FilterTable, Found, indev};
use crate::tc::action::table::ActionTable;
use crate::tc::error::{Errno, TcError};

/// A table of nodes.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) handle: u32,
    pub(super) divisor: u32,
    /// Its preference's searches begin in it.
    pub(super) root: bool,
    /// The preference that shows it.
    pub(super) pref: (u32, u16),
}

fn refused(why: &str) -> TcError {
    TcError::filter_refused(format_args!("cls_u32: {why}"))
}

/// All numbers of tables are taken.
fn no_number() -> TcError {
    TcError::filter_errno(Errno::NoMemory)
}

impl FilterTable {
    /// The first table of a preference: 800: for the first of all, then the next free number.
    pub(super) fn add_root(&mut self, pref: (u32, u16)) -> Result<(), TcError> {
        let handle = match self.tables.is_empty() {
            true => {
                self.next_table = 1;
                0x8000_0000
            }
            false => self.free_table().ok_or_else(no_number)?,
        };
        self.tables.insert(0, Table { handle, divisor: 1, root: true, pref });
        Ok(())
    }

    /// A number for a table: numbers go round before they are given again.
    fn free_table(&mut self) -> Option<u32> {
        let number = |n: u32| (0x800 | n) << 20;
        let round = (self.next_table..0x7ff).chain(1..self.next_table);
        let free = round.into_iter().find(|n| self.table(number(*n)).is_none())?;
        self.next_table = free + 1;
        Some(number(free))
    }

    fn table(&self, handle: u32) -> Option<&Table> {
        self.tables.iter().find(|table| table.handle == table_of(handle))
    }

    pub(super) fn set_u32(
        &mut self,
        key: (u32, u16),
        there: Option<Found>,
        handle: u32,
        options: &U32Options,
        cx: &mut Cx<'_>,
    ) -> Result<(), TcError> {
        match there {
            Some(Found::Table) => Err(refused("Key node id cannot be zero")),
            Some(Found::Filter(at, place)) => self.change_node(at, place, options, cx),
            None if options.divisor.is_some() => self.add_table(key, handle, options.divisor.unwrap_or(1)),
            None => self.add_node(key, handle, options, cx),
        }
    }

    fn add_table(&mut self, key: (u32, u16), handle: u32, divisor: u32) -> Result<(), TcError> {
        if handle & 0xf_ffff != 0 {
            return Err(refused("Divisor can only be used on a hash table"));
        }
        let handle = match handle {
            0 => self.free_table().ok_or_else(no_number)?,
            handle => handle,
        };
        self.tables.insert(0, Table { handle, divisor, root: false, pref: key });
        Ok(())
    }

    fn add_node(
        &mut self,
        key: (u32, u16),
        handle: u32,
        options: &U32Options,
        cx: &mut Cx<'_>,
    ) -> Result<(), TcError> {
        let bucket = match options.bucket {
            Some(bucket) if table_of(bucket) != 0xfff0_0000 && table_of(bucket) != 0 => {
                let table = self.table(bucket).ok_or_else(|| refused("Specified hash table not found"))?;
                if bucket_of(bucket) >= table.divisor {
                    return Err(refused("Specified hash table buckets exceed configured value"));
                }
                bucket
            }
            Some(bucket) if table_of(bucket) == 0 => return Err(refused("Specified hash table not found")),
            _ => self.tables.iter().find(|t| t.root && t.pref == key).map_or(0x8000_0000, |t| t.handle),
        };
        let number = match handle {
            0 => self.free_node(bucket),
            handle if table_of(handle) != 0 && table_of(handle) != table_of(bucket) => {
                return Err(refused("Handle specified hash table address mismatch"));
            }
            handle => bucket | node_of(handle),
        };
        if self.nodes().any(|f| f.handle == number) {
            return Err(TcError::filter_errno(Errno::NoSpace));
        }
        if !options.selects {
            return Err(refused("Selector not specified"));
        }
        let indev = indev(options.indev.as_deref(), cx.devices)?;
        let node = self.node(options)?;
        let mut filter = Filter::new(number, Body::U32(node), &options.common, cx)?;
        filter.indev = indev;
        if let Some(pref) = self.prefs.get_mut(&key) {
            pref.filters.push(filter);
        }
        Ok(())
    }

    fn nodes(&self) -> impl Iterator<Item = &Filter> {
        self.prefs.values().flat_map(|p| &p.filters).filter(|f| matches!(f.body, Body::U32(_)))
    }

    /// The lowest free number from 800 on; the lowest of all if there is none.
    fn free_node(&self, bucket: u32) -> u32 {
        let mut taken: Vec<u32> =
            self.nodes().filter(|f| f.handle & !0xfff == bucket).map(|f| node_of(f.handle)).collect();
        taken.sort_unstable();
        let free = |first: u32| (first..=0xfff).find(|n| taken.binary_search(n).is_err());
        bucket | free(0x800).or_else(|| free(1)).unwrap_or(0xfff)
    }

    fn node(&self, options: &U32Options) -> Result<Node, TcError> {
        let selector = &options.selector;
        Ok(Node {
            keys: selector.keys.clone(),
            terminal: selector.terminal,
            link: self.link(options.link)?.unwrap_or(0),
            hash_mask: selector.hash_mask,
            hash_off: selector.hash_off,
            offset: selector.offset,
            mark: options.mark,
        })
    }

    /// The table a node links to; 0 takes a link away.
    fn link(&self, link: Option<u32>) -> Result<Option<u32>, TcError> {
        match link {
            None => Ok(None),
            Some(0) => Ok(Some(0)),
            Some(link) if link & 0xf_ffff != 0 => Err(refused("Link handle must be a hash table")),
            Some(link) => match self.table(link) {
                None => Err(refused("Link hash table not found")),
                Some(table) if table.root => Err(refused("Not linking to root node")),
                Some(_) => Ok(Some(link)),
            },
        }
    }

    /// Of a node that exists only class, link, device and actions change; what it compares does not.
    fn change_node(
        &mut self,
        key: (u32, u16),
        place: usize,
        options: &U32Options,
        cx: &mut Cx<'_>,
    ) -> Result<(), TcError> {
        let link = self.link(options.link)?;
        let indev = indev(options.indev.as_deref(), cx.devices)?;
        let Some(pref) = self.prefs.get_mut(&key) else { return Ok(()) };
        let Some(old) = pref.filters.get(place) else { return Ok(()) };
        if (old.skip_hw, old.skip_sw) != (options.common.skip_hw, options.common.skip_sw) {
            return Err(refused("Key node flags do not match passed flags"));
        }
        let Body::U32(node) = &old.body else { return Ok(()) };
        let node = Node { link: link.unwrap_or(node.link), ..node.clone() };
        let mut filter = Filter::new(old.handle, Body::U32(node), &options.common, cx)?;
        filter.indev = indev;
        pref.replace(place, filter, options.common.classid, cx.actions);
        Ok(())
    }

    pub(super) fn delete_table(&mut self, handle: u32, actions: &mut ActionTable) -> Result<(), TcError> {
        let Some(at) = self.tables.iter().position(|table| table.handle == handle) else { return Ok(()) };
        if self.tables[at].root {
            return Err(refused("Not allowed to delete root node"));
        }
        let linked = |f: &Filter| matches!(&f.body, Body::U32(node) if node.link == handle);
        if self.nodes().any(linked) {
            return Err(refused("Can not delete in-use filter"));
        }
        self.tables.remove(at);
        self.remove_nodes(handle, actions);
        Ok(())
    }

    fn remove_nodes(&mut self, table: u32, actions: &mut ActionTable) {
        for pref in self.prefs.values_mut().filter(|pref| pref.kind == "u32") {
            pref.filters.retain(|f| {
                let gone = table_of(f.handle) == table;
                if gone {
                    actions.unbind(&f.actions);
                }
                !gone
            });
        }
    }

    /// The tables of a preference that is gone, but those others link to.
    pub(super) fn remove_tables(&mut self, key: (u32, u16), actions: &mut ActionTable) {
        let gone: Vec<u32> = self.tables.iter().filter(|t| t.pref == key).map(|t| t.handle).collect();
        self.tables.retain(|table| table.pref != key);
        for table in gone {
            self.remove_nodes(table, actions);
            for f in self.prefs.values_mut().flat_map(|pref| &mut pref.filters) {
                if let Body::U32(node) = &mut f.body
                    && node.link == table
                {
                    node.link = 0;
                }
            }
        }
    }
}
