;; Says in the log that it is there, and stays: takes a place until somebody ends it. This one belongs to
;; the suite itself, which finds out with it whether all places are free again.
(component
    (import "rpc-host:guest/log@0.1.0" (instance $log
        (type $level' (enum "trace" "debug" "info" "warn" "error"))
        (export "level" (type $level (eq $level')))
        (type $field' (record (field "key" string) (field "value" string)))
        (export "field" (type $field (eq $field')))
        (export "log" (func (param "level" $level) (param "message" string) (param "fields" (list $field))))))
    (core module $memory-module
        (memory (export "memory") 16))
    (core instance $room (instantiate $memory-module))
    (alias core export $room "memory" (core memory $memory))
    (core func $log' (canon lower (func $log "log") (memory $memory)))
    (import "wasi:io/poll@0.2.0" (instance $poll
        (export "pollable" (type $pollable (sub resource)))
        (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
    (alias export $poll "pollable" (type $pollable))
    (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
        (alias outer 1 $pollable (type $pollable))
        (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
    (core module $more-module
        (memory 16)
        (func (export "fill") (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x10_0000))))
    (core instance $more (instantiate $more-module))
    (core func $timer (canon lower (func $clock "subscribe-duration")))
    (core func $block (canon lower (func $poll "[method]pollable.block")))
    (core module $m
        (import "room" "memory" (memory 16))
        (import "more" "fill" (func $fill))
        (import "host" "log" (func $log (param i32 i32 i32 i32 i32)))
        (import "host" "timer" (func $timer (param i64) (result i32)))
        (import "host" "block" (func $block (param i32)))
        (data (i32.const 16) "a place is taken")
        ;; The same after it has written to all of its memory, as much as an engine may keep for the next.
        (func (export "fill-and-hold")
            (memory.fill (i32.const 64) (i32.const 1) (i32.const 0xf_ffc0))
            (call $fill)
            (call $hold))
        (func $hold (export "hold")
            (call $log (i32.const 3) (i32.const 16) (i32.const 16) (i32.const 0) (i32.const 0))
            (call $block (call $timer (i64.const -1)))))
    (core instance $i (instantiate $m
        (with "room" (instance $room))
        (with "more" (instance $more))
        (with "host" (instance
            (export "log" (func $log')) (export "timer" (func $timer)) (export "block" (func $block))))))
    (func (export "fill-and-hold") (canon lift (core func $i "fill-and-hold")))
    (func (export "hold") (canon lift (core func $i "hold"))))
