;; Emits how often it was called.
;;; core
(global $calls (mut i32) (i32.const 0))
(func (export "push") (param i32 i32) (result i32)
  (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
  (i32.store8 (i32.const 2048) (i32.add (i32.const 48) (global.get $calls)))
  (call $emit (i32.const 2048) (i32.const 1)))
