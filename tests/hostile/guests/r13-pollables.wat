;; Timers: more than there may be, such as never ring, and lists of them.
(component
    (import "wasi:io/poll@0.2.0" (instance $poll
        (export "pollable" (type $pollable (sub resource)))
        (export "[method]pollable.block" (func (param "self" (borrow $pollable))))
        (export "poll" (func (param "in" (list (borrow $pollable))) (result (list u32))))))
    (alias export $poll "pollable" (type $pollable))
    (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
        (alias outer 1 $pollable (type $pollable))
        (export "now" (func (result u64)))
        (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
    (core module $memory-module
        (memory (export "memory") 64)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0x20_0000)))
    (core instance $room (instantiate $memory-module))
    (alias core export $room "memory" (core memory $memory))
    (alias core export $room "realloc" (core func $realloc))
    (core func $now (canon lower (func $clock "now")))
    (core func $timer (canon lower (func $clock "subscribe-duration")))
    (core func $block (canon lower (func $poll "[method]pollable.block")))
    (core func $drop (canon resource.drop $pollable))
    (core func $poll' (canon lower (func $poll "poll") (memory $memory) (realloc $realloc)))
    (core module $m
        (import "room" "memory" (memory 64))
        (import "host" "now" (func $now (result i64)))
        (import "host" "timer" (func $timer (param i64) (result i32)))
        (import "host" "block" (func $block (param i32)))
        (import "host" "drop" (func $drop (param i32)))
        (import "host" "poll" (func $poll (param i32 i32 i32)))
        (func (export "hoard") (loop $again (drop (call $timer (i64.const -1))) (br $again)))
        (func (export "sleep") (call $block (call $timer (i64.const -1))))
        ;; Awake and asleep all the time.
        (func (export "nap") (local $it i32)
            (loop $again
                (call $block (local.tee $it (call $timer (i64.const 0))))
                (call $drop (local.get $it))
                (br $again)))
        (func (export "ask-the-time") (loop $again (drop (call $now)) (br $again)))
        (func (export "poll-nothing") (call $poll (i32.const 0) (i32.const 0) (i32.const 16)))
        ;; The same timer as many times as the memory holds.
        (func (export "poll-many") (local $it i32) (local $at i32)
            (local.set $it (call $timer (i64.const -1)))
            (local.set $at (i32.const 1024))
            (loop $next
                (i32.store (local.get $at) (local.get $it))
                (br_if $next (i32.lt_u
                    (local.tee $at (i32.add (local.get $at) (i32.const 4)))
                    (i32.const 0x10_0000))))
            (call $poll (i32.const 1024) (i32.const 260000) (i32.const 16)))
        (func (export "poll-beyond")
            (call $poll (i32.const 1024) (i32.const -1) (i32.const 16))))
    (core instance $i (instantiate $m
        (with "room" (instance $room))
        (with "host" (instance
            (export "now" (func $now)) (export "timer" (func $timer)) (export "block" (func $block))
            (export "drop" (func $drop)) (export "poll" (func $poll'))))))
    (func (export "hoard") (canon lift (core func $i "hoard")))
    (func (export "sleep") (canon lift (core func $i "sleep")))
    (func (export "nap") (canon lift (core func $i "nap")))
    (func (export "ask-the-time") (canon lift (core func $i "ask-the-time")))
    (func (export "poll-nothing") (canon lift (core func $i "poll-nothing")))
    (func (export "poll-many") (canon lift (core func $i "poll-many")))
    (func (export "poll-beyond") (canon lift (core func $i "poll-beyond"))))
