//! Hooks, and queues that have listeners.

use std::sync::atomic::Ordering::Relaxed;

use skiff_dataplane::core::shared::Shared;
use skiff_dataplane::netfilter::hooks::{Fate, Hook};

use super::page::{Page, families};

families! {
    HOOK: counter "skiff_hook_packets_total" ["hook", "fate"] =
        "Packets that hook functions let go on, dropped, took, queued or asked to see again.";
    QUEUED: counter "skiff_nfqueue_queued_total" ["queue"] = "Packets numbered for the queue's listener.";
    DROPPED: counter "skiff_nfqueue_dropped_total" ["queue"] = "Packets lost because the queue was full.";
    USER_DROPPED: counter "skiff_nfqueue_user_dropped_total" ["queue"] =
        "Packets lost because the listener's socket took no more.";
    FAILOPEN: counter "skiff_nfqueue_failopen_total" ["queue"] =
        "Packets that went on without a verdict because the queue was full and its listener wants that.";
    WAITING: gauge "skiff_nfqueue_waiting" ["queue"] = "Packets that wait for a verdict.";
}

pub(super) fn collect(page: &mut Page, shared: &Shared) {
    for cells in shared.all_cells() {
        for &hook in Hook::ALL {
            for &fate in Fate::ALL {
                page.add(&HOOK, [hook.name(), fate.name()], cells.hook(hook, fate).get());
            }
        }
    }
    // A queue's numbers begin anew with its listener, as the kernel's do.
    for (num, queue) in &*shared.nf_queues() {
        let num = num.to_string();
        page.add(&QUEUED, [&num], queue.queued.load(Relaxed));
        page.add(&DROPPED, [&num], queue.dropped.load(Relaxed));
        page.add(&USER_DROPPED, [&num], queue.user_dropped.load(Relaxed));
        page.add(&FAILOPEN, [&num], queue.failed_open.load(Relaxed));
        page.set(&WAITING, [&num], f64::from(queue.waiting.load(Relaxed)));
    }
}
