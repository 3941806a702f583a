//! Greets, and says so in the node's log.

#![forbid(unsafe_code)]

/// Greetings in a few languages.
#[rpc_guest::module]
mod greeter {
    use rpc_guest::log;

    /// The languages it speaks.
    #[derive(Clone, Copy)]
    pub enum Language {
        /// English
        English,
        /// Deutsch
        German,
        /// Español
        Spanish,
    }

    /// A greeting for `name`.
    pub fn greet(name: &str, language: Language) -> Result<String, String> {
        if name.is_empty() {
            log::warn("nobody to greet");
            return Err("the name is empty".to_owned());
        }
        let (word, code) = match language {
            Language::English => ("Hello", "en"),
            Language::German => ("Hallo", "de"),
            Language::Spanish => ("Hola", "es"),
        };
        log::info!("greeted {name}"; language = code, name_bytes = name.len());
        Ok(format!("{word}, {name}!"))
    }
}

#[cfg(test)]
mod tests {
    use super::greeter::*;

    #[test]
    fn greets_by_name() {
        assert_eq!(greet("Ada", Language::English).unwrap(), "Hello, Ada!");
        assert_eq!(greet("Ada", Language::Spanish).unwrap(), "Hola, Ada!");
        assert!(greet("", Language::German).is_err());
    }
}
