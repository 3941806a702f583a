//! Where the node keeps its audit log.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// `[audit]` as written: absent means the default, which is on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct AuditTable {
    file: Option<PathBuf>,
    enabled: Option<bool>,
}

impl AuditTable {
    pub(super) fn file(self, data: &Path) -> Option<PathBuf> {
        let file = self.file.unwrap_or_else(|| audit_file(data));
        self.enabled.unwrap_or(true).then_some(file)
    }
}

/// The newest file of the audit log of the node with this data directory, if its configuration names no
/// other.
pub fn audit_file(data: &Path) -> PathBuf {
    data.join("audit").join("audit.jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_on_unless_it_is_off() {
        let file = |text: &str| {
            let table: AuditTable = toml::from_str(text).unwrap();
            table.file(Path::new("d"))
        };
        assert_eq!(file(""), Some("d/audit/audit.jsonl".into()));
        assert_eq!(file("file = '/a/b'"), Some("/a/b".into()));
        assert_eq!(file("file = '/a/b'\nenabled = true"), Some("/a/b".into()));
        assert_eq!(file("file = '/a/b'\nenabled = false"), None);
        assert!(toml::from_str::<AuditTable>("enable = false").is_err());
    }
}
