;; Many tables at once: they count as memory, all together.
(component
    (core module $m
        (table $a 0 funcref) (table $b 0 funcref) (table $c 0 funcref) (table $d 0 funcref)
        (func $grow (result i32)
            (i32.or
                (i32.or
                    (i32.ne (table.grow $a (ref.null func) (i32.const 1024)) (i32.const -1))
                    (i32.ne (table.grow $b (ref.null func) (i32.const 1024)) (i32.const -1)))
                (i32.or
                    (i32.ne (table.grow $c (ref.null func) (i32.const 1024)) (i32.const -1))
                    (i32.ne (table.grow $d (ref.null func) (i32.const 1024)) (i32.const -1)))))
        (func (export "run") (result i32)
            (loop $more (br_if $more (call $grow)))
            (i32.add
                (i32.add (table.size $a) (table.size $b))
                (i32.add (table.size $c) (table.size $d)))))
    (core instance $i (instantiate $m))
    (func (export "run") (result u32) (canon lift (core func $i "run"))))
