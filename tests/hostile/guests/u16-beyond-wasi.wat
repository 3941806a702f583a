;; Asks for an interface of WASI that the node does not have.
(component
    (import "wasi:keyvalue/store@0.2.0" (instance $store (export "open" (func))))
    (core func $open (canon lower (func $store "open")))
    (core module $m
        (import "store" "open" (func $open))
        (func (export "run") (call $open)))
    (core instance $i (instantiate $m (with "store" (instance (export "open" (func $open))))))
    (func (export "run") (canon lift (core func $i "run"))))
