;; Calls the host at every depth, down to where no stack is left: the host's own frames must fit.
(component
    (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock (export "now" (func (result u64)))))
    (core func $now (canon lower (func $clock "now")))
    (core module $m
        (import "clock" "now" (func $now (result i64)))
        (func $dig (param i64) (result i64)
            (i64.add (call $now) (call $dig (call $now))))
        (func (export "run") (result i64) (call $dig (i64.const 0))))
    (core instance $i (instantiate $m (with "clock" (instance (export "now" (func $now))))))
    (func (export "run") (result u64) (canon lift (core func $i "run"))))
