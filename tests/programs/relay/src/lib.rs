//! Passes every type of value on to another module, and what that answers back.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use demo::kitchen::sink::{
    self, Keywords, Nested, OneFlag, Permissions, Problem, Shape, Switches, Wide, Wrapper,
};
use demo::kitchen::types::{Color, Point};
use exports::test::relay::relayed::Guest as Relayed;

rpc_guest::generate!({
    world: "test:relay/relay",
    path: ["../../../modules/kitchen-sink/wit", "wit"],
    generate_all,
});

struct Relay;

impl Guest for Relay {
    fn relay_ping(text: String) -> String {
        ping(&text)
    }

    fn relay_map(value: BTreeMap<String, u32>) -> BTreeMap<String, u32> {
        echo_map(&value)
    }
}

/// Functions that pass on what they were given: as it is, or lent.
macro_rules! relayed {
    ($($name:ident: $type:ty => $value:ident $passed:expr;)*) => {
        $(
            fn $name($value: $type) -> $type {
                sink::$name($passed)
            }
        )*
    };
}

/// Results of every form.
type Forms = (
    Result<u32, String>,
    Result<u32, ()>,
    Result<(), String>,
    Result<(), ()>,
);

fn lent<T: Copy>(result: &Result<T, String>) -> Result<T, &str> {
    result.as_ref().map_err(String::as_str).copied()
}

impl Relayed for Relay {
    relayed! {
        echo_bool: bool => value value;
        echo_u8: u8 => value value;
        echo_u16: u16 => value value;
        echo_u32: u32 => value value;
        echo_u64: u64 => value value;
        echo_s8: i8 => value value;
        echo_s16: i16 => value value;
        echo_s32: i32 => value value;
        echo_s64: i64 => value value;
        echo_f32: f32 => value value;
        echo_f64: f64 => value value;
        echo_char: char => value value;
        echo_string: String => value &value;
        echo_bytes: Vec<u8> => value &value;
        echo_numbers: Vec<i64> => value &value;
        echo_floats: Vec<f64> => value &value;
        echo_texts: Vec<String> => value &value;
        echo_points: Vec<Point> => value &value;
        echo_lists: Vec<Vec<u16>> => value &value;
        echo_option: Option<u32> => value value;
        echo_option_text: Option<String> => value value.as_deref();
        echo_nested_option: Option<Option<u32>> => value value;
        echo_deep_option: Option<Option<Option<bool>>> => value value;
        echo_options: Vec<Option<Point>> => value &value;
        echo_results: Vec<Result<u8, String>> => value &value;
        echo_pair: (u8, String) => value (value.0, &value.1);
        echo_single: (i32,) => value value;
        echo_pairs: Vec<(String, f32)> => value &value;
        echo_color: Color => value value;
        echo_shape: Shape => value &value;
        echo_shapes: Vec<Shape> => value &value;
        echo_permissions: Permissions => value value;
        echo_switches: Switches => value value;
        echo_one_flag: OneFlag => value value;
        echo_point: Point => value value;
        echo_wrapper: Wrapper => value &value;
        echo_nested: Nested => value &value;
        echo_wide: Wide => value &value;
        echo_keywords: Keywords => value &value;
    }

    fn echo_result_forms(value: Forms) -> Forms {
        let (both, ok_only, err_only, neither) = &value;
        sink::echo_result_forms((lent(both), *ok_only, lent(err_only), *neither))
    }

    fn nothing() {
        sink::nothing();
    }

    fn both(fail: bool) -> Result<u32, String> {
        sink::both(fail)
    }

    fn ok_only(fail: bool) -> Result<u32, ()> {
        sink::ok_only(fail)
    }

    fn err_only(fail: bool) -> Result<(), String> {
        sink::err_only(fail)
    }

    fn neither(fail: bool) -> Result<(), ()> {
        sink::neither(fail)
    }

    fn fail_with_record(code: u32) -> Result<u32, Problem> {
        sink::fail_with_record(code)
    }

    fn fail_with_variant() -> Result<(), Shape> {
        sink::fail_with_variant()
    }

    #[rustfmt::skip]
    fn many(
        a: u8, b: u16, c: u32, d: u64, e: i8, f: i16, g: i32, h: i64, i: f32, j: f64, k: bool,
        l: char, m: String, n: Vec<u8>, o: Option<u8>, p: Point, q: Color, r: Permissions,
        s: (u8, u8),
    ) -> String {
        sink::many(a, b, c, d, e, f, g, h, i, j, k, l, &m, &n, o, p, q, r, s)
    }
}

export!(Relay);
