;; Traps while it is instantiated.
;;; core
(func $start unreachable)
(start $start)
(func (export "push") (param i32 i32) (result i32) unreachable)
