//! `skiff nfqueue`.

use std::sync::atomic::Ordering::Relaxed;

use serde_json::json;
use skiff_dataplane::core::shared::Shared;
use skiff_dataplane::netfilter::queue::NfQueue;

/// A line for each queue that has a listener, as the kernel's `/proc/net/netfilter/nfnetlink_queue` has it. The second
/// column is the listener's process.
pub fn nfqueue(shared: &Shared, json: bool) -> String {
    let queues = shared.nf_queues();
    if json {
        let rows: Vec<_> = queues.values().map(|queue| as_json(queue)).collect();
        return format!("{}\n", serde_json::Value::from(rows));
    }
    queues.values().map(|queue| line(queue)).collect()
}

fn line(q: &NfQueue) -> String {
    format!(
        "{:5} {:6} {:5} {:1} {:5} {:5} {:5} {:8} {:2}\n",
        q.num,
        q.peer.load(Relaxed),
        q.waiting.load(Relaxed),
        q.copy_mode.load(Relaxed),
        q.copy_range.load(Relaxed),
        q.dropped.load(Relaxed),
        q.user_dropped.load(Relaxed),
        id_sequence(q),
        1,
    )
}

fn as_json(q: &NfQueue) -> serde_json::Value {
    json!({
        "queue_number": q.num,
        "peer_portid": q.peer.load(Relaxed),
        "queue_total": q.waiting.load(Relaxed),
        "copy_mode": q.copy_mode.load(Relaxed),
        "copy_range": q.copy_range.load(Relaxed),
        "queue_dropped": q.dropped.load(Relaxed),
        "user_dropped": q.user_dropped.load(Relaxed),
        "id_sequence": id_sequence(q),
        "queue_maxlen": q.maxlen.load(Relaxed),
        "fail_open": q.fail_open.load(Relaxed),
        "failopen": q.failed_open.load(Relaxed),
    })
}

/// The kernel's is 32 bits wide.
fn id_sequence(q: &NfQueue) -> u32 {
    q.queued.load(Relaxed) as u32
}
