;; Returns 1 GiB that it does not have.
;;; core
(func (export "push") (param i32 i32) (result i32) (call $emit (i32.const 0) (i32.const 0x40000000)))
