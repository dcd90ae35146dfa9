;; Answers with an error of its own of 900 kB.
;;; core
(func (export "push") (param i32 i32) (result i32)
  (drop (memory.grow (i32.const 16)))
  (memory.fill (i32.const 65536) (i32.const 0x41) (i32.const 900000))
  (call $string (i32.const 1) (i32.const 65536) (i32.const 900000)))
