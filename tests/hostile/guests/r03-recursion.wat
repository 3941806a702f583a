;; Calls itself with frames as large as they get.
(component
    (core module $m
        (func $dig (param i64 i64 i64 i64 i64 i64 i64 i64) (result i64)
            (i64.add
                (call $dig
                    (i64.add (local.get 0) (i64.const 1)) (local.get 2) (local.get 1) (local.get 4)
                    (local.get 3) (local.get 6) (local.get 5) (local.get 7))
                (i64.add (local.get 0) (local.get 7))))
        (func (export "run") (result i64)
            (call $dig (i64.const 0) (i64.const 1) (i64.const 2) (i64.const 3)
                (i64.const 4) (i64.const 5) (i64.const 6) (i64.const 7))))
    (core instance $i (instantiate $m))
    (func (export "run") (result s64) (canon lift (core func $i "run"))))
