;; Fills and copies all of its memory again and again: each operation runs to its end before anything can
;; interrupt it.
(component
    (core module $m
        (memory 64)
        (func (export "run")
            (loop $again
                (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x40_0000))
                (memory.copy (i32.const 0) (i32.const 0x20_0000) (i32.const 0x20_0000))
                (br $again))))
    (core instance $i (instantiate $m))
    (func (export "run") (canon lift (core func $i "run"))))
