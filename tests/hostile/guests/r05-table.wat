;; Grows a table until it grows no more, and says how large it became.
(component
    (core module $m
        (table $t 0 funcref)
        (func (export "run") (result i32)
            (loop $more
                (br_if $more
                    (i32.ne (table.grow $t (ref.null func) (i32.const 1024)) (i32.const -1))))
            (table.fill $t (i32.const 0) (ref.null func) (table.size $t))
            (table.size $t)))
    (core instance $i (instantiate $m))
    (func (export "run") (result u32) (canon lift (core func $i "run"))))
