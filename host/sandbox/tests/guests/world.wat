;; Emits what it sees of time and chance, each number as 16 letters from `a` to `p`, the lowest four bits first: the wall
;; clock's seconds, the monotonic clock, a random number, an insecure one, the insecure seed, and the monotonic clock after
;; a sleep of @SLEEP@ nanoseconds.
;;; imports
(import "wasi:io/poll@0.2.0" (instance $poll
  (export "pollable" (type $pollable (sub resource)))
  (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
(alias export $poll "pollable" (type $pollable))
(import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
  (alias outer 1 $pollable (type $pollable_))
  (export "pollable" (type $pollable (eq $pollable_)))
  (export "now" (func (result u64)))
  (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
(import "wasi:clocks/wall-clock@0.2.0" (instance $wall
  (type $datetime_ (record (field "seconds" u64) (field "nanoseconds" u32)))
  (export "datetime" (type $datetime (eq $datetime_)))
  (export "now" (func (result $datetime)))))
(import "wasi:random/random@0.2.0" (instance $random (export "get-random-u64" (func (result u64)))))
(import "wasi:random/insecure@0.2.0" (instance $insecure (export "get-insecure-random-u64" (func (result u64)))))
(import "wasi:random/insecure-seed@0.2.0" (instance $seed (export "insecure-seed" (func (result (tuple u64 u64))))))
(core func $block (canon lower (func $poll "[method]pollable.block")))
(core func $subscribe (canon lower (func $clock "subscribe-duration")))
(core func $monotonic (canon lower (func $clock "now")))
(core func $wall_now (canon lower (func $wall "now") (memory (core memory $memory))))
(core func $random_number (canon lower (func $random "get-random-u64")))
(core func $insecure_number (canon lower (func $insecure "get-insecure-random-u64")))
(core func $seed_number (canon lower (func $seed "insecure-seed") (memory (core memory $memory))))
;;; with
(with "wasi" (instance
  (export "block" (func $block)) (export "subscribe" (func $subscribe)) (export "monotonic" (func $monotonic))
  (export "wall" (func $wall_now)) (export "random" (func $random_number))
  (export "insecure" (func $insecure_number)) (export "seed" (func $seed_number))))
;;; core-imports
(import "wasi" "block" (func $block (param i32)))
(import "wasi" "subscribe" (func $subscribe (param i64) (result i32)))
(import "wasi" "monotonic" (func $monotonic (result i64)))
(import "wasi" "wall" (func $wall (param i32)))
(import "wasi" "random" (func $random (result i64)))
(import "wasi" "insecure" (func $insecure (result i64)))
(import "wasi" "seed" (func $seed (param i32)))
;;; core
(func $letters (param $at i32) (param $value i64)
  (local $end i32)
  (local.set $end (i32.add (local.get $at) (i32.const 16)))
  (loop $more
    (i32.store8 (local.get $at) (i32.add (i32.const 97) (i32.wrap_i64 (i64.and (local.get $value) (i64.const 15)))))
    (local.set $value (i64.shr_u (local.get $value) (i64.const 4)))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (br_if $more (i32.lt_u (local.get $at) (local.get $end)))))
(func (export "push") (param i32 i32) (result i32)
  (call $wall (i32.const 3000))
  (call $seed (i32.const 3016))
  (call $letters (i32.const 2048) (i64.load (i32.const 3000)))
  (call $letters (i32.const 2064) (call $monotonic))
  (call $letters (i32.const 2080) (call $random))
  (call $letters (i32.const 2096) (call $insecure))
  (call $letters (i32.const 2112) (i64.load (i32.const 3016)))
  (call $block (call $subscribe (i64.const @SLEEP@)))
  (call $letters (i32.const 2128) (call $monotonic))
  (call $emit (i32.const 2048) (i32.const 96)))
