;; More random bytes than there are at once, and as many as there are again and again.
(component
    (import "wasi:random/random@0.2.0" (instance $random
        (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
    (core module $memory-module
        (memory (export "memory") 2)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
    (core instance $room (instantiate $memory-module))
    (alias core export $room "memory" (core memory $memory))
    (alias core export $room "realloc" (core func $realloc))
    (core func $bytes (canon lower (func $random "get-random-bytes") (memory $memory) (realloc $realloc)))
    (core module $m
        (import "random" "bytes" (func $bytes (param i64 i32)))
        (func (export "one-too-many") (call $bytes (i64.const 65537) (i32.const 16)))
        (func (export "all-there-are") (call $bytes (i64.const -1) (i32.const 16)))
        (func (export "again") (loop $again (call $bytes (i64.const 65536) (i32.const 16)) (br $again))))
    (core instance $i (instantiate $m (with "random" (instance (export "bytes" (func $bytes))))))
    (func (export "one-too-many") (canon lift (core func $i "one-too-many")))
    (func (export "all-there-are") (canon lift (core func $i "all-there-are")))
    (func (export "again") (canon lift (core func $i "again"))))
