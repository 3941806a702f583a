;; More than its limit before it begins.
(component
    (core module $m
        (memory 128)
        (func (export "run")))
    (core instance $i (instantiate $m))
    (func (export "run") (canon lift (core func $i "run"))))
