;; Emits each chunk as it came, as a text of its own.
;;; core
(func (export "push") (param i32 i32) (result i32) (call $emit (local.get 0) (local.get 1)))
