;; Returns a string that is none.
;;; core
(data (i32.const 2048) "\ff\fe")
(func (export "push") (param i32 i32) (result i32) (call $emit (i32.const 2048) (i32.const 2)))
