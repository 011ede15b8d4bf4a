//! What a show sees of the filters.

use skiff_dataplane::sched::cls::u32::{bucket_of, node_of, table_of};
use skiff_dataplane::time::Instant;

use super::super::FilterCommand;
use super::super::print::{FilterRow, RowBody};
use super::{Body, Filter, FilterTable, Found, Pref};
use crate::tc::action::table::ActionTable;
use crate::tc::error::TcError;

impl FilterTable {
    /// The filters a `show` asks for, in the order the kernel lists them.
    pub fn rows(&self, command: &FilterCommand, actions: &ActionTable, now: Instant) -> Vec<FilterRow> {
        let wanted = |key: &(u32, u16), pref: &Pref| {
            command.chain.is_none_or(|chain| chain == key.0)
                && (command.pref == 0 || command.pref == key.1)
                && command.protocol.is_none_or(|protocol| protocol == pref.protocol)
        };
        let mut rows = Vec::new();
        for (key, pref) in self.prefs.iter().filter(|(key, pref)| wanted(key, pref)) {
            rows.push(head(*key, pref));
            if pref.kind == "u32" {
                self.u32_rows(*key, pref, actions, now, &mut rows);
                continue;
            }
            rows.extend(pref.filters.iter().map(|f| row(*key, pref, f, actions, now)));
        }
        rows
    }

    /// The filter a `get` names.
    ///
    /// # Errors
    /// The kernel's, if it is not there.
    pub fn get(
        &self,
        command: &FilterCommand,
        actions: &ActionTable,
        now: Instant,
    ) -> Result<FilterRow, TcError> {
        let key = (command.chain.unwrap_or(0), command.pref);
        let missing = || TcError::filter_refused("Filter with specified priority/protocol not found");
        let pref = self.prefs.get(&key).ok_or_else(missing)?;
        if command.protocol.is_some_and(|protocol| protocol != pref.protocol) {
            return Err(missing());
        }
        if command.kind.as_ref().is_some_and(|kind| *kind != pref.kind) {
            return Err(TcError::filter_refused("Specified filter kind does not match existing one"));
        }
        let unknown = || TcError::filter_refused("Specified filter handle not found");
        match self.find(key, command.handle).ok_or_else(unknown)? {
            Found::Table => {
                let table = self.tables.iter().find(|t| t.handle == command.handle).ok_or_else(unknown)?;
                Ok(table_row(key, pref, table))
            }
            Found::Filter(at, place) => {
                let filter = self.prefs.get(&at).and_then(|p| p.filters.get(place)).ok_or_else(unknown)?;
                Ok(row(key, pref, filter, actions, now))
            }
        }
    }

    /// Tables, the youngest first, each with its nodes by bucket and number.
    fn u32_rows(
        &self,
        key: (u32, u16),
        pref: &Pref,
        actions: &ActionTable,
        now: Instant,
        rows: &mut Vec<FilterRow>,
    ) {
        for table in self.tables.iter().filter(|table| table.pref == key) {
            rows.push(table_row(key, pref, table));
            let mut nodes: Vec<&Filter> = self
                .prefs
                .values()
                .filter(|pref| pref.kind == "u32")
                .flat_map(|pref| &pref.filters)
                .filter(|f| table_of(f.handle) == table.handle)
                .collect();
            nodes.sort_by_key(|f| (bucket_of(f.handle), node_of(f.handle)));
            rows.extend(nodes.into_iter().map(|f| row(key, pref, f, actions, now)));
        }
    }
}

fn head((chain, pref): (u32, u16), of: &Pref) -> FilterRow {
    FilterRow {
        chain,
        pref,
        protocol: of.protocol,
        kind: of.kind.clone(),
        handle: 0,
        body: RowBody::None,
        classid: Default::default(),
        indev: None,
        skip_hw: false,
        skip_sw: false,
        old_police: false,
        actions: Vec::new(),
        hits: 0,
    }
}

fn table_row(key: (u32, u16), of: &Pref, table: &super::u32::Table) -> FilterRow {
    FilterRow { handle: table.handle, body: RowBody::U32Table(table.divisor), ..head(key, of) }
}

fn row(key: (u32, u16), of: &Pref, f: &Filter, actions: &ActionTable, now: Instant) -> FilterRow {
    FilterRow {
        handle: f.handle,
        body: match &f.body {
            Body::U32(node) => RowBody::U32(node.clone()),
            Body::Fw => RowBody::Fw(of.fw_mask.unwrap_or(u32::MAX)),
            Body::Matchall => RowBody::Matchall,
            Body::Flower(flower) => RowBody::Flower(flower.clone()),
            Body::Basic(tree) => RowBody::Basic(tree.clone()),
        },
        classid: f.classid,
        indev: f.indev,
        skip_hw: f.skip_hw,
        skip_sw: f.skip_sw,
        old_police: f.old_police,
        actions: actions.rows(&f.actions, now),
        hits: f.cells.hits(),
        ..head(key, of)
    }
}
