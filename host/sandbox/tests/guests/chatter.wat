;; Logs one line more than are kept, each longer than allowed.
;;; core
(func (export "push") (param i32 i32) (result i32)
  (local $left i32)
  (memory.fill (i32.const 8192) (i32.const 120) (i32.const 5000))
  (local.set $left (i32.const 257))
  (loop $more
    (call $log (i32.const 2) (i32.const 8192) (i32.const 5000))
    (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
  (call $verdict (i32.const 0) (i32.const 0) (i32.const 0)))
