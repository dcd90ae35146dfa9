;; Answers with an error of its own.
;;; core
(data (i32.const 2048) "no luck")
(func (export "push") (param i32 i32) (result i32) (call $string (i32.const 1) (i32.const 2048) (i32.const 7)))
