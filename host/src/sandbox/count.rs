//! Counts what a component holds before anything is compiled, so that what is far too complex is
//! refused for the price of one pass over its bytes.
//!
//! The engine's own limits are those of the specification and far too high for a node that many share.
//! This pass does not validate; the compile worker does.

use wasmparser::{
    BinaryReader, BinaryReaderError, ComponentAlias, ComponentExternName, ComponentImport,
    ComponentType, ComponentTypeRef, CoreType, Parser, Payload,
};

use super::SandboxError;

/// How deep components may be nested in components, and types of components in such types.
const MAX_DEPTH: u64 = 16;
/// Bytes of the name of one import or export. Those of C++ are the longest.
const MAX_NAME_BYTES: u64 = 16 << 10;
/// Bytes of the code of one function. The largest ones of interpreters have some hundred thousand.
const MAX_FUNCTION_BYTES: u64 = 4 << 20;

/// Something that a component may have only so much of.
struct Count {
    what: &'static str,
    found: u64,
    limit: u64,
}

impl Count {
    fn of(what: &'static str, limit: u64) -> Self {
        let found = 0;
        Count { what, found, limit }
    }

    fn add(&mut self, more: impl Into<u64>) -> Result<(), SandboxError> {
        self.found = self.found.saturating_add(more.into());
        limit(self.what, self.found, self.limit)
    }
}

/// What one component may hold, all that is nested in it included. The largest components of known
/// toolchains (a whole interpreter, 22 MB) stay below half of each.
struct Counts {
    sections: Count,
    functions: Count,
    locals: Count,
    types: Count,
    imports: Count,
    exports: Count,
    aliases: Count,
    crossings: Count,
    globals: Count,
    stores: Count,
    segments: Count,
    nested: Count,
    custom_bytes: Count,
}

impl Counts {
    fn new() -> Self {
        Counts {
            sections: Count::of("sections", 50_000),
            functions: Count::of("functions", 200_000),
            locals: Count::of("locals of functions", 5_000_000),
            types: Count::of("types", 100_000),
            imports: Count::of("imports", 50_000),
            exports: Count::of("exports", 100_000),
            aliases: Count::of("aliases", 100_000),
            crossings: Count::of("functions lifted or lowered", 50_000),
            globals: Count::of("globals", 100_000),
            stores: Count::of("tables, memories and tags", 10_000),
            segments: Count::of("data and element segments", 100_000),
            nested: Count::of("nested modules, components and instances", 500),
            custom_bytes: Count::of("bytes of custom sections", 32 << 20),
        }
    }
}

