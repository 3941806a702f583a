;; Loops where an object of its own ends.
(component
  (core module $ends
    (func (export "dtor") (param i32) (loop $again (br $again))))
  (core instance $e (instantiate $ends))
  (type $thing (resource (rep i32) (dtor (func $e "dtor"))))
  (core func $new (canon resource.new $thing))
  (core func $drop (canon resource.drop $thing))
  (core module $m
    (import "thing" "new" (func $new (param i32) (result i32)))
    (import "thing" "drop" (func $drop (param i32)))
    (func (export "run") (call $drop (call $new (i32.const 1)))))
  (core instance $i (instantiate $m
    (with "thing" (instance (export "new" (func $new)) (export "drop" (func $drop))))))
  (func (export "run") (canon lift (core func $i "run"))))
