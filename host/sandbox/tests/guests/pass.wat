;;; core
(func (export "push") (param i32 i32) (result i32) (call $verdict (i32.const 0) (i32.const 0) (i32.const 0)))
