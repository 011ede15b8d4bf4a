//! skiff control
