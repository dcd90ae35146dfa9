;; Answers with an error of its own of 7 MB.
;;; core
(func (export "push") (param i32 i32) (result i32)
  (drop (memory.grow (i32.const 160)))
  (memory.fill (i32.const 65536) (i32.const 0x41) (i32.const 7000000))
  (call $string (i32.const 1) (i32.const 65536) (i32.const 7000000)))
