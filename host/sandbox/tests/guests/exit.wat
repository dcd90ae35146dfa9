;; Leaves through WASI.
;;; imports
(import "wasi:cli/exit@0.2.0" (instance $exit (export "exit" (func (param "status" (result))))))
(core func $exit (canon lower (func $exit "exit")))
;;; with
(with "wasi" (instance (export "exit" (func $exit))))
;;; core-imports
(import "wasi" "exit" (func $exit (param i32)))
;;; core
(func (export "push") (param i32 i32) (result i32) (call $exit (i32.const 1)) unreachable)
