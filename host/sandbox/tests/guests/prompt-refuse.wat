;; Refuses, with the model's name as its reason.
;;; core
(func (export "process") (param i32 i32) (param $model i32) (param $length i32) (param i32 i32) (result i32)
  (call $verdict (i32.const 2) (local.get $model) (local.get $length)))
