use std::sync::atomic::AtomicU32;
pub(super) type Tbl24 = Box<[AtomicU32; 1 << 24]>;
pub(super) type Tbl8 = Box<[AtomicU32]>;
pub(super) fn tbl24() -> Tbl24 {
    tbl8(1 << 24).try_into().unwrap()
}
pub(super) fn tbl8(n: usize) -> Tbl8 {
    (0..n).map(|_| AtomicU32::new(0)).collect()
}
