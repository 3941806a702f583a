;; Passes a text of any length on to whoever serves the name, and a number back.
(component
    (import "hostile:told/it@0.1.0" (instance $other (export "tell" (func (param "text" string) (result u32)))))
    (core module $memory-module (memory (export "memory") 1))
    (core instance $room (instantiate $memory-module))
    (alias core export $room "memory" (core memory $memory))
    (core func $tell (canon lower (func $other "tell") (memory $memory)))
    (core module $m
        (import "room" "memory" (memory 1))
        (import "other" "tell" (func $tell (param i32 i32) (result i32)))
        (func (export "ask") (param $length i32) (result i32)
            (loop $more
                (if (i32.lt_u (i32.mul (memory.size) (i32.const 65536)) (local.get $length))
                    (then
                        (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then (unreachable)))
                        (br $more))))
            (call $tell (i32.const 0) (local.get $length))))
    (core instance $i (instantiate $m
        (with "room" (instance $room))
        (with "other" (instance (export "tell" (func $tell))))))
    (func (export "ask") (param "length" u32) (result u32) (canon lift (core func $i "ask"))))
