;; Imports what no plugin gets.
;;; imports
(import "wasi:http/outgoing-handler@0.2.0" (instance $http (export "handle" (func (result u32)))))
(core func $handle (canon lower (func $http "handle")))
;;; with
(with "http" (instance (export "handle" (func $handle))))
;;; core-imports
(import "http" "handle" (func $handle (result i32)))
;;; core
(func (export "push") (param i32 i32) (result i32) (call $handle))
