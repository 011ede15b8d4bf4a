//! Names of disciplines and classes: two 16-bit numbers, `major:minor`.

use std::fmt;

/// The name of a discipline (`major:0`) or of a class (`major:minor`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TcHandle(pub u32);

impl TcHandle {
    /// No name: the disciplines nobody named.
    pub const UNSPEC: TcHandle = TcHandle(0);
    /// Where the root discipline hangs (`TC_H_ROOT`).
    pub const ROOT: TcHandle = TcHandle(0xffff_ffff);
    /// Where the `ingress` and `clsact` disciplines hang (`TC_H_INGRESS`).
    pub const INGRESS: TcHandle = TcHandle(0xffff_fff1);

    /// `major:minor`.
    pub const fn new(major: u16, minor: u16) -> Self {
        TcHandle((major as u32) << 16 | minor as u32)
    }

    /// The discipline's number.
    #[inline]
    pub const fn major(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The class's number; 0 for the discipline itself.
    #[inline]
    pub const fn minor(self) -> u16 {
        self.0 as u16
    }

    /// The discipline a class belongs to.
    #[inline]
    pub const fn qdisc(self) -> TcHandle {
        TcHandle(self.0 & 0xffff_0000)
    }
}

impl fmt::Display for TcHandle {
    /// As tc prints it: `1:`, `1:10`, `:10`, `root`, `none`; hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (*self, self.major(), self.minor()) {
            (TcHandle::ROOT, ..) => f.write_str("root"),
            (TcHandle::UNSPEC, ..) => f.write_str("none"),
            (_, 0, minor) => write!(f, ":{minor:x}"),
            (_, major, 0) => write!(f, "{major:x}:"),
            (_, major, minor) => write!(f, "{major:x}:{minor:x}"),
        }
    }
}
