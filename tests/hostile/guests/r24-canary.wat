;; Looks for what another instance left behind, in memory, table and globals, and leaves marks of its own.
(component
    (core module $m
        (memory 16)
        (table $t 64 funcref)
        (global $mark (mut i32) (i32.const 0))
        (elem declare func $leave)
        (func $leave)
        (func (export "run") (result i32)
            (local $at i32) (local $found i32)
            (local.set $found (global.get $mark))
            (loop $next
                (if (i64.ne (i64.load (local.get $at)) (i64.const 0))
                    (then (local.set $found (i32.add (local.get $found) (i32.const 1)))))
                (br_if $next (i32.lt_u
                    (local.tee $at (i32.add (local.get $at) (i32.const 8)))
                    (i32.const 0x10_0000))))
            (local.set $at (i32.const 0))
            (loop $next
                (if (i32.eqz (ref.is_null (table.get $t (local.get $at))))
                    (then (local.set $found (i32.add (local.get $found) (i32.const 1)))))
                (br_if $next (i32.lt_u
                    (local.tee $at (i32.add (local.get $at) (i32.const 1)))
                    (i32.const 64))))
            (memory.fill (i32.const 0) (i32.const 0xa5) (i32.const 0x10_0000))
            (table.fill $t (i32.const 0) (ref.func $leave) (i32.const 64))
            (global.set $mark (i32.const 1))
            (local.get $found)))
    (core instance $i (instantiate $m))
    (func (export "run") (result u32) (canon lift (core func $i "run"))))
