;; Takes memory page by page until there is no more, writes to all of it, and says how many pages it had.
(component
    (core module $m
        (memory 0)
        (func (export "run") (result i32)
            (loop $more
                (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
            (memory.fill (i32.const 0) (i32.const 0xaa)
                (i32.mul (memory.size) (i32.const 65536)))
            (memory.size)))
    (core instance $i (instantiate $m))
    (func (export "run") (result u32) (canon lift (core func $i "run"))))
