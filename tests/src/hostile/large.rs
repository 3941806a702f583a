//! Components that are too much of something.

use crate::component;

/// A number as WebAssembly writes it.
fn leb(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(content.len() as u64), content].concat()
}

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// A component that holds this core module and nothing else.
fn around(sections: &[Vec<u8>]) -> Vec<u8> {
    let module = [MODULE, &sections.concat()].concat();
    [COMPONENT, &section(1, &module)].concat()
}

/// So many of these in one section.
fn many(id: u8, count: u64, one: &[u8]) -> Vec<u8> {
    let count_of_them = usize::try_from(count).unwrap_or_default();
    section(id, &[leb(count), one.repeat(count_of_them)].concat())
}

/// A million functions of nothing.
pub(super) fn functions() -> Vec<u8> {
    let types = section(1, &[1, 0x60, 0, 0]);
    let count = 1_000_000;
    around(&[types, many(3, count, &[0]), many(10, count, &[2, 0, 0x0b])])
}

/// Four thousand million functions, says its header.
pub(super) fn claimed_functions() -> Vec<u8> {
    let types = section(1, &[1, 0x60, 0, 0]);
    around(&[
        types,
        section(3, &[leb(u64::from(u32::MAX)), vec![0]].concat()),
    ])
}

/// A million types.
pub(super) fn types() -> Vec<u8> {
    around(&[many(1, 1_000_000, &[0x60, 0, 0])])
}

/// A hundred thousand and one data segments.
pub(super) fn segments() -> Vec<u8> {
    let memory = section(5, &[1, 0, 1]);
    around(&[memory, many(11, 100_001, &[1, 0])])
}

/// More imports than there may be.
pub(super) fn imports() -> Vec<u8> {
    around(&[
        section(1, &[1, 0x60, 0, 0]),
        many(2, 50_001, &[1, b'a', 1, b'b', 0, 0]),
    ])
}

/// Functions with as many local variables as there may be, four hundred million in all.
pub(super) fn locals() -> Vec<u8> {
    let types = section(1, &[1, 0x60, 0, 0]);
    let count = 8000;
    let body = [vec![1], leb(50_000), vec![0x7e, 0x0b]].concat();
    let function = [leb(body.len() as u64), body].concat();
    around(&[types, many(3, count, &[0]), many(10, count, &function)])
}

/// A function with one local variable more than there may be.
pub(super) fn one_local_too_many() -> Vec<u8> {
    let types = section(1, &[1, 0x60, 0, 0]);
    let body = [vec![1], leb(50_001), vec![0x7e, 0x0b]].concat();
    let function = [leb(body.len() as u64), body].concat();
    around(&[types, many(3, 1, &[0]), many(10, 1, &function)])
}

/// Components in components.
pub(super) fn nested() -> Vec<u8> {
    let mut bytes = COMPONENT.to_vec();
    for _ in 0..10_000 {
        bytes = [COMPONENT, &section(4, &bytes)].concat();
    }
    bytes
}

/// Types within types, deeper than the engine follows them.
pub(super) fn deep_types() -> Vec<u8> {
    let mut types = "(type $t0 (list u8))".to_owned();
    for depth in 1..=200 {
        types.push_str(&format!("(type $t{depth} (list $t{}))", depth - 1));
    }
    component(&format!(
        "(component {types} (import \"f\" (func (param \"deep\" $t200))))"
    ))
}

/// A type that doubles at each level: a few lines, and more leaves than there are atoms.
pub(super) fn wide_types() -> Vec<u8> {
    let mut types = "(type $t0 (tuple u8 u8))".to_owned();
    for depth in 1..=90 {
        let inner = depth - 1;
        types.push_str(&format!("(type $t{depth} (tuple $t{inner} $t{inner}))"));
    }
    component(&format!(
        "(component {types} (import \"f\" (func (param \"wide\" $t90))))"
    ))
}

/// 33 megabytes of a section that nobody needs.
pub(super) fn custom() -> Vec<u8> {
    let content = [vec![4], b"junk".to_vec(), vec![0; 33 << 20]].concat();
    [COMPONENT, &section(0, &content)].concat()
}

