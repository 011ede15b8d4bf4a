//! The daemon itself: what it is, since when, and what became of its configurations.

use super::flag;
use super::page::{Page, families};
use crate::facts::Facts;

families! {
    BUILD_INFO: gauge "skiff_build_info" ["version", "revision", "rustc", "dpdk"] =
        "Build information; value is always 1.";
    START_TIME: gauge "skiff_start_time_seconds" [] = "Unix time at which the daemon started.";
    LAST_APPLY: gauge "skiff_config_last_apply_timestamp_seconds" [] =
        "Unix time of the last successful configuration apply.";
    LAST_APPLY_OK: gauge "skiff_config_last_apply_success" [] =
        "1 if the last configuration apply succeeded, 0 if it was refused or rolled back.";
    APPLIES: counter "skiff_config_applies_total" ["result"] =
        "Configuration applies by result (applied, refused, rolled_back).";
    GENERATION: gauge "skiff_config_generation" [] = "Generation number of the running configuration.";
    FEATURE: gauge "skiff_feature_enabled" ["feature"] =
        "1 if an optional fast path or mode is active (hugepages, vfio, rx_interrupt).";
}

pub(super) fn collect(page: &mut Page, generation: u64, facts: &Facts) {
    let build = &facts.build;
    page.set(&BUILD_INFO, [&build.version, &build.revision, &build.rustc, &build.dpdk], 1.0);
    page.set(&START_TIME, [], facts.start_time);
    let config = &facts.config;
    page.set(&LAST_APPLY, [], config.applied_at);
    page.set(&LAST_APPLY_OK, [], flag(config.last_ok));
    page.add(&APPLIES, ["applied"], config.applied);
    page.add(&APPLIES, ["refused"], config.refused);
    page.add(&APPLIES, ["rolled_back"], config.rolled_back);
    page.set(&GENERATION, [], generation as f64);
    for &(feature, on) in &facts.features {
        page.set(&FEATURE, [feature], flag(on));
    }
}
