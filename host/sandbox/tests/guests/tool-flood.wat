;; Answers with 100,000 bytes.
;;; core
(func (export "call") (param i32 i32 i32 i32) (result i32)
  (memory.fill (i32.const 131072) (i32.const 120) (i32.const 100000))
  (call $content (i32.const 4096) (i32.const 0) (i32.const 131072) (i32.const 100000))
  (call $outcome (i32.const 4096) (i32.const 1) (i32.const 0)))
