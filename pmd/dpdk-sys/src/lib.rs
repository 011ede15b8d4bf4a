//! Raw bindings to DPDK: an explicit list of its functions and structures, and a C shim for what DPDK
//! offers only as inline functions. Everything is `unsafe` and documented by DPDK itself; the safe face
//! is `skiff-pmd`.

mod mbuf;

pub use mbuf::rte_mbuf;

#[allow(missing_docs, non_camel_case_types, non_upper_case_globals, non_snake_case)]
#[allow(unnecessary_transmutes, clippy::all, clippy::undocumented_unsafe_blocks)]
#[allow(clippy::multiple_unsafe_ops_per_block)]
mod bindings {
    use crate::mbuf::rte_mbuf;

    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use bindings::*;
