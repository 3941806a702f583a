//! A component that owes nothing to the guest SDK: interfaces with a version, functions at world
//! level, and a short name that two interfaces share.

wit_bindgen::generate!({ world: "plain-bindgen" });

struct PlainBindgen;

impl exports::demo::calc::calc::Guest for PlainBindgen {
    fn add(a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }

    fn describe() -> String {
        "calc".into()
    }
}

impl exports::demo::calc::names::Guest for PlainBindgen {
    fn describe() -> String {
        "names".into()
    }

    fn shout(text: String) -> String {
        text.to_uppercase()
    }
}

impl Guest for PlainBindgen {
    fn multiply(a: u32, b: u32) -> u32 {
        a.wrapping_mul(b)
    }

    fn greet(name: String) -> String {
        format!("hello, {name}")
    }
}

export!(PlainBindgen);
