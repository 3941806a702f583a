;; Prints without end, with what clears a terminal.
(component
    (import "wasi:io/error@0.2.0" (instance $errors (export "error" (type (sub resource)))))
    (alias export $errors "error" (type $error))
    (import "wasi:io/streams@0.2.0" (instance $streams
        (alias outer 1 $error (type $error))
        (type $stream-error' (variant (case "last-operation-failed" (own $error)) (case "closed")))
        (export "stream-error" (type $stream-error (eq $stream-error')))
        (export "output-stream" (type $output (sub resource)))
        (export "[method]output-stream.blocking-write-and-flush"
            (func (param "self" (borrow $output)) (param "contents" (list u8))
                (result (result (error $stream-error)))))
        (export "[method]output-stream.write"
            (func (param "self" (borrow $output)) (param "contents" (list u8))
                (result (result (error $stream-error)))))
        (export "[method]output-stream.write-zeroes"
            (func (param "self" (borrow $output)) (param "len" u64)
                (result (result (error $stream-error)))))))
    (alias export $streams "output-stream" (type $output))
    (import "wasi:cli/stdout@0.2.0" (instance $stdout
        (alias outer 1 $output (type $output))
        (export "get-stdout" (func (result (own $output))))))
    (core module $memory-module (memory (export "memory") 1))
    (core instance $room (instantiate $memory-module))
    (alias core export $room "memory" (core memory $memory))
    (core func $get (canon lower (func $stdout "get-stdout")))
    (core func $print (canon lower
        (func $streams "[method]output-stream.blocking-write-and-flush") (memory $memory)))
    (core func $write (canon lower
        (func $streams "[method]output-stream.write") (memory $memory)))
    (core func $zeroes (canon lower
        (func $streams "[method]output-stream.write-zeroes") (memory $memory)))
    (core module $m
        (import "room" "memory" (memory 1))
        (import "out" "get" (func $get (result i32)))
        (import "out" "print" (func $print (param i32 i32 i32 i32)))
        (import "out" "write" (func $write (param i32 i32 i32 i32)))
        (import "out" "zeroes" (func $zeroes (param i32 i64 i32)))
        (data (i32.const 64) "\1b[2J\1b]0;owned\07\0a\0d")
        ;; Eight megabytes, four thousand bytes at a time.
        (func (export "flood") (result i32)
            (local $out i32) (local $left i32)
            (local.set $out (call $get))
            (local.set $left (i32.const 2048))
            (loop $next
                (call $print (local.get $out) (i32.const 64) (i32.const 4096) (i32.const 16))
                (br_if $next (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
            (i32.load8_u (i32.const 16)))
        ;; Empty lines without end, four thousand at a time.
        (func (export "lines")
            (local $out i32)
            (local.set $out (call $get))
            (memory.fill (i32.const 8192) (i32.const 10) (i32.const 4096))
            (loop $again
                (call $print (local.get $out) (i32.const 8192) (i32.const 4096) (i32.const 16))
                (br $again)))
        ;; More at once than the stream said it would take.
        (func (export "unasked")
            (call $write (call $get) (i32.const 0) (i32.const 65536) (i32.const 16)))
        ;; Zeros without end, for which the guest needs no memory.
        (func (export "zeroes")
            (call $zeroes (call $get) (i64.const -1) (i32.const 16)))
        ;; Streams that nobody lets go of.
        (func (export "hoard") (loop $again (drop (call $get)) (br $again))))
    (core instance $i (instantiate $m
        (with "room" (instance $room))
        (with "out" (instance
            (export "get" (func $get)) (export "print" (func $print))
            (export "write" (func $write)) (export "zeroes" (func $zeroes))))))
    (func (export "flood") (result u32) (canon lift (core func $i "flood")))
    (func (export "lines") (canon lift (core func $i "lines")))
    (func (export "unasked") (canon lift (core func $i "unasked")))
    (func (export "zeroes") (canon lift (core func $i "zeroes")))
    (func (export "hoard") (canon lift (core func $i "hoard"))))
