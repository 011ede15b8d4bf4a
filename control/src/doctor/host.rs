//! The files a check looks at, below a root directory.

use std::fs;
use std::path::{Path, PathBuf};

/// A machine, by its files.
pub(super) struct Host {
    root: PathBuf,
}

impl Host {
    pub(super) fn new(root: impl Into<PathBuf>) -> Host {
        Host { root: root.into() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file, without blanks at its ends.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let bytes = fs::read(self.at(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// The number in a file.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// Names in a directory, sorted.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    /// The value behind `key` in a file of lines `key: value` or `key value`.
    pub(super) fn field(&self, path: &str, key: &str) -> Option<String> {
        let text = self.text(path)?;
        let value = text.lines().find_map(|line| {
            let rest = line.strip_prefix(key)?;
            rest.starts_with([':', ' ', '\t'])
                .then(|| rest.trim_start_matches([':', ' ', '\t']).trim().to_owned())
        });
        value.filter(|value| !value.is_empty())
    }
}

/// The numbers of a list as the kernel writes it, `0-3,8`.
pub(super) fn cpu_list(text: &str) -> Vec<u32> {
    let range = |part: &str| -> Option<Vec<u32>> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some((first.trim().parse().ok()?..=last.trim().parse().ok()?).collect())
    };
    text.split(',').filter_map(range).flatten().collect()
}
