//! Tells what bytes are that are not a component, so that the error can say what to do.

use super::SandboxError;

/// The first eight bytes of a component: magic number, version 13, layer 1.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// That the bytes begin as a component does.
pub(super) fn is_component(bytes: &[u8]) -> Result<(), SandboxError> {
    if bytes.starts_with(COMPONENT) {
        return Ok(());
    }
    Err(SandboxError::NotAComponent(describe(bytes)))
}

fn describe(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "the file is empty; build the component and try again".to_owned();
    }
    if bytes.starts_with(b"\0asm\x01\0\0\0") {
        return "this is a core WebAssembly module, not a component; build it for the target \
                wasm32-wasip2, or turn it into a component with `wasm-tools component new`"
            .to_owned();
    }
    if bytes.starts_with(b"\0asm") || COMPONENT.starts_with(bytes) {
        return match bytes.get(4..8) {
            None => "this is the beginning of a WebAssembly file, cut off after a few bytes; upload the whole file".to_owned(),
            Some(version) => format!(
                "this is WebAssembly of a version that this node does not know ({version:02x?}); build it with current tools"
            ),
        };
    }
    if bytes.starts_with(b"\x7fELF") {
        return "this is a native ELF file (a program, or code that was compiled ahead of time); \
                upload the WebAssembly component that it was made from"
            .to_owned();
    }
    let head = bytes.get(..4096).unwrap_or(bytes);
    let text = match std::str::from_utf8(head) {
        Ok(text) => Some(text),
        // A character may be cut at the end.
        Err(error) if error.error_len().is_none() => head
            .get(..error.valid_up_to())
            .and_then(|valid| std::str::from_utf8(valid).ok()),
        Err(_) => None,
    };
    match text.map(str::trim_start) {
        Some(text) if text.starts_with("(component") || text.starts_with("(module") || text.starts_with(";;") => {
            "this is WebAssembly text; turn it into a component with `wasm-tools parse FILE -o FILE.wasm`".to_owned()
        }
        Some(text) if text.starts_with("package ") || text.starts_with("world ") => {
            "this is a WIT file; upload a component that implements it".to_owned()
        }
        Some(_) => "this is a text file, not a WebAssembly component; build a component from it first".to_owned(),
        None => "this is not WebAssembly (it does not begin with `\\0asm`); upload a component".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_bytes_is_named() {
        let said = |bytes: &[u8]| is_component(bytes).unwrap_err().to_string();
        assert!(is_component(COMPONENT).is_ok());
        assert!(said(b"").contains("empty"));
        assert!(said(b"\0asm\x01\0\0\0rest").contains("core WebAssembly module"));
        assert!(said(b"\0as").contains("cut off"));
        assert!(said(b"\0asm\x0d").contains("cut off"));
        assert!(said(b"\0asm\x0b\0\x01\0").contains("version"));
        assert!(said(b"\x7fELF\x02").contains("ELF"));
        assert!(said(b"  (component)").contains("wasm-tools parse"));
        assert!(said(b"package a:b;").contains("WIT file"));
        assert!(said("grüße".as_bytes()).contains("text file"));
        assert!(said(b"\xff\xfe\0\x01").contains("not WebAssembly"));
    }
}
