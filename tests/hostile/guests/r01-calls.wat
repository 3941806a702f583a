;; Work without end that has no loop and no deep stack: each call makes two.
(component
    (core module $m
        (func $work (param $left i32)
            (if (local.get $left)
                (then
                    (call $work (i32.sub (local.get $left) (i32.const 1)))
                    (call $work (i32.sub (local.get $left) (i32.const 1))))))
        (func (export "run") (call $work (i32.const 200))))
    (core instance $i (instantiate $m))
    (func (export "run") (canon lift (core func $i "run"))))
