;; Handles of a resource of its own: more than there may be, and such as never were.
(component
    (type $r (resource (rep i32)))
    (core func $new (canon resource.new $r))
    (core func $drop (canon resource.drop $r))
    (core func $rep (canon resource.rep $r))
    (core module $m
        (import "r" "new" (func $new (param i32) (result i32)))
        (import "r" "drop" (func $drop (param i32)))
        (import "r" "rep" (func $rep (param i32) (result i32)))
        (func (export "hoard") (loop $again (drop (call $new (i32.const 1))) (br $again)))
        (func (export "drop-twice") (local $it i32)
            (local.set $it (call $new (i32.const 1)))
            (call $drop (local.get $it))
            (call $drop (local.get $it)))
        (func (export "use-after-drop") (result i32) (local $it i32)
            (local.set $it (call $new (i32.const 1)))
            (call $drop (local.get $it))
            (call $rep (local.get $it)))
        (func (export "made-up") (result i32) (call $rep (i32.const 0x7fff_ffff)))
        (func (export "none") (call $drop (i32.const 0)))
        ;; A hundred thousand times, one after the other: none of them is left.
        (func (export "churn") (result i32) (local $left i32)
            (local.set $left (i32.const 100000))
            (loop $next
                (call $drop (call $new (local.get $left)))
                (br_if $next (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
            (i32.const 1)))
    (core instance $i (instantiate $m
        (with "r" (instance
            (export "new" (func $new)) (export "drop" (func $drop)) (export "rep" (func $rep))))))
    (func (export "hoard") (canon lift (core func $i "hoard")))
    (func (export "drop-twice") (canon lift (core func $i "drop-twice")))
    (func (export "use-after-drop") (result u32) (canon lift (core func $i "use-after-drop")))
    (func (export "made-up") (result u32) (canon lift (core func $i "made-up")))
    (func (export "none") (canon lift (core func $i "none")))
    (func (export "churn") (result u32) (canon lift (core func $i "churn"))))
