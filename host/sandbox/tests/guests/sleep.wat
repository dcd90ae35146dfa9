;; Waits a minute in a host call.
;;; imports
(import "wasi:io/poll@0.2.0" (instance $poll
  (export "pollable" (type $pollable (sub resource)))
  (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
(alias export $poll "pollable" (type $pollable))
(import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
  (alias outer 1 $pollable (type $pollable_))
  (export "pollable" (type $pollable (eq $pollable_)))
  (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
(core func $block (canon lower (func $poll "[method]pollable.block")))
(core func $subscribe (canon lower (func $clock "subscribe-duration")))
;;; with
(with "wasi" (instance (export "block" (func $block)) (export "subscribe" (func $subscribe))))
;;; core-imports
(import "wasi" "block" (func $block (param i32)))
(import "wasi" "subscribe" (func $subscribe (param i64) (result i32)))
;;; core
(func (export "push") (param i32 i32) (result i32)
  (call $block (call $subscribe (i64.const 60000000000)))
  (call $emit (i32.const 0) (i32.const 0)))
