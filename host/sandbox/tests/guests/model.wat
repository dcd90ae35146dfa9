;; Asks for the tokens of each chunk. Emits `0` if it got them, else the letter of the error: `a` is the first.
;;; imports
(import "firebox:plugin/model@0.1.0" (instance $model
  (type $error_ (variant (case "denied") (case "stage") (case "nested") (case "absent" string) (case "limited" string)
    (case "invalid" string) (case "refused" string) (case "unavailable" string)))
  (export "error" (type $error (eq $error_)))
  (export "tokenize" (func (param "text" string) (result (result (list u32) (error $error)))))))
(core func $tokenize (canon lower (func $model "tokenize") (memory (core memory $memory)) (realloc (core func $realloc))))
;;; with
(with "model" (instance (export "tokenize" (func $tokenize))))
;;; core-imports
(import "model" "tokenize" (func $tokenize (param i32 i32 i32)))
;;; core
(func (export "push") (param $text i32) (param $length i32) (result i32)
  (call $tokenize (local.get $text) (local.get $length) (i32.const 512))
  (i32.store8 (i32.const 2048)
    (if (result i32) (i32.load8_u (i32.const 512))
      (then (i32.add (i32.const 97) (i32.load8_u (i32.const 516))))
      (else (i32.const 48))))
  (call $emit (i32.const 2048) (i32.const 1)))