/// That a component is within the limits.
pub(super) fn check(bytes: &[u8]) -> Result<(), SandboxError> {
    let failed = |error: BinaryReaderError| invalid(&error, bytes.len());
    let mut counts = Counts::new();
    let mut depth = 0_u64;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(failed)?;
        if !matches!(payload, Payload::CodeSectionEntry(_)) {
            counts.sections.add(1_u64)?;
        }
        match payload {
            Payload::FunctionSection(section) => counts.functions.add(section.count())?,
            Payload::CodeSectionEntry(body) => {
                let length = body.range().len() as u64;
                limit("bytes in one function", length, MAX_FUNCTION_BYTES)?;
                let locals = body.get_locals_reader().map_err(failed)?;
                for group in locals {
                    let (count, _) = group.map_err(failed)?;
                    counts.locals.add(count)?;
                }
            }
            Payload::TypeSection(section) => {
                // A group is one entry of the section, whatever it holds.
                for group in section {
                    let group = group.map_err(failed)?;
                    counts.types.add(group.into_types().len() as u64)?;
                }
            }
            Payload::CoreTypeSection(section) => counts.types.add(section.count())?,
            Payload::ComponentTypeSection(section) => {
                let range = section.range();
                let section = bytes.get(range.clone()).unwrap_or_default();
                let mut reader = BinaryReader::new(section, range.start);
                let count = reader.read_var_u32().map_err(failed)?;
                for _ in 0..count {
                    component_type(&mut reader, 1, &mut counts.types, &failed)?;
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(failed)?;
                    counts.imports.add(1_u64)?;
                    name(import.module)?;
                    name(import.name)?;
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    counts.imports.add(1_u64)?;
                    name(import.map_err(failed)?.name.name)?;
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    counts.exports.add(1_u64)?;
                    name(export.map_err(failed)?.name)?;
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    counts.exports.add(1_u64)?;
                    name(export.map_err(failed)?.name.name)?;
                }
            }
            Payload::ComponentAliasSection(section) => counts.aliases.add(section.count())?,
            Payload::ComponentCanonicalSection(section) => counts.crossings.add(section.count())?,
            Payload::GlobalSection(section) => counts.globals.add(section.count())?,
            Payload::TableSection(section) => counts.stores.add(section.count())?,
            Payload::MemorySection(section) => counts.stores.add(section.count())?,
            Payload::TagSection(section) => counts.stores.add(section.count())?,
            Payload::DataSection(section) => counts.segments.add(section.count())?,
            Payload::ElementSection(section) => counts.segments.add(section.count())?,
            Payload::InstanceSection(section) => counts.nested.add(section.count())?,
            Payload::ComponentInstanceSection(section) => counts.nested.add(section.count())?,
            Payload::CustomSection(section) => {
                counts.custom_bytes.add(section.data().len() as u64)?
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                counts.nested.add(1_u64)?;
                depth = depth.saturating_add(1);
                limit("levels of nesting", depth, MAX_DEPTH)?;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Counts a type of a component with all types that are declared in it. The parser's own way to read one
/// goes as deep as the bytes want it to, and would take the node's stack.
fn component_type(
    reader: &mut BinaryReader<'_>,
    depth: u64,
    types: &mut Count,
    failed: &impl Fn(BinaryReaderError) -> SandboxError,
) -> Result<(), SandboxError> {
    limit("levels of types", depth, MAX_DEPTH)?;
    types.add(1_u64)?;
    let first = reader.clone().read_u8().map_err(failed)?;
    if !matches!(first, COMPONENT_TYPE | INSTANCE_TYPE) {
        // No other holds types.
        return reader.read::<ComponentType>().map(drop).map_err(failed);
    }
    reader.read_u8().map_err(failed)?;
    let declarations = reader.read_var_u32().map_err(failed)?;
    for _ in 0..declarations {
        let read = match reader.read_u8().map_err(failed)? {
            DECLARED_CORE_TYPE => {
                types.add(1_u64)?;
                reader.read::<CoreType>().map(drop)
            }
            DECLARED_TYPE => {
                component_type(reader, depth.saturating_add(1), types, failed)?;
                Ok(())
            }
            DECLARED_ALIAS => reader.read::<ComponentAlias>().map(drop),
            DECLARED_IMPORT => reader.read::<ComponentImport>().map(drop),
            DECLARED_EXPORT => reader
                .read::<ComponentExternName>()
                .and_then(|_| reader.read::<ComponentTypeRef>())
                .map(drop),
            // What is none, the compile worker's validation names.
            other => {
                return Err(SandboxError::InvalidComponent(format!(
                    "{other:#04x} declares nothing in a type"
                )));
            }
        };
        types.add(1_u64)?;
        read.map_err(failed)?;
    }
    Ok(())
}

// The bytes by which the component model's binary format tells them apart.
const COMPONENT_TYPE: u8 = 0x41;
const INSTANCE_TYPE: u8 = 0x42;
const DECLARED_CORE_TYPE: u8 = 0x00;
const DECLARED_TYPE: u8 = 0x01;
const DECLARED_ALIAS: u8 = 0x02;
const DECLARED_IMPORT: u8 = 0x03;
const DECLARED_EXPORT: u8 = 0x04;

fn name(text: &str) -> Result<(), SandboxError> {
    limit("bytes in one name", text.len() as u64, MAX_NAME_BYTES)
}

fn limit(what: &'static str, found: u64, limit: u64) -> Result<(), SandboxError> {
    if found > limit {
        return Err(SandboxError::TooComplex { what, found, limit });
    }
    Ok(())
}

fn invalid(error: &BinaryReaderError, length: usize) -> SandboxError {
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
    }

    /// A number as the binary format writes it.
    fn number(mut value: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let low = u8::try_from(value & 0x7f).unwrap();
            value >>= 7;
            if value == 0 {
                bytes.push(low);
                return bytes;
            }
            bytes.push(low | 0x80);
        }
    }

    fn sized(bytes: &[u8]) -> Vec<u8> {
        [&number(bytes.len())[..], bytes].concat()
    }

    fn section(id: u8, body: &[u8]) -> Vec<u8> {
        [&[id], &sized(body)[..]].concat()
    }

    /// A module as it may stand in a component.
    fn binary_module(sections: &[Vec<u8>]) -> Vec<u8> {
        [b"\0asm\x01\0\0\0".to_vec(), sections.concat()].concat()
    }

    /// That `make(n)` is fine where it has as many of `what` as there may be, and not with one more.
    #[track_caller]
    fn ends_at(what: &str, limit: usize, make: impl Fn(usize) -> String) {
        bytes_end_at(what, limit, |count| wat::parse_str(make(count)).unwrap());
    }

    #[track_caller]
    fn bytes_end_at(what: &str, limit: usize, make: impl Fn(usize) -> Vec<u8>) {
        check(&make(limit)).unwrap();
        match check(&make(limit + 1)) {
            Err(SandboxError::TooComplex {
                what: of,
                found,
                limit: most,
            }) => assert_eq!((of, found), (what, most + 1)),
            other => panic!("{what}: {other:?}"),
        }
    }

    fn module(body: &str) -> String {
        format!("(component (core module {body}))")
    }

    #[test]
    fn each_limit_is_the_most_that_there_may_be() {
        let many = |one: &str, count: usize| one.repeat(count);
        ends_at("functions", 200_000, |count| module(&many("(func)", count)));
        ends_at("types", 100_000, |count| {
            module(&many("(type (func))", count))
        });
        ends_at("types", 100_000, |count| {
            module(&format!("(rec {})", many("(type (func))", count)))
        });
        // What is declared in the type of an instance counts, and each declaration.
        ends_at("types", 100_000, |count| {
            let exports: String = (3..count)
                .map(|number| format!("(export \"e{number}\" (func (type $f)))"))
                .collect();
            let outer = "(type $f (func))";
            format!("(component {outer} (type (instance (alias outer 1 0 (type $f)) {exports})))")
        });
        ends_at("globals", 100_000, |count| {
            module(&many("(global i32 i32.const 0)", count))
        });
        ends_at("tables, memories and tags", 10_000, |count| {
            module(&many("(table 0 funcref)", count))
        });
        ends_at("data and element segments", 100_000, |count| {
            module(&format!("(memory 0) {}", many("(data \"\")", count)))
        });
        ends_at("imports", 50_000, |count| {
            module(&many("(import \"\" \"\" (func))", count))
        });
        ends_at("exports", 100_000, |count| {
            let exports: String = (0..count)
                .map(|number| format!("(export \"{number}\" (func 0))"))
                .collect();
            module(&format!("(func) {exports}"))
        });
        bytes_end_at("locals of functions", 5_000_000, |count| {
            // Each has as many as a function may have, the last one the rest.
            let locals = [vec![50_000; count / 50_000], vec![count % 50_000]].concat();
            let bodies = locals
                .iter()
                .flat_map(|count| sized(&[&[1], &number(*count)[..], &[0x7f, 0x0b]].concat()));
            let code = [number(locals.len()), bodies.collect()].concat();
            let functions = [number(locals.len()), vec![0; locals.len()]].concat();
            let types = [1, 0x60, 0, 0];
            binary_module(&[
                section(1, &types),
                section(3, &functions),
                section(10, &code),
            ])
        });
        ends_at("bytes in one name", 16 << 10, |count| {
            module(&format!("(func (export \"{}\"))", many("n", count)))
        });
        ends_at("bytes in one name", 16 << 10, |count| {
            module(&format!("(import \"{}\" \"\" (func))", many("n", count)))
        });
        bytes_end_at("bytes in one function", 4 << 20, |count| {
            // No locals, and instructions that do nothing.
            let body = [vec![0], vec![0x01; count - 2], vec![0x0b]].concat();
            let code = [vec![1], sized(&body)].concat();
            let types = [1, 0x60, 0, 0];
            binary_module(&[section(1, &types), section(3, &[1, 0]), section(10, &code)])
        });
        ends_at("nested modules, components and instances", 500, |count| {
            format!("(component {})", many("(core module)", count))
        });
        bytes_end_at("bytes of custom sections", 32 << 20, |count| {
            let custom = [sized(b"c"), vec![0; count]].concat();
            binary_module(&[section(0, &custom)])
        });
        ends_at("aliases", 100_000, |count| {
            let aliases = many("(alias export $i \"t\" (type))", count);
            format!(
                "(component (import \"i\" (instance $i (export \"t\" (type (sub resource))))) {aliases})"
            )
        });
    }

    #[test]
    fn sections_are_counted_however_little_they_hold() {
        let header = b"\0asm\x0d\0\x01\0";
        // A type section without a type; the header and the end count as well.
        let empty = |count: usize| [&header[..], &[7, 1, 0].repeat(count)].concat();
        check(&empty(49_998)).unwrap();
        assert!(matches!(
            check(&empty(49_999)),
            Err(SandboxError::TooComplex {
                what: "sections",
                found: 50_001,
                limit: 50_000
            })
        ));
    }

    #[test]
    fn types_in_types_are_counted_without_following_them_for_ever() {
        let header = b"\0asm\x0d\0\x01\0";
        let nested = |depth: usize| {
            // An instance type that declares one type, and so on; the innermost declares nothing.
            let mut body = vec![1];
            body.extend([0x42, 1, 1].repeat(depth - 1));
            body.extend([0x42, 0]);
            check(&[header.to_vec(), section(7, &body)].concat())
        };
        nested(16).unwrap();
        for depth in [17, 1000, 1_000_000] {
            assert!(matches!(
                nested(depth),
                Err(SandboxError::TooComplex {
                    what: "levels of types",
                    found: 17,
                    limit: 16
                })
            ));
        }
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
