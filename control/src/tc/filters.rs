//! `tc filter`, `tc chain` and `tc actions`.

use super::Session;
use super::error::TcError;

/// Carries out a command; `words` are those behind the object.
///
/// # Errors
/// What tc or the kernel would refuse.
pub(super) fn run(_: &mut Session<'_>, object: &str, _: &[String]) -> Result<(), TcError> {
    Err(TcError::refused(format!("tc {object} is not supported")))
}
