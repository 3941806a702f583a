//! The modules of the attackers.

/// Computes for ever.
pub(super) const SPINS: &str = include_str!("../../../tests/runaway/call.wat");

/// Returns at once.
pub(super) const RETURNS: &str = r#"(component
    (core module $m (func (export "run")))
    (core instance $i (instantiate $m))
    (func (export "run") (canon lift (core func $i "run"))))"#;

/// Takes 64 MiB, touches each page of it, and lets go of all, in each call.
pub(super) const FILLS: &str = r#"(component
    (core module $m
        (memory 1)
        (func (export "run") (local $at i32)
            (drop (memory.grow (i32.const 1023)))
            (loop $next
                (i32.store (local.get $at) (i32.const 7))
                (local.set $at (i32.add (local.get $at) (i32.const 4096)))
                (br_if $next (i32.lt_u (local.get $at) (i32.const 67108864))))))
    (core instance $i (instantiate $m))
    (func (export "run") (canon lift (core func $i "run"))))"#;

/// Asks the host for the time, for ever.
pub(super) const ASKS: &str = r#"(component
    (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
        (export "now" (func (result u64)))))
    (core func $now (canon lower (func $clock "now")))
    (core module $m
        (import "clock" "now" (func $now (result i64)))
        (func (export "run") (loop $again (drop (call $now)) (br $again))))
    (core instance $i (instantiate $m
        (with "clock" (instance (export "now" (func $now))))))
    (func (export "run") (canon lift (core func $i "run"))))"#;

/// Makes an object of the host's and lets it go, for ever.
pub(super) const CHURNS: &str = r#"(component
    (import "wasi:io/poll@0.2.0" (instance $poll
        (export "pollable" (type (sub resource)))))
    (alias export $poll "pollable" (type $pollable))
    (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
        (alias outer 1 $pollable (type $outer))
        (export "pollable" (type $inner (eq $outer)))
        (export "subscribe-duration" (func (param "when" u64) (result (own $inner))))))
    (core func $subscribe (canon lower (func $clock "subscribe-duration")))
    (core func $drop (canon resource.drop $pollable))
    (core module $m
        (import "clock" "subscribe" (func $subscribe (param i64) (result i32)))
        (import "clock" "drop" (func $drop (param i32)))
        (func (export "run")
            (loop $again
                (call $drop (call $subscribe (i64.const 1000000000)))
                (br $again))))
    (core instance $i (instantiate $m
        (with "clock" (instance
            (export "subscribe" (func $subscribe)) (export "drop" (func $drop))))))
    (func (export "run") (canon lift (core func $i "run"))))"#;

/// Writes a line to the log, for ever.
pub(super) const LOGS: &str = r#"(component
    (import "rpc-host:guest/log@0.1.0" (instance $log
        (type $level' (enum "trace" "debug" "info" "warn" "error"))
        (export "level" (type $level (eq $level')))
        (type $field' (record (field "key" string) (field "value" string)))
        (export "field" (type $field (eq $field')))
        (export "log" (func
            (param "level" $level) (param "message" string) (param "fields" (list $field))))))
    (core module $memory
        (memory (export "memory") 1)
        (data (i32.const 0) "a line of some length, as a program would write it for its own reasons"))
    (core instance $memory (instantiate $memory))
    (core func $log (canon lower (func $log "log") (memory $memory "memory")))
    (core module $m
        (import "log" "log" (func $log (param i32 i32 i32 i32 i32)))
        (func (export "run")
            (loop $again
                (call $log (i32.const 2) (i32.const 0) (i32.const 70) (i32.const 0) (i32.const 0))
                (br $again))))
    (core instance $i (instantiate $m
        (with "log" (instance (export "log" (func $log))))))
    (func (export "run") (canon lift (core func $i "run"))))"#;

/// Answers with 64 KiB.
pub(super) const ANSWERS_MUCH: &str = r#"(component
    (core module $m
        (memory (export "memory") 2)
        (func (export "run") (result i32)
            (i32.store (i32.const 0) (i32.const 1024))
            (i32.store (i32.const 4) (i32.const 65536))
            (i32.const 0)))
    (core instance $i (instantiate $m))
    (func (export "run") (result (list u8))
        (canon lift (core func $i "run") (memory $i "memory"))))"#;

/// A component that takes a compiler a second or more. Each `number` is another.
pub(super) fn expensive(number: u64) -> String {
    let sum =
        "(local.set 0 (i32.mul (i32.add (local.get 0) (local.get 1)) (local.get 2)))".repeat(400);
    let functions =
        format!("(func (param i32 i32 i32) (result i32) {sum} (local.get 0))").repeat(150);
    format!("(component (core module (global i64 (i64.const {number})) {functions}))")
}
