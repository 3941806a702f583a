//! Counts what a component holds before anything is compiled, so that what is far too complex is
//! refused for the price of one pass over its bytes.
//!
//! The engine's own limits are those of the specification and far too high for a node that many share.
//! This pass does not validate; the compile worker does.

use wasmparser::{Parser, Payload};

use super::SandboxError;

/// What one component may hold, all that is nested in it included. The largest components of known
/// toolchains (a whole interpreter, 22 MB) stay below half of each.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    pub(super) functions: u64,
    pub(super) types: u64,
    pub(super) imports: u64,
    pub(super) exports: u64,
    pub(super) segments: u64,
    pub(super) nested: u64,
    pub(super) custom_bytes: u64,
}

pub(super) const LIMITS: Counts = Counts {
    functions: 200_000,
    types: 100_000,
    imports: 50_000,
    exports: 100_000,
    segments: 100_000,
    nested: 500,
    custom_bytes: 32 << 20,
};

/// How deep components may be nested in components.
pub(super) const MAX_DEPTH: usize = 16;

/// That a component is within the limits.
pub(super) fn check(bytes: &[u8]) -> Result<(), SandboxError> {
    let mut counts = Counts {
        functions: 0,
        types: 0,
        imports: 0,
        exports: 0,
        segments: 0,
        nested: 0,
        custom_bytes: 0,
    };
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| invalid(&error, bytes.len()))?;
        match payload {
            Payload::FunctionSection(section) => counts.functions += u64::from(section.count()),
            Payload::TypeSection(section) => counts.types += u64::from(section.count()),
            Payload::CoreTypeSection(section) => counts.types += u64::from(section.count()),
            Payload::ComponentTypeSection(section) => counts.types += u64::from(section.count()),
            Payload::ImportSection(section) => counts.imports += u64::from(section.count()),
            Payload::ComponentImportSection(section) => {
                counts.imports += u64::from(section.count())
            }
            Payload::ExportSection(section) => counts.exports += u64::from(section.count()),
            Payload::ComponentExportSection(section) => {
                counts.exports += u64::from(section.count())
            }
            Payload::DataSection(section) => counts.segments += u64::from(section.count()),
            Payload::ElementSection(section) => counts.segments += u64::from(section.count()),
            Payload::InstanceSection(section) => counts.nested += u64::from(section.count()),
            Payload::ComponentInstanceSection(section) => {
                counts.nested += u64::from(section.count())
            }
            Payload::CustomSection(section) => counts.custom_bytes += section.data().len() as u64,
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                counts.nested += 1;
                depth += 1;
                limit("levels of nesting", depth as u64, MAX_DEPTH as u64)?;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        limit("functions", counts.functions, LIMITS.functions)?;
        limit("types", counts.types, LIMITS.types)?;
        limit("imports", counts.imports, LIMITS.imports)?;
        limit("exports", counts.exports, LIMITS.exports)?;
        limit(
            "data and element segments",
            counts.segments,
            LIMITS.segments,
        )?;
        limit(
            "nested modules, components and instances",
            counts.nested,
            LIMITS.nested,
        )?;
        limit(
            "bytes of custom sections",
            counts.custom_bytes,
            LIMITS.custom_bytes,
        )?;
    }
    Ok(())
}

fn limit(what: &'static str, found: u64, limit: u64) -> Result<(), SandboxError> {
    if found > limit {
        return Err(SandboxError::TooComplex { what, found, limit });
    }
    Ok(())
}

fn invalid(error: &wasmparser::BinaryReaderError, length: usize) -> SandboxError {
    let text = error.message();
    if text.contains("unexpected end") || text.contains("unexpected-eof") {
        return SandboxError::InvalidComponent(format!(
            "it ends too early, after {length} bytes: the file is cut off; upload the whole file"
        ));
    }
    SandboxError::InvalidComponent(format!("{text} (at byte {})", error.offset()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_enforced_and_nesting_is_counted() {
        let nested = |depth: usize| {
            let mut text = String::new();
            (0..depth).for_each(|_| text.push_str("(component "));
            (0..depth).for_each(|_| text.push(')'));
            check(&wat::parse_str(text).unwrap())
        };
        assert!(nested(17).is_ok());
        assert!(matches!(
            nested(18),
            Err(SandboxError::TooComplex {
                what: "levels of nesting",
                found: 17,
                limit: 16
            })
        ));
        let functions = |count: usize| {
            let body = "(func)".repeat(count);
            check(&wat::parse_str(format!("(component (core module {body}))")).unwrap())
        };
        assert!(functions(200_000).is_ok());
        assert!(matches!(
            functions(200_001),
            Err(SandboxError::TooComplex {
                what: "functions",
                ..
            })
        ));
    }

    #[test]
    fn every_cut_is_an_error_and_never_a_panic() {
        let whole = wat::parse_str("(component (core module (func)) (type (func)))").unwrap();
        assert!(check(&whole).is_ok());
        for length in 9..whole.len() {
            // A cut between two sections still parses; the compile worker's validation decides there.
            if let Err(error) = check(&whole[..length]) {
                assert!(error.to_string().contains("not valid"), "{error}");
            }
        }
    }
}
