;; Lines for the log: too long, too many, and made to look like the node's own.
(component
    (import "rpc-host:guest/log@0.1.0" (instance $log
        (type $level' (enum "trace" "debug" "info" "warn" "error"))
        (export "level" (type $level (eq $level')))
        (type $field' (record (field "key" string) (field "value" string)))
        (export "field" (type $field (eq $field')))
        (export "log" (func (param "level" $level) (param "message" string) (param "fields" (list $field))))))
    (core module $memory-module
        (memory (export "memory") 1))
    (core instance $room (instantiate $memory-module))
    (alias core export $room "memory" (core memory $memory))
    (core func $log' (canon lower (func $log "log") (memory $memory)))
    (core module $m
        (import "room" "memory" (memory 1))
        (import "log" "log" (func $log (param i32 i32 i32 i32 i32)))
        (data (i32.const 16) "\1b[2J\0a{\22level\22:\22ERROR\22,\22target\22:\22rpc_host\22}\0d")
        ;; One message of four megabytes.
        (func (export "long") (result i32)
            (drop (memory.grow (i32.const 64)))
            (memory.fill (i32.const 65536) (i32.const 0x0a) (i32.const 0x40_0000))
            (call $log (i32.const 4) (i32.const 65536) (i32.const 0x40_0000) (i32.const 0) (i32.const 0))
            (i32.const 1))
        ;; Four thousand fields of sixty thousand bytes, which are all the same.
        (func (export "wide") (result i32)
            (local $at i32)
            (drop (memory.grow (i32.const 1)))
            (local.set $at (i32.const 65536))
            (loop $next
                (i32.store offset=4 (local.get $at) (i32.const 60000))
                (i32.store offset=12 (local.get $at) (i32.const 60000))
                (br_if $next (i32.lt_u
                    (local.tee $at (i32.add (local.get $at) (i32.const 16)))
                    (i32.const 130048))))
            (call $log (i32.const 2) (i32.const 0) (i32.const 4) (i32.const 65536) (i32.const 4032))
            (i32.const 1))
        (func (export "flood") (result i32)
            (local $left i32)
            (local.set $left (i32.const 20000))
            (loop $next
                (call $log (i32.const 4) (i32.const 16) (i32.const 48) (i32.const 0) (i32.const 0))
                (br_if $next (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
            (i32.const 1))
        (func (export "no-such-level")
            (call $log (i32.const 99) (i32.const 16) (i32.const 4) (i32.const 0) (i32.const 0))))
    (core instance $i (instantiate $m
        (with "room" (instance $room))
        (with "log" (instance (export "log" (func $log'))))))
    (func (export "long") (result u32) (canon lift (core func $i "long")))
    (func (export "wide") (result u32) (canon lift (core func $i "wide")))
    (func (export "flood") (result u32) (canon lift (core func $i "flood")))
    (func (export "no-such-level") (canon lift (core func $i "no-such-level"))))
