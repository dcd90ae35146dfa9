;; Emits 100,000 bytes for each chunk, and as many at the end.
;;; core
(func (export "push") (param i32 i32) (result i32)
  (drop (memory.grow (i32.const 4)))
  (memory.fill (i32.const 131072) (i32.const 120) (i32.const 100000))
  (call $emit (i32.const 131072) (i32.const 100000)))
(func (export "finish") (result i32)
  (drop (memory.grow (i32.const 4)))
  (memory.fill (i32.const 131072) (i32.const 120) (i32.const 100000))
  (call $string (i32.const 0) (i32.const 131072) (i32.const 100000)))
