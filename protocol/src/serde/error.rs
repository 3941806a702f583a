//! The error of both directions, whose path grows on its way out.

use std::fmt;

use serde::{de, ser};

use crate::cbor::SyntaxError;
use crate::value::ValueError;

/// A problem at a place. What is right never pays for the path: each level adds its own part while
/// the error passes through it.
#[derive(Debug)]
pub(super) struct Misfit {
    path: String,
    problem: String,
}

impl Misfit {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Misfit {
            path: String::new(),
            problem: problem.into(),
        }
    }

    pub(super) fn in_field(mut self, name: &str) -> Self {
        self.path.insert_str(0, name);
        self.path.insert(0, '.');
        self
    }

    pub(super) fn in_index(mut self, index: usize) -> Self {
        self.path.insert_str(0, &format!("[{index}]"));
        self
    }

    pub(super) fn at_root(self, root: &str) -> ValueError {
        ValueError {
            path: root.to_owned() + &self.path,
            problem: self.problem,
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)
    }
}

impl std::error::Error for Misfit {}

impl From<SyntaxError> for Misfit {
    fn from(error: SyntaxError) -> Self {
        Misfit::new(error.to_string())
    }
}

impl ser::Error for Misfit {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Misfit::new(problem.to_string())
    }
}

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Misfit::new(problem.to_string())
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        // Text and bytes may be long, and are not shown.
        let found = match found {
            de::Unexpected::Str(_) => de::Unexpected::Other("text"),
            de::Unexpected::Bytes(_) => de::Unexpected::Other("bytes"),
            de::Unexpected::Unit => de::Unexpected::Other("null"),
            de::Unexpected::Seq => de::Unexpected::Other("array"),
            other => other,
        };
        Misfit::new(format!("expected {expected}, got {found}"))
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Misfit::new(format!("expected {expected}, got {found}"))
    }

    fn invalid_length(length: usize, expected: &dyn de::Expected) -> Self {
        Misfit::new(format!("expected {expected}, got {length} elements"))
    }

    fn missing_field(name: &'static str) -> Self {
        Misfit::new(format!("missing field `{}`", super::name::kebab(name)))
    }

    fn duplicate_field(name: &'static str) -> Self {
        Misfit::new(format!("field `{}` given twice", super::name::kebab(name)))
    }
}
