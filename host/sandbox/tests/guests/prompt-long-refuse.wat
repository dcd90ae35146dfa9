;; Refuses with 200 kB of words.
;;; core
(func (export "process") (param i32 i32 i32 i32 i32 i32) (result i32)
  (memory.fill (i32.const 4096) (i32.const 0x41) (i32.const 200000))
  (call $verdict (i32.const 2) (i32.const 4096) (i32.const 200000)))
