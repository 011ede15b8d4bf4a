//! What rules tell the log: LOG, NFLOG and the steps of packets that TRACE marked.

use std::sync::Arc;

use super::rule::TableName;
use super::view::devices;
use crate::core::trace::Step;
use crate::netfilter::hooks::{Hook, HookCx};
use crate::netfilter::nf_log::{HEADER_BYTES, LogMessage, LogSpec, TraceKind, What};
use crate::skb::{Skb, SkbExt, eth, flags};

/// Reports a matching rule, or the policy, of a packet that is traced.
pub(super) fn rule(
    cx: &HookCx<'_, '_>,
    skb: &Skb,
    table: TableName,
    chain: &Arc<str>,
    kind: TraceKind,
    rule: u32,
) {
    let table = super::table_text(table);
    cx.env.trace(skb, || Step::Rule { table, chain: Arc::clone(chain), kind, rule });
    if skb.fields().flags & flags::NF_TRACE != 0 {
        send(cx, skb, What::Trace { table, chain: Arc::clone(chain), kind, rule });
    }
}

/// Reports a packet for a LOG or NFLOG rule.
pub(super) fn log(cx: &HookCx<'_, '_>, skb: &Skb, spec: &Arc<LogSpec>) {
    send(cx, skb, What::Log(Arc::clone(spec)));
}

#[cold]
fn send(cx: &HookCx<'_, '_>, skb: &Skb, what: What) {
    let (iif, oif) = devices(skb, cx.hook);
    let offset = usize::from(skb.fields().network_offset);
    let framed = matches!(cx.hook, Hook::PreRouting | Hook::LocalIn | Hook::Forward);
    let ether =
        skb.data().first_chunk::<{ eth::HEADER_LEN }>().filter(|_| framed && offset >= eth::HEADER_LEN);
    let mut bytes = [0; HEADER_BYTES];
    let taken = skb.network_len().min(HEADER_BYTES);
    let copied = bytes.get_mut(..taken).is_some_and(|to| skb.copy_out(offset, to));
    cx.env.shared.send_log(LogMessage {
        what,
        iif,
        oif,
        mark: skb.fields().mark,
        ether: ether.copied(),
        len: skb.network_len() as u32,
        taken: if copied { taken as u8 } else { 0 },
        bytes,
    });
}
