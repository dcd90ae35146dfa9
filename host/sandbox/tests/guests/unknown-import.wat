;; Imports what no plugin gets.
;;; imports
(import "wasi:messaging/producer@0.2.0" (instance $other (export "handle" (func (result u32)))))
(core func $handle (canon lower (func $other "handle")))
;;; with
(with "other" (instance (export "handle" (func $handle))))
;;; core-imports
(import "other" "handle" (func $handle (result i32)))
;;; core
(func (export "push") (param i32 i32) (result i32) (call $handle))
