;; Answers with an error the model may see.
;;; core
(func (export "call") (param i32 i32) (param $text i32) (param $length i32) (result i32)
  (call $content (i32.const 3000) (i32.const 0) (local.get $text) (local.get $length))
  (call $outcome (i32.const 3000) (i32.const 1) (i32.const 1)))
