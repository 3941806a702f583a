;; Lets go of a resource of its own, whose destructor does not end.
(component
    (core module $dtor-module
        (func (export "dtor") (param i32) (loop $again (br $again))))
    (core instance $dtor (instantiate $dtor-module))
    (type $r (resource (rep i32) (dtor (func $dtor "dtor"))))
    (core func $new (canon resource.new $r))
    (core func $drop (canon resource.drop $r))
    (core module $m
        (import "r" "new" (func $new (param i32) (result i32)))
        (import "r" "drop" (func $drop (param i32)))
        (func (export "run") (call $drop (call $new (i32.const 1)))))
    (core instance $i (instantiate $m
        (with "r" (instance (export "new" (func $new)) (export "drop" (func $drop))))))
    (func (export "run") (canon lift (core func $i "run"))))
