;; Replaces the messages by a thousand empty ones of a user.
;;; core
(func (export "process") (param i32 i32 i32 i32 i32 i32) (result i32)
  (local $at i32)
  (local.set $at (i32.const 131072))
  (loop $next
    (i32.store8 (local.get $at) (i32.const 1))
    (local.set $at (i32.add (local.get $at) (i32.const 44)))
    (br_if $next (i32.lt_u (local.get $at) (i32.const 175072))))
  (call $verdict (i32.const 1) (i32.const 131072) (i32.const 1000)))
