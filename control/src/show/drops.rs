//! `skiff drops`.

use serde_json::json;
use skiff_dataplane::core::shared::Shared;

use super::table::Table;
use crate::drops::rows;

/// What was dropped, where and why, and the balance of all packets. The text has the reasons that have happened, JSON
/// those that may happen too.
pub fn drops(shared: &Shared, json: bool) -> String {
    if json { as_json(shared) } else { as_text(shared) }
}

fn as_text(shared: &Shared) -> String {
    let mut table = Table::new(2, ["NODE", "REASON", "PACKETS", "BYTES"]);
    for row in rows(shared).into_iter().filter(|row| row.packets > 0) {
        table.row([
            row.node.to_string(),
            row.reason.to_string(),
            row.packets.to_string(),
            row.bytes.to_string(),
        ]);
    }
    let l = shared.ledger();
    format!(
        "{}rx {} + created {} = tx {} + dropped {} + delivered {} + held {}\n",
        table.render(),
        l.rx,
        l.created,
        l.tx,
        l.dropped,
        l.delivered,
        l.held()
    )
}

fn as_json(shared: &Shared) -> String {
    let l = shared.ledger();
    let drop = |row: crate::drops::DropRow| {
        json!({
            "node": row.node.name(), "reason": row.reason.name(), "packets": row.packets, "bytes": row.bytes,
        })
    };
    let drops: Vec<_> = rows(shared).into_iter().map(drop).collect();
    let ledger = json!({
        "rx": l.rx, "created": l.created, "tx": l.tx, "dropped": l.dropped, "delivered": l.delivered,
        "held": l.held(),
    });
    format!("{}\n", json!({ "drops": drops, "ledger": ledger }))
}
