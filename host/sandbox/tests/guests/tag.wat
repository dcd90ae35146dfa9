;; Emits each chunk with a letter after it; at the end emits the letter in upper case.
;;; core
(global $letter i32 (i32.const @LETTER@))
(func (export "push") (param $text i32) (param $length i32) (result i32)
  (local $out i32)
  (local.set $out (call $realloc (i32.const 0) (i32.const 0) (i32.const 1) (i32.add (local.get $length) (i32.const 1))))
  (memory.copy (local.get $out) (local.get $text) (local.get $length))
  (i32.store8 (i32.add (local.get $out) (local.get $length)) (global.get $letter))
  (call $emit (local.get $out) (i32.add (local.get $length) (i32.const 1))))
(func (export "finish") (result i32)
  (i32.store8 (i32.const 2048) (i32.sub (global.get $letter) (i32.const 32)))
  (call $string (i32.const 0) (i32.const 2048) (i32.const 1)))
