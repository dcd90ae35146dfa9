;; Makes resource handles for ever.
;;; imports
(import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type $pollable (sub resource)))))
(alias export $poll "pollable" (type $pollable))
(import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
  (alias outer 1 $pollable (type $pollable_))
  (export "pollable" (type $pollable (eq $pollable_)))
  (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
(core func $subscribe (canon lower (func $clock "subscribe-duration")))
;;; with
(with "wasi" (instance (export "subscribe" (func $subscribe))))
;;; core-imports
(import "wasi" "subscribe" (func $subscribe (param i64) (result i32)))
;;; core
(func (export "push") (param i32 i32) (result i32)
  (loop $more (drop (call $subscribe (i64.const 60000000000))) (br $more))
  unreachable)
