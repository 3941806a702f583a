//! Arguments and results of any size.

#![forbid(unsafe_code)]

#[rpc_guest::module]
mod big {
    /// So many bytes: 0, 1, 2, … 255, 0, …
    pub fn bytes(length: u32) -> Vec<u8> {
        (0..=u8::MAX).cycle().take(size(length)).collect()
    }

    /// Text of so many bytes.
    pub fn text(length: u32) -> String {
        "x".repeat(size(length))
    }

    /// So many numbers: 0, 1, 2, …
    pub fn numbers(length: u32) -> Vec<u32> {
        (0..length).collect()
    }

    /// So many pieces of text, each of `each` bytes.
    pub fn texts(length: u32, each: u32) -> Vec<String> {
        vec!["x".repeat(size(each)); size(length)]
    }

    /// The bytes as they came.
    pub fn echo(bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }

    /// How many bytes came.
    pub fn measure(bytes: &[u8]) -> u64 {
        u64::try_from(bytes.len()).unwrap_or(u64::MAX)
    }

    fn size(length: u32) -> usize {
        usize::try_from(length).unwrap_or(usize::MAX)
    }
}
