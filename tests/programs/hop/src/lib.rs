//! A node of a graph of modules. What happens at it, and where it goes on to, is in the plan that it
//! is given: a row of steps.
//!
//! | step | what is done |
//! |---|---|
//! | `1` to `4` | call that import; the plan for it stands behind the digit in parentheses, or is empty |
//! | `t` | trap |
//! | `s` | spin, for ever |
//! | `z` | sleep for 10 ms |
//!
//! So `1(2z)3` calls the first import, which calls its second one and sleeps, and then the third.
//!
//! A visit answers with its number among the visits of this instance, plus what the visits that
//! it made answered. So the sum tells which visits shared an instance.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::hint::black_box;
use std::time::Duration;

use test::graph::{four, one, three, two};

rpc_guest::generate!({ world: "hop" });

thread_local! {
    static VISITS: Cell<u32> = const { Cell::new(0) };
}

struct Hop;

impl Guest for Hop {
    fn start(plan: String) -> Result<u32, String> {
        visit(&plan)
    }
}

macro_rules! exported {
    ($($interface:ident)*) => {
        $(
            impl exports::test::graph::$interface::Guest for Hop {
                fn visit(plan: String) -> Result<u32, String> {
                    visit(&plan)
                }
            }
        )*
    };
}

exported!(one two three four);

fn visit(plan: &str) -> Result<u32, String> {
    VISITS.set(VISITS.get() + 1);
    let mut sum = VISITS.get();
    let mut left = plan;
    while let Some(step) = left.chars().next() {
        left = &left[step.len_utf8()..];
        let import = match step {
            '1' => one::visit,
            '2' => two::visit,
            '3' => three::visit,
            '4' => four::visit,
            't' => panic!("as planned"),
            's' => loop {
                black_box(());
            },
            'z' => {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
            other => return Err(format!("no such step: {other:?}")),
        };
        let (inner, rest) = parenthesised(left)?;
        sum += import(inner)?;
        left = rest;
    }
    Ok(sum)
}

/// What stands in the parentheses that `text` begins with, and what stands behind them.
fn parenthesised(text: &str) -> Result<(&str, &str), String> {
    if !text.starts_with('(') {
        return Ok(("", text));
    }
    let mut depth = 0_u32;
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok((&text[1..at], &text[at + 1..]));
        }
    }
    Err(format!("not closed: {text:?}"))
}

export!(Hop);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parentheses_are_matched() {
        assert_eq!(parenthesised(""), Ok(("", "")));
        assert_eq!(parenthesised("2"), Ok(("", "2")));
        assert_eq!(parenthesised("(1(2)3)4(5)"), Ok(("1(2)3", "4(5)")));
        assert!(parenthesised("(1(2)").is_err());
    }

    #[test]
    fn a_plan_without_calls_needs_no_graph() {
        assert_eq!(visit(""), Ok(1));
        assert_eq!(visit("z"), Ok(2));
        assert!(visit("x").is_err());
        assert!(visit("1(").is_err());
    }
}
