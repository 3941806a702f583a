//! What the standard library finds in the sandbox. Every function answers with text, so that a test
//! can show what was there.

#![forbid(unsafe_code)]

#[rpc_guest::module]
mod wasi_probe {
    use std::collections::hash_map::RandomState;
    use std::hash::BuildHasher as _;
    use std::io::{Read as _, Write as _};
    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    /// The environment, as `NAME=value` lines.
    pub fn environment() -> String {
        let lines: Vec<String> = std::env::vars_os()
            .map(|(name, value)| format!("{}={}", name.display(), value.display()))
            .collect();
        lines.join("\n")
    }

    /// The arguments, a line each.
    pub fn arguments() -> String {
        std::env::args().collect::<Vec<_>>().join("\n")
    }

    /// Writes a line to standard output.
    pub fn print(line: &str) -> String {
        outcome(writeln!(std::io::stdout(), "{line}"))
    }

    /// Writes a line to standard error.
    pub fn print_error(line: &str) -> String {
        outcome(writeln!(std::io::stderr(), "{line}"))
    }

    /// Writes numbered lines to standard output, and rests after each.
    pub fn count(lines: u32, rest_ms: u32) {
        for number in 0..lines {
            println!("line {number}");
            std::thread::sleep(std::time::Duration::from_millis(rest_ms.into()));
        }
    }

    /// Writes so many bytes to standard output.
    pub fn flood(bytes: u32) -> String {
        let chunk = [b'x'; 4096];
        let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
        while left > 0 {
            let length = left.min(chunk.len());
            if let Err(error) = std::io::stdout().write_all(&chunk[..length]) {
                return format!("error: {error}");
            }
            left -= length;
        }
        "done".into()
    }

    /// All of standard input.
    pub fn read_input() -> String {
        let mut text = String::new();
        match std::io::stdin().read_to_string(&mut text) {
            Ok(_) => format!("read: {text}"),
            Err(error) => format!("error: {error}"),
        }
    }

    /// Milliseconds since 1970.
    pub fn wall_clock() -> String {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_millis().to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    /// The smallest step seen between two looks at the clock, in nanoseconds.
    pub fn clock_step() -> String {
        let start = Instant::now();
        loop {
            let passed = start.elapsed();
            if !passed.is_zero() {
                return passed.as_nanos().to_string();
            }
        }
    }

    /// A number that differs from process to process, if there is any randomness.
    pub fn random() -> String {
        RandomState::new().hash_one(0).to_string()
    }

    /// The text of a file.
    pub fn read_file(path: &str) -> String {
        outcome(std::fs::read_to_string(path))
    }

    /// Makes a file.
    pub fn write_file(path: &str, text: &str) -> String {
        outcome(std::fs::write(path, text))
    }

    /// The names in a folder.
    pub fn list_folder(path: &str) -> String {
        match std::fs::read_dir(path) {
            Ok(entries) => {
                let names = entries.flatten().map(|entry| entry.file_name());
                let names: Vec<String> = names.map(|name| name.display().to_string()).collect();
                format!("ok: {}", names.join(" "))
            }
            Err(error) => format!("error: {error}"),
        }
    }

    fn outcome<T: std::fmt::Debug>(result: std::io::Result<T>) -> String {
        match result {
            Ok(value) => format!("ok: {value:?}"),
            Err(error) => format!("error: {error}"),
        }
    }
}
