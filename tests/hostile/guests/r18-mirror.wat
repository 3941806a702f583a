;; Imports what it exports. Bound to itself it asks itself.
(component
    (import "hostile:mirror/it@0.1.0" (instance $other (export "ask" (func (result u32)))))
    (core func $ask (canon lower (func $other "ask")))
    (core module $m
        (import "other" "ask" (func $ask (result i32)))
        (func (export "ask") (result i32) (call $ask)))
    (core instance $i (instantiate $m
        (with "other" (instance (export "ask" (func $ask))))))
    (func $asked (result u32) (canon lift (core func $i "ask")))
    (instance $it (export "ask" (func $asked)))
    (export "hostile:mirror/it@0.1.0" (instance $it)))
