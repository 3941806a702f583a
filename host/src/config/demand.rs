//! How much of its confinement a node insists on.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::ConfigError;

/// What a node does where the kernel cannot confine it, or its workers, in every way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SandboxDemand {
    /// It does not start.
    Require,
    /// It takes what there is, and says what is missing.
    #[default]
    BestEffort,
    /// It does not confine itself. Its workers do all the same.
    Off,
}

impl fmt::Display for SandboxDemand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Require => "require",
            Self::BestEffort => "best-effort",
            Self::Off => "off",
        })
    }
}

impl FromStr for SandboxDemand {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match text {
            "require" => Ok(Self::Require),
            "best-effort" => Ok(Self::BestEffort),
            "off" => Ok(Self::Off),
            _ => Err(ConfigError::InvalidSandboxDemand {
                text: text.to_owned(),
            }),
        }
    }
}
