;; Traps before it is an instance.
(component
    (core module $m
        (func $start (unreachable))
        (start $start)
        (func (export "run")))
    (core instance $i (instantiate $m))
    (func (export "run") (canon lift (core func $i "run"))))
