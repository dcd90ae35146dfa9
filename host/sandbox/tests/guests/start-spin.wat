;; Loops while it is instantiated.
;;; core
(func $start (loop $again (br $again)))
(start $start)
(func (export "push") (param i32 i32) (result i32) unreachable)
