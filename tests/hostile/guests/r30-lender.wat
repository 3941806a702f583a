;; Keeps a thing of the maker's, and lends it to whoever serves a name.
(component
    (import "test:things/maker@0.1.0" (instance $maker
        (export "thing" (type $thing (sub resource)))
        (export "[constructor]thing" (func (param "value" s64) (result (own $thing))))
        (export "[method]thing.value" (func (param "self" (borrow $thing)) (result s64)))))
    (alias export $maker "thing" (type $thing))
    (import "hostile:lent/it@0.1.0" (instance $other
        (alias outer 1 $thing (type $outer-thing))
        (export "thing" (type $thing (eq $outer-thing)))
        (export "look" (func (param "it" (borrow $thing)) (result s64)))))
    (core func $new (canon lower (func $maker "[constructor]thing")))
    (core func $value (canon lower (func $maker "[method]thing.value")))
    (core func $look (canon lower (func $other "look")))
    (core module $m
        (import "maker" "new" (func $new (param i64) (result i32)))
        (import "maker" "value" (func $value (param i32) (result i64)))
        (import "other" "look" (func $look (param i32) (result i64)))
        (global $kept (mut i32) (i32.const 0))
        (func $keep (if (i32.eqz (global.get $kept))
            (then (global.set $kept (call $new (i64.const 5))))))
        (func (export "lend") (result i64) (call $keep) (call $look (global.get $kept)))
        (func (export "value") (result i64) (call $keep) (call $value (global.get $kept))))
    (core instance $i (instantiate $m
        (with "maker" (instance (export "new" (func $new)) (export "value" (func $value))))
        (with "other" (instance (export "look" (func $look))))))
    (func (export "lend") (result s64) (canon lift (core func $i "lend")))
    (func (export "value") (result s64) (canon lift (core func $i "value"))))
