//! Safe poll-mode drivers over DPDK.
