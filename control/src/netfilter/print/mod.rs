//! Rules as text: the words `iptables-save` writes, and the columns of `iptables -L`.

mod columns;
mod list;
pub(super) mod rates;
mod save;
mod targets;

pub(super) use columns::{header, row};
pub(super) use save::rule;
