//! Directories of the machine that the operator gives to tenants: `[volumes.NAME]`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;

use super::{ConfigError, Limits};
use crate::volume::{HostDirectory, Tenants, Usage, VolumeName};

/// As many as anybody has a use for.
const MAX_VOLUMES: usize = 256;

/// `[volumes.NAME]` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct VolumeTable {
    path: PathBuf,
    access: AccessText,
    tenants: TenantsText,
    quota_bytes: Option<u64>,
    max_files: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AccessText {
    Ro,
    Rw,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "`tenants` is \"all\" or a list of names")]
enum TenantsText {
    All(All),
    Named(BTreeSet<String>),
}

#[derive(Debug, Deserialize)]
enum All {
    #[serde(rename = "all")]
    All,
}

/// The volumes of the operator.
pub(super) fn resolve(
    tables: BTreeMap<String, VolumeTable>,
    limits: &Limits,
) -> Result<BTreeMap<VolumeName, HostDirectory>, ConfigError> {
    if tables.len() > MAX_VOLUMES {
        return Err(ConfigError::TooManyVolumes { limit: MAX_VOLUMES });
    }
    let volume = |(name, table): (String, VolumeTable)| match table.directory(limits) {
        Ok(directory) => match name.parse() {
            Ok(name) => Ok((name, directory)),
            Err(error) => Err(invalid(name, &format!("{error}"))),
        },
        Err(reason) => Err(invalid(name, reason)),
    };
    tables.into_iter().map(volume).collect()
}

fn invalid(volume: String, reason: &str) -> ConfigError {
    ConfigError::InvalidVolume {
        volume,
        reason: reason.to_owned(),
    }
}

impl VolumeTable {
    fn directory(self, limits: &Limits) -> Result<HostDirectory, &'static str> {
        if !self.path.is_absolute() {
            return Err("`path` has to begin with `/`");
        }
        let quota = match (self.access, self.quota_bytes, self.max_files) {
            (AccessText::Ro, None, None) => None,
            (AccessText::Ro, ..) => {
                return Err("a volume that is only read has no quota; leave it out");
            }
            (AccessText::Rw, None, _) => {
                return Err("a volume that may be changed needs a `quota-bytes`");
            }
            (AccessText::Rw, Some(0), _) | (AccessText::Rw, _, Some(0)) => {
                return Err("a quota is at least 1");
            }
            (AccessText::Rw, Some(bytes), files) => Some(Usage {
                bytes,
                files: files.unwrap_or(limits.max_files_per_volume),
            }),
        };
        let tenants = match self.tenants {
            TenantsText::All(All::All) => Tenants::All,
            TenantsText::Named(names) if names.is_empty() => {
                return Err("`tenants` names nobody; leave the volume out");
            }
            TenantsText::Named(names) => Tenants::Named(names),
        };
        Ok(HostDirectory {
            path: self.path,
            quota,
            tenants,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Result<BTreeMap<VolumeName, HostDirectory>, String> {
        let tables: BTreeMap<String, VolumeTable> =
            toml::from_str(text).map_err(|error| error.to_string())?;
        resolve(tables, &Limits::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_volume_says_where_for_whom_and_how_much() {
        let volumes = resolved(
            r#"
            [corpus]
            path = "/srv/corpus"
            access = "ro"
            tenants = "all"
            [drop-box]
            path = "/srv/in"
            access = "rw"
            tenants = ["a", "b"]
            quota-bytes = 1000
            "#,
        )
        .unwrap();
        let volumes: Vec<_> = volumes.into_values().collect();
        let named = ["a", "b"].map(str::to_owned).into();
        assert_eq!(
            volumes,
            [
                HostDirectory {
                    path: "/srv/corpus".into(),
                    quota: None,
                    tenants: Tenants::All,
                },
                HostDirectory {
                    path: "/srv/in".into(),
                    quota: Some(Usage {
                        bytes: 1000,
                        files: Limits::default().max_files_per_volume,
                    }),
                    tenants: Tenants::Named(named),
                },
            ]
        );
    }

    #[test]
    fn a_volume_that_leaves_something_open_is_refused() {
        let whole = [
            ("path", "'/srv/x'"),
            ("access", "'rw'"),
            ("tenants", "'all'"),
            ("quota-bytes", "1"),
        ];
        let with = |name: &str, changed: Option<(&str, &str)>| {
            let lines = whole.iter().filter_map(|(key, value)| match changed {
                Some((other, "")) if other == *key => None,
                Some((other, value)) if other == *key => Some(format!("{key} = {value}\n")),
                _ => Some(format!("{key} = {value}\n")),
            });
            format!("[{name}]\n{}", lines.collect::<String>())
        };
        resolved(&with("x", None)).unwrap();
        for (text, said) in [
            (with("x", Some(("path", ""))), "missing field `path`"),
            (
                with("x", Some(("path", "'srv'"))),
                "`path` has to begin with `/`",
            ),
            (with("x", Some(("access", ""))), "missing field `access`"),
            (with("x", Some(("access", "'w'"))), "unknown variant `w`"),
            (with("x", Some(("access", "'ro'"))), "has no quota"),
            (with("x", Some(("tenants", ""))), "missing field `tenants`"),
            (
                with("x", Some(("tenants", "'*'"))),
                "\"all\" or a list of names",
            ),
            (with("x", Some(("tenants", "[]"))), "names nobody"),
            (
                with("x", Some(("quota-bytes", ""))),
                "needs a `quota-bytes`",
            ),
            (with("x", Some(("quota-bytes", "0"))), "at least 1"),
            (with("X", None), "a letter first"),
            (with("'../x'", None), "a letter first"),
            (
                format!("{}more = 1", with("x", None)),
                "unknown field `more`",
            ),
        ] {
            let refused = resolved(&text).unwrap_err();
            assert!(refused.contains(said), "{text}\n{refused}");
        }
    }
}
