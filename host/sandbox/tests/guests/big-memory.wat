;; Wants 600 pages (37.5 MiB) before it even starts.
;;; core
(memory $big 600)
(func (export "push") (param i32 i32) (result i32) unreachable)
