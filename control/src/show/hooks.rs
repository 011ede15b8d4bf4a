//! `skiff hooks`.

use serde_json::json;
use skiff_dataplane::core::shared::Shared;
use skiff_dataplane::netfilter::hooks::{Fate, Hook};

use super::table::Table;

/// The functions at each hook in the order they run, and what became of the packets a hook saw.
pub fn hooks(shared: &Shared, json: bool) -> String {
    let rows: Vec<Row> = Hook::ALL.iter().map(|&hook| Row::of(shared, hook)).collect();
    if json { as_json(&rows) } else { as_text(&rows) }
}

/// A hook.
struct Row {
    hook: Hook,
    /// By [`Fate`].
    packets: Vec<u64>,
    functions: Vec<Function>,
}

struct Function {
    priority: i32,
    dev: Option<String>,
    name: String,
}

impl Row {
    fn of(shared: &Shared, hook: Hook) -> Row {
        let snapshot = shared.snapshot();
        let total = |&fate| shared.all_cells().iter().map(|cells| cells.hook(hook, fate).get()).sum();
        let functions = snapshot.hooks.at(hook).iter().map(|entry| Function {
            priority: entry.priority,
            dev: entry.dev.map(|dev| snapshot.device(dev).name.clone()),
            name: entry.function.name().to_owned(),
        });
        Row { hook, packets: Fate::ALL.iter().map(total).collect(), functions: functions.collect() }
    }
}

/// Two tables: a line a hook, and a line a function.
fn as_text(rows: &[Row]) -> String {
    let mut fates = Table::new(1, ["HOOK", "ACCEPT", "DROP", "STOLEN", "QUEUE", "REPEAT"]);
    let mut functions = Table::new(3, ["HOOK", "DEVICE", "FUNCTION", "PRIORITY"]);
    for row in rows {
        let mut cells: [String; 6] = Default::default();
        cells[0] = row.hook.to_string();
        cells[1..].iter_mut().zip(&row.packets).for_each(|(cell, n)| *cell = n.to_string());
        fates.row(cells);
        for f in &row.functions {
            let dev = f.dev.clone().unwrap_or_else(|| "*".to_owned());
            functions.row([row.hook.to_string(), dev, f.name.clone(), f.priority.to_string()]);
        }
    }
    format!("{}\n{}", fates.render(), functions.render())
}

fn as_json(rows: &[Row]) -> String {
    let function = |f: &Function| json!({ "priority": f.priority, "dev": f.dev, "function": f.name });
    let row = |row: &Row| {
        let packets: serde_json::Map<_, _> =
            Fate::ALL.iter().zip(&row.packets).map(|(fate, &n)| (fate.name().to_owned(), n.into())).collect();
        let functions: Vec<_> = row.functions.iter().map(function).collect();
        json!({ "hook": row.hook.name(), "packets": packets, "functions": functions })
    };
    format!("{}\n", serde_json::Value::from(rows.iter().map(row).collect::<Vec<_>>()))
}

const _: () = assert!(Fate::COUNT == 5);
