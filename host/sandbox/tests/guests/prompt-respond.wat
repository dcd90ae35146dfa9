;; Answers with the request's id.
;;; core
(func (export "process") (param $id i32) (param $length i32) (param i32 i32 i32 i32) (result i32)
  (call $verdict (i32.const 3) (local.get $id) (local.get $length)))
