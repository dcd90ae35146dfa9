;; A component of the text stage around the fragments of one guest: @NAME@ is where its section of that name goes.
(component
  (import "firebox:plugin/log@0.1.0" (instance $log
    (type $level_ (enum "trace" "debug" "info" "warn" "error"))
    (export "level" (type $level (eq $level_)))
    (export "write" (func (param "level" $level) (param "message" string)))))

  ;; Memory, and an allocator that never frees. Below 65536 the guest is free to keep what it likes.
  (core module $libc
    (memory (export "memory") 2)
    (global $next (mut i32) (i32.const 65536))
    (func (export "realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get $size)))
      (block $fits
        (loop $grow
          (br_if $fits (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
          (br_if $grow (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))
          unreachable))
      (local.get $at)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
  (core func $log_write (canon lower (func $log "write") (memory (core memory $memory))))
  @imports@

  (core module $main
    (import "libc" "memory" (memory 0))
    (import "libc" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
    (import "log" "write" (func $log (param i32 i32 i32)))
    @core-imports@
    ;; result<verdict, string> and result<string, string>, at 1024
    (func $verdict (param $case i32) (param $text i32) (param $length i32) (result i32)
      (i32.store8 (i32.const 1024) (i32.const 0))
      (i32.store8 (i32.const 1028) (local.get $case))
      (i32.store (i32.const 1032) (local.get $text))
      (i32.store (i32.const 1036) (local.get $length))
      (i32.const 1024))
    (func $emit (param i32 i32) (result i32) (call $verdict (i32.const 1) (local.get 0) (local.get 1)))
    (func $string (param $failed i32) (param $text i32) (param $length i32) (result i32)
      (i32.store8 (i32.const 1024) (local.get $failed))
      (i32.store (i32.const 1028) (local.get $text))
      (i32.store (i32.const 1032) (local.get $length))
      (i32.const 1024))
    @core@)
  (core instance $main (instantiate $main
    (with "libc" (instance $libc))
    (with "log" (instance (export "write" (func $log_write))))
    @with@))

  (type $verdict (variant (case "pass") (case "emit" string) (case "stop" string)))
  (func $push (param "chunk" string) (result (result $verdict (error string)))
    (canon lift (core func $main "push") (memory (core memory $memory)) (realloc (core func $realloc))))
  (func $finish (result (result string (error string)))
    (canon lift (core func $main "finish") (memory (core memory $memory))))
  (component $interface
    (type $verdict_ (variant (case "pass") (case "emit" string) (case "stop" string)))
    (import "import-verdict" (type $verdict (eq $verdict_)))
    (import "import-push" (func $push (param "chunk" string) (result (result $verdict (error string)))))
    (import "import-finish" (func $finish (result (result string (error string)))))
    (export $named "verdict" (type $verdict_))
    (export "push" (func $push) (func (param "chunk" string) (result (result $named (error string)))))
    (export "finish" (func $finish)))
  (instance $text (instantiate $interface
    (with "import-verdict" (type $verdict))
    (with "import-push" (func $push))
    (with "import-finish" (func $finish))))
  (export "firebox:plugin/text@0.1.0" (instance $text))
  @exports@)
