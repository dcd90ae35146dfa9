;; Replaces the messages by the same messages, all but the first.
;;; core
(func (export "process") (param i32 i32 i32 i32) (param $messages i32) (param $count i32) (result i32)
  (call $verdict (i32.const 1)
    (i32.add (local.get $messages) (i32.const 44))
    (i32.sub (local.get $count) (i32.const 1))))