/// Two bytes far apart in each of four modules: images of 64 megabytes.
pub(super) fn images() -> Vec<u8> {
    let data = r#"(data (i32.const 0) "a") (data (i32.const 16000000) "b")"#;
    let module = format!("(core module (memory 250) {data})");
    component(&format!("(component {})", module.repeat(4)))
}

/// A few hundred kilobytes of which a compiler makes hundreds of megabytes of its own.
pub(super) fn dense_calls() -> Vec<u8> {
    let calls = "call $f ".repeat(200_000);
    super::program::plain(&format!("(func $f (export \"run\") {calls})"), &["run"])
}

/// One function of many blocks, with a jump to each of them from each of them.
pub(super) fn jumps() -> Vec<u8> {
    let depth: u64 = 1400;
    let labels: Vec<u8> = (0..depth).flat_map(leb).collect();
    // Each jump stands behind a condition of its own, so that what follows it can be reached.
    let jump = [0x20, 0, 0x04, 0x40, 0x20, 0, 0x0e];
    let jump = [&jump[..], &leb(depth), &labels, &[0, 0x0b]].concat();
    let (begin, end) = ([0x02, 0x40], [0x0b]);
    let count = usize::try_from(depth).unwrap_or_default();
    let inner = [begin.repeat(count), jump.repeat(count), end.repeat(count)].concat();
    let code = [vec![0], inner, vec![0x0b]].concat();
    let function = [leb(code.len() as u64), code].concat();
    around(&[
        section(1, &[1, 0x60, 1, 0x7f, 0]),
        many(3, 1, &[0]),
        many(10, 1, &function),
    ])
}

/// One function of five megabytes of nothing.
pub(super) fn long_function() -> Vec<u8> {
    let code = [vec![0], vec![0x01; 5 << 20], vec![0x0b]].concat();
    let function = [leb(code.len() as u64), code].concat();
    around(&[
        section(1, &[1, 0x60, 0, 0]),
        many(3, 1, &[0]),
        many(10, 1, &function),
    ])
}

/// A function whose name is long.
pub(super) fn long_name() -> Vec<u8> {
    let name = "x".repeat(100_000);
    super::program::plain(
        "(func (export \"NAME\"))".replace("NAME", &name).as_str(),
        &[&name],
    )
}

/// One function of fifty thousand blocks in one another.
pub(super) fn blocks() -> Vec<u8> {
    // What it takes to compile grows with the square of it: ten times what a quick machine manages in time.
    let depth = 400_000;
    let body = format!("{}{}", "block ".repeat(depth), "end ".repeat(depth));
    super::program::plain(&format!("(func (export \"run\") {body})"), &["run"])
}

fn instances(count: usize) -> Vec<u8> {
    let more = "(core instance (instantiate $empty))".repeat(count - 1);
    component(&format!(
        r#"(component
            (core module $empty)
            (core module $m (func (export "run") (result i32) (i32.const 7)))
            {more}
            (core instance $i (instantiate $m))
            (func (export "run") (result u32) (canon lift (core func $i "run"))))"#
    ))
}

/// As many core instances as there may be.
pub(super) fn most_instances() -> Vec<u8> {
    instances(128)
}

/// One more.
pub(super) fn one_instance_too_many() -> Vec<u8> {
    instances(129)
}

/// Far more.
pub(super) fn far_too_many_instances() -> Vec<u8> {
    instances(600)
}

/// Functions whose names are long, and not for a terminal.
pub(super) fn long_names() -> Vec<u8> {
    let name = "\\1b[2J\\0a".repeat(20_000);
    let mut functions = "(func $f0 (@name \"NAME\") unreachable)".replace("NAME", &name);
    for depth in 1..=20 {
        let inner = depth - 1;
        functions.push_str(&format!(
            "(func $f{depth} (@name \"{name}{depth}\") (call $f{inner}) (call $f{inner}))"
        ));
    }
    functions.push_str("(func (export \"run\") (call $f20))");
    super::program::plain(&functions, &["run"])
}
