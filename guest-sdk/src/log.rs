//! Lines in the node's log.
//!
//! The host marks each line with the tenant, the name and the call that it came from; a module
//! only says what happened. Long lines are cut and floods are thinned by the host. The module needs
//! the grant `log` (`rpc-host upload … --grant log`); without it, a call that logs ends with an error
//! that says so.
//!
//! ```
//! use rpc_guest::log;
//!
//! # let (order, total) = (17, 99.5);
//! log::info("a plain line");
//! log::info!("order {order} accepted");
//! log::warn!("order {order} is large"; total = total, currency = "EUR");
//! ```
//!
//! After the `;` stand values that a reader of the log may want to search for: names, and
//! anything that implements [`Display`](std::fmt::Display). Names are best in kebab-case as
//! elsewhere in WIT; an underscore is written as `-`.
//!
//! On another machine than the host's sandbox, as in a unit test, lines go to standard error.

use std::fmt;

pub use crate::{
    __log_debug as debug, __log_error as error, __log_info as info, __log_trace as trace,
    __log_warn as warn,
};

/// How much a line matters, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Every step, for following a single call.
    Trace,
    /// For finding a fault.
    Debug,
    /// What an operator wants to know.
    Info,
    /// Something is not as it should be, and the work goes on.
    Warn,
    /// Some work could not be done.
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        })
    }
}

/// Write one line with named values.
///
/// The functions and macros called like the levels are shorter to write.
pub fn write(level: Level, message: &str, fields: &[(&str, &dyn fmt::Display)]) {
    sink::write(level, message, fields);
}

macro_rules! level_functions {
    ($($(#[$docs:meta])* $name:ident = $level:ident;)*) => {
        $(
            $(#[$docs])*
            pub fn $name(message: &str) {
                write(Level::$level, message, &[]);
            }
        )*
    };
}

level_functions! {
    /// Write a line at [`Level::Trace`].
    trace = Trace;
    /// Write a line at [`Level::Debug`].
    debug = Debug;
    /// Write a line at [`Level::Info`].
    info = Info;
    /// Write a line at [`Level::Warn`].
    warn = Warn;
    /// Write a line at [`Level::Error`].
    error = Error;
}

/// Common form of the macros called like the levels.
#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $format:literal $(, $argument:expr)* $(,)?) => {
        $crate::__log!($level, $format $(, $argument)*;)
    };
    (
        $level:ident,
        $format:literal $(, $argument:expr)*;
        $($key:ident = $value:expr),* $(,)?
    ) => {
        $crate::log::write(
            $crate::log::Level::$level,
            &::std::format!($format $(, $argument)*),
            &[$((::core::stringify!($key), &$value)),*],
        )
    };
}

/// Write a line at [`Level::Trace`](crate::log::Level::Trace), formatted, with named values.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_trace { ($($line:tt)*) => { $crate::__log!(Trace, $($line)*) }; }

/// Write a line at [`Level::Debug`](crate::log::Level::Debug), formatted, with named values.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug { ($($line:tt)*) => { $crate::__log!(Debug, $($line)*) }; }

/// Write a line at [`Level::Info`](crate::log::Level::Info), formatted, with named values.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info { ($($line:tt)*) => { $crate::__log!(Info, $($line)*) }; }

/// Write a line at [`Level::Warn`](crate::log::Level::Warn), formatted, with named values.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn { ($($line:tt)*) => { $crate::__log!(Warn, $($line)*) }; }

/// Write a line at [`Level::Error`](crate::log::Level::Error), formatted, with named values.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error { ($($line:tt)*) => { $crate::__log!(Error, $($line)*) }; }

/// A name as the log shows it.
fn kebab(key: &str) -> String {
    key.trim_start_matches("r#").replace('_', "-")
}

/// In the sandbox: the host's log.
#[cfg(target_arch = "wasm32")]
mod sink {
    use std::fmt;

    use super::{Level, kebab};
    use crate::bindings::rpc_host::guest::log;

    pub(super) fn write(level: Level, message: &str, fields: &[(&str, &dyn fmt::Display)]) {
        let level = match level {
            Level::Trace => log::Level::Trace,
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error => log::Level::Error,
        };
        let fields: Vec<log::Field> = fields
            .iter()
            .map(|(key, value)| log::Field {
                key: kebab(key),
                value: value.to_string(),
            })
            .collect();
        log::log(level, message, &fields);
    }
}

/// Elsewhere: standard error.
#[cfg(not(target_arch = "wasm32"))]
mod sink {
    use std::fmt;

    use super::{Level, kebab};

    #[allow(clippy::print_stderr, reason = "where a unit test's output belongs")]
    pub(super) fn write(level: Level, message: &str, fields: &[(&str, &dyn fmt::Display)]) {
        eprintln!("{}", line(level, message, fields));
    }

    pub(super) fn line(
        level: Level,
        message: &str,
        fields: &[(&str, &dyn fmt::Display)],
    ) -> String {
        let mut line = format!("{level}: {message}");
        for (key, value) in fields {
            line.push_str(&format!(" {}={value}", kebab(key)));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_level_and_its_values() {
        let line = sink::line(
            Level::Warn,
            "late",
            &[("wait_ms", &12), ("r#type", &"order")],
        );
        assert_eq!(line, "warn: late wait-ms=12 type=order");
        assert_eq!(sink::line(Level::Info, "plain", &[]), "info: plain");
    }

    #[test]
    fn functions_and_macros_share_their_names() {
        let name = "anna";
        info("plain");
        info!("plain");
        debug!("greeted {name}");
        warn!("greeted {}", name; language = "de", attempts = 2 + 1,);
        error!("{name}"; name = name);
        trace!("{} {}", 1, 2,);
    }
}
