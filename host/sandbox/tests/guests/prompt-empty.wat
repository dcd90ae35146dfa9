;; Replaces the messages by none.
;;; core
(func (export "process") (param i32 i32 i32 i32 i32 i32) (result i32)
  (call $verdict (i32.const 1) (i32.const 2048) (i32.const 0)))
