;; Answers with its arguments as text, then as JSON, then with a picture of 3 bytes.
;;; core
(func (export "call") (param i32 i32) (param $text i32) (param $length i32) (result i32)
  (call $content (i32.const 3000) (i32.const 0) (local.get $text) (local.get $length))
  (call $content (i32.const 3020) (i32.const 1) (local.get $text) (local.get $length))
  (call $content (i32.const 3040) (i32.const 2) (i32.const 2348) (i32.const 9))
  (i32.store (i32.const 3052) (i32.const 2048))
  (i32.store (i32.const 3056) (i32.const 3))
  (call $outcome (i32.const 3000) (i32.const 3) (i32.const 0)))
