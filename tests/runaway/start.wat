;; Loops before it can be called.
(component
  (core module $m
    (func $forever (loop $again (br $again)))
    (start $forever)
    (func (export "run")))
  (core instance $i (instantiate $m))
  (func (export "run") (canon lift (core func $i "run"))))
