//! Components of any size: half of it functions, such as compilers write, and half of it data.

use anyhow::{Context, Result};

/// What the large module takes the place of, within a component that calls it.
const FRAME: &str = r#"(component
    (core module $m
        (func (export "run") (param i32 i32) (result i32) (i32.const 0)))
    (core instance $i (instantiate $m))
    (func (export "run") (param "a" s32) (param "b" s32) (result s32)
        (canon lift (core func $i "run"))))"#;

/// Of the sections of a component.
const PREAMBLE_BYTES: usize = 8;
const CORE_MODULE: u8 = 1;
const CUSTOM: u8 = 0;

/// Functions are about as long as those of a program.
const FUNCTION_BYTES: usize = 600;
const PAGE_BYTES: usize = 65_536;

/// A component of about so many bytes. Each `number` is another one throughout.
pub(crate) fn component(bytes: usize, number: u64) -> Result<Vec<u8>> {
    let frame = wat::parse_str(FRAME)?;
    let (preamble, sections) = frame
        .split_at_checked(PREAMBLE_BYTES)
        .context("no preamble")?;
    let ([CORE_MODULE], rest) = sections.split_at_checked(1).context("no section")? else {
        anyhow::bail!("the first section is no core module");
    };
    let (length, width) = read_number(rest)?;
    let after = rest.get(width + length..).context("a short section")?;
    let mut component = preamble.to_vec();
    section(&mut component, CORE_MODULE, &core_module(bytes, number));
    component.extend_from_slice(after);
    Ok(component)
}

/// The same component under another digest.
pub(crate) fn another(component: &[u8], number: u64) -> Vec<u8> {
    let mut content = Vec::new();
    push_bytes(&mut content, b"number");
    content.extend_from_slice(&number.to_le_bytes());
    let mut another = component.to_vec();
    section(&mut another, CUSTOM, &content);
    another
}

fn core_module(bytes: usize, number: u64) -> Vec<u8> {
    let mut random = Random::new(number);
    let count = (bytes / 2 / FUNCTION_BYTES).max(1);
    let data: Vec<u8> = (0..bytes / 2)
        .map(|_| low_byte(random.below(256)))
        .collect();
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    // One type: of two numbers, one.
    section(&mut module, 1, &[1, 0x60, 2, 0x7f, 0x7f, 1, 0x7f]);
    let mut functions = Vec::new();
    push_number(&mut functions, count);
    functions.resize(functions.len() + count, 0);
    section(&mut module, 3, &functions);
    let mut memory = vec![1, 0];
    push_number(&mut memory, data.len() / PAGE_BYTES + 1);
    section(&mut module, 5, &memory);
    let mut export = vec![1];
    push_bytes(&mut export, b"run");
    export.push(0);
    // The last one, which leads to others.
    push_number(&mut export, count - 1);
    section(&mut module, 7, &export);
    let mut code = Vec::new();
    push_number(&mut code, count);
    for index in 0..count {
        push_bytes(&mut code, &function(&mut random, index));
    }
    section(&mut module, 10, &code);
    let mut segments = vec![1, 0, 0x41, 0, 0x0b];
    push_bytes(&mut segments, &data);
    section(&mut module, 11, &segments);
    module
}

/// Arithmetic, memory, branches and at most one call, so that no chain of them is without end.
fn function(random: &mut Random, index: usize) -> Vec<u8> {
    // Two locals beside the parameters.
    let mut body = vec![1, 2, 0x7f];
    while body.len() < FUNCTION_BYTES {
        match random.below(8) {
            // local = local OP local
            0..=4 => {
                get(&mut body, random);
                get(&mut body, random);
                // add, sub, mul, and, or, xor, shl, shr_s, shr_u, rotl
                let arithmetic = [0x6a, 0x6b, 0x6c, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77];
                body.push(pick(&arithmetic, random));
                set(&mut body, random);
            }
            // local = memory[local & 0x3ffc]
            5 => {
                address(&mut body, random);
                body.extend([0x28, 2, 0]);
                set(&mut body, random);
            }
            // memory[local & 0x3ffc] = local
            6 => {
                address(&mut body, random);
                get(&mut body, random);
                body.extend([0x36, 2, 0]);
            }
            // if local < local { local = local + constant }
            _ => {
                get(&mut body, random);
                get(&mut body, random);
                body.extend([0x48, 0x04, 0x40]);
                get(&mut body, random);
                body.extend([0x41, pick(&[1, 7, 31, 60], random), 0x6a]);
                set(&mut body, random);
                body.push(0x0b);
            }
        }
    }
    if index > 0 {
        // local 2 = functions[half of this one's number](local 0, local 1)
        body.extend([0x20, 0, 0x20, 1, 0x10]);
        push_number(&mut body, index / 2);
        body.extend([0x21, 2]);
    }
    body.extend([0x20, 2, 0x20, 3, 0x73, 0x0b]);
    body
}

fn get(body: &mut Vec<u8>, random: &mut Random) {
    body.extend([0x20, pick(&[0, 1, 2, 3], random)]);
}

fn set(body: &mut Vec<u8>, random: &mut Random) {
    body.extend([0x21, pick(&[0, 1, 2, 3], random)]);
}

fn address(body: &mut Vec<u8>, random: &mut Random) {
    get(body, random);
    // And with 0x3ffc.
    body.extend([0x41, 0xfc, 0xff, 0x00, 0x71]);
}

fn pick(choices: &[u8], random: &mut Random) -> u8 {
    let place = random.below(choices.len());
    choices.get(place).copied().unwrap_or_default()
}

fn section(module: &mut Vec<u8>, id: u8, content: &[u8]) {
    module.push(id);
    push_bytes(module, content);
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    push_number(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// LEB128.
fn push_number(out: &mut Vec<u8>, mut number: usize) {
    loop {
        let low = low_byte(number) & 0x7f;
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn low_byte(number: usize) -> u8 {
    let [low, ..] = number.to_le_bytes();
    low
}

/// A number, and how many bytes it takes.
fn read_number(bytes: &[u8]) -> Result<(usize, usize)> {
    let mut number = 0_usize;
    for (place, byte) in bytes.iter().take(5).enumerate() {
        number |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok((number, place + 1));
        }
    }
    anyhow::bail!("no number")
}

/// The same for the same seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let high = usize::try_from(self.0 >> 33).unwrap_or_default();
        high % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_valid_and_as_large_as_they_should_be() {
        for bytes in [1, 60_000, 2_000_000] {
            let one = component(bytes, 1).unwrap();
            wasmparser::Validator::new().validate_all(&one).unwrap();
            assert!(
                one.len() >= bytes && one.len() < bytes + bytes / 10 + 2000,
                "{} for {bytes}",
                one.len()
            );
            assert_ne!(one, component(bytes, 2).unwrap());
            assert_eq!(one, component(bytes, 1).unwrap());
        }
    }

    #[test]
    fn another_component_differs_in_a_custom_section() {
        let one = component(1000, 1).unwrap();
        let other = another(&one, 7);
        wasmparser::Validator::new().validate_all(&other).unwrap();
        assert!(other.starts_with(&one) && other != another(&one, 8));
    }

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for number in [0, 1, 127, 128, 300, 65_535, 10_000_000] {
            let mut bytes = Vec::new();
            push_number(&mut bytes, number);
            assert_eq!(read_number(&bytes).unwrap(), (number, bytes.len()));
        }
    }
}
