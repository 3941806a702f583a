;; Two resources, of which somebody may give the one for the other.
(component
    (type $a' (resource (rep i32)))
    (type $b' (resource (rep i32)))
    (core func $new-a (canon resource.new $a'))
    (core func $new-b (canon resource.new $b'))
    (core module $m
        (import "r" "new-a" (func $new-a (param i32) (result i32)))
        (import "r" "new-b" (func $new-b (param i32) (result i32)))
        (func (export "make-a") (result i32) (call $new-a (i32.const 7)))
        (func (export "make-b") (result i32) (call $new-b (i32.const 8)))
        (func (export "use-b") (param i32) (result i32) (local.get 0)))
    (core instance $i (instantiate $m
        (with "r" (instance (export "new-a" (func $new-a)) (export "new-b" (func $new-b))))))
    (func $make-a' (result (own $a')) (canon lift (core func $i "make-a")))
    (func $make-b' (result (own $b')) (canon lift (core func $i "make-b")))
    (func $use-b' (param "self" (borrow $b')) (result u32) (canon lift (core func $i "use-b")))
    (component $named
        (import "a" (type $a (sub resource)))
        (import "b" (type $b (sub resource)))
        (import "make-a" (func $make-a (result (own $a))))
        (import "make-b" (func $make-b (result (own $b))))
        (import "use-b" (func $use-b (param "self" (borrow $b)) (result u32)))
        (export $a' "a" (type $a))
        (export $b' "b" (type $b))
        (export "make-a" (func $make-a) (func (result (own $a'))))
        (export "make-b" (func $make-b) (func (result (own $b'))))
        (export "[method]b.use" (func $use-b) (func (param "self" (borrow $b')) (result u32))))
    (instance $both (instantiate $named
        (with "a" (type $a')) (with "b" (type $b'))
        (with "make-a" (func $make-a')) (with "make-b" (func $make-b')) (with "use-b" (func $use-b'))))
    (export "hostile:pair/both@0.1.0" (instance $both)))
