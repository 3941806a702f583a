;; Has an object of one resource exchanged for one of another, and uses that.
(component
    (import "hostile:pair/both@0.1.0" (instance $both
        (export "a" (type $a (sub resource)))
        (export "b" (type $b (sub resource)))
        (export "make-a" (func (result (own $a))))
        (export "make-b" (func (result (own $b))))
        (export "[method]b.use" (func (param "self" (borrow $b)) (result u32)))))
    (alias export $both "a" (type $a))
    (alias export $both "b" (type $b))
    (import "hostile:pair/swap@0.1.0" (instance $swap
        (alias outer 1 $a (type $outer-a))
        (alias outer 1 $b (type $outer-b))
        (export "a" (type $a (eq $outer-a)))
        (export "b" (type $b (eq $outer-b)))
        (export "swap" (func (param "it" (own $a)) (result (own $b))))))
    (core func $make-a (canon lower (func $both "make-a")))
    (core func $make-b (canon lower (func $both "make-b")))
    (core func $use-b (canon lower (func $both "[method]b.use")))
    (core func $swap (canon lower (func $swap "swap")))
    (core module $m
        (import "both" "make-a" (func $make-a (result i32)))
        (import "both" "make-b" (func $make-b (result i32)))
        (import "both" "use-b" (func $use-b (param i32) (result i32)))
        (import "swap" "swap" (func $swap (param i32) (result i32)))
        (func (export "run") (result i32)
            (drop (call $use-b (call $make-b)))
            (call $use-b (call $swap (call $make-a)))))
    (core instance $i (instantiate $m
        (with "both" (instance
            (export "make-a" (func $make-a)) (export "make-b" (func $make-b)) (export "use-b" (func $use-b))))
        (with "swap" (instance (export "swap" (func $swap))))))
    (func (export "run") (result u32) (canon lift (core func $i "run"))))
