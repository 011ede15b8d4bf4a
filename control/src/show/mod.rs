//! What the `skiff` commands that show state print: a text to read, or one line of JSON.

mod drops;
mod hooks;
mod lcores;
mod mem;
mod nfqueue;
mod nstat;
pub(crate) mod table;
#[cfg(test)]
mod tests;
mod vlan;

pub use drops::drops;
pub use hooks::hooks;
pub use lcores::lcores;
pub use mem::mem;
pub use nfqueue::nfqueue;
pub use nstat::nstat;
pub use vlan::vlans;

/// A share in per cent, `-` of nothing.
fn percent(part: u64, whole: u64) -> String {
    quotient(part as f64 * 100.0, whole).map_or("-".to_owned(), |p| format!("{p:.1}%"))
}

/// `a / b`, `None` if there is no such number.
fn quotient(a: f64, b: u64) -> Option<f64> {
    (b > 0).then(|| a / b as f64)
}
