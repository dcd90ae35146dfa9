;; Puts a call of the assistant before the messages, with arguments that are no JSON.
;;; core
(data (i32.const 2048) "made up")
(func (export "process") (param i32 i32 i32 i32) (param $messages i32) (param $count i32) (result i32)
  (i32.store (i32.const 3000) (i32.const 2048)) (i32.store (i32.const 3004) (i32.const 4))
  (i32.store (i32.const 3008) (i32.const 2048)) (i32.store (i32.const 3012) (i32.const 4))
  (i32.store (i32.const 3016) (i32.const 2048)) (i32.store (i32.const 3020) (i32.const 7))
  (i32.store8 (i32.const 131072) (i32.const 2))
  (i32.store (i32.const 131076) (i32.const 2048)) (i32.store (i32.const 131080) (i32.const 0))
  (i32.store (i32.const 131084) (i32.const 3000)) (i32.store (i32.const 131088) (i32.const 1))
  (i32.store8 (i32.const 131092) (i32.const 0))
  (i32.store8 (i32.const 131104) (i32.const 0))
  (memory.copy (i32.const 131116) (local.get $messages) (i32.mul (local.get $count) (i32.const 44)))
  (call $verdict (i32.const 1) (i32.const 131072) (i32.add (local.get $count) (i32.const 1))))
