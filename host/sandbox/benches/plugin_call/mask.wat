;; A component of the token stage. @CASE@ is the case of its action, @WORDS@ the words of its mask, all bits set.
(component
  (type $session (resource (rep i32)))
  (core func $new (canon resource.new $session))
  (core module $main
    (import "host" "new" (func $new (param i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 2048))
    ;; result<session, string>, at 1024. Parameters: id, model, vocabulary, ends, prompt.
    (func (export "start") (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
      (memory.fill (i32.const 8192) (i32.const 255) (i32.const 24576))
      (i32.store8 (i32.const 1024) (i32.const 0))
      (i32.store (i32.const 1028) (call $new (i32.const 1)))
      (i32.const 1024))
    (func (export "needs") (param i32) (result i32)
      (i64.store (i32.const 1024) (i64.const 0))
      (i32.const 1024))
    ;; result<action, string>, at 1024. Parameters: the session, taken back, accepted, held, candidates.
    (func (export "next") (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
      (i32.store8 (i32.const 1024) (i32.const 0))
      (i32.store8 (i32.const 1028) (i32.const @CASE@))
      (i32.store (i32.const 1032) (i32.const 8192))
      (i32.store (i32.const 1036) (i32.const @WORDS@))
      (i32.const 1024)))
  (core instance $main (instantiate $main (with "host" (instance (export "new" (func $new))))))
  (alias core export $main "memory" (core memory $memory))
  (alias core export $main "realloc" (core func $realloc))

  (type $sequence (record
    (field "id" string) (field "model" string) (field "vocabulary" u32) (field "ends" (list u32)) (field "prompt" (list u32))))
  (type $needs (record (field "candidates" u32) (field "hold-back" u32)))
  (type $weighted (record (field "tokens" (list u32)) (field "values" (list f32))))
  (type $step (record
    (field "taken-back" u32) (field "accepted" (list u32)) (field "held" u32) (field "candidates" $weighted)))
  (type $action (variant
    (case "keep") (case "allow-mask" (list u32)) (case "allow" (list u32)) (case "bias" $weighted)
    (case "force" (list u32)) (case "backtrack" u32) (case "stop")))
  (func $start (param "sequence" $sequence) (result (result (own $session) (error string)))
    (canon lift (core func $main "start") (memory (core memory $memory)) (realloc (core func $realloc))))
  (func $needs_of (param "self" (borrow $session)) (result $needs)
    (canon lift (core func $main "needs") (memory (core memory $memory))))
  (func $next (param "self" (borrow $session)) (param "step" $step) (result (result $action (error string)))
    (canon lift (core func $main "next") (memory (core memory $memory)) (realloc (core func $realloc))))

  (component $interface
    (import "import-session" (type $session (sub resource)))
    (type $sequence_ (record
      (field "id" string) (field "model" string) (field "vocabulary" u32) (field "ends" (list u32)) (field "prompt" (list u32))))
    (import "import-sequence" (type $sequence (eq $sequence_)))
    (type $needs_ (record (field "candidates" u32) (field "hold-back" u32)))
    (import "import-needs-type" (type $needs (eq $needs_)))
    (type $weighted_ (record (field "tokens" (list u32)) (field "values" (list f32))))
    (import "import-weighted" (type $weighted (eq $weighted_)))
    (type $step_ (record
      (field "taken-back" u32) (field "accepted" (list u32)) (field "held" u32) (field "candidates" $weighted)))
    (import "import-step" (type $step (eq $step_)))
    (type $action_ (variant
      (case "keep") (case "allow-mask" (list u32)) (case "allow" (list u32)) (case "bias" $weighted)
      (case "force" (list u32)) (case "backtrack" u32) (case "stop")))
    (import "import-action" (type $action (eq $action_)))
    (import "import-start" (func $start (param "sequence" $sequence) (result (result (own $session) (error string)))))
    (import "import-needs" (func $needs_of (param "self" (borrow $session)) (result $needs)))
    (import "import-next"
      (func $next (param "self" (borrow $session)) (param "step" $step) (result (result $action (error string)))))
    (export $named_session "session" (type $session))
    (export $named_sequence "sequence" (type $sequence_))
    (export $named_needs "needs" (type $needs_))
    (export $named_weighted "weighted" (type $weighted_))
    (type $step_2 (record
      (field "taken-back" u32) (field "accepted" (list u32)) (field "held" u32) (field "candidates" $named_weighted)))
    (export $named_step "step" (type $step_2))
    (type $action_2 (variant
      (case "keep") (case "allow-mask" (list u32)) (case "allow" (list u32)) (case "bias" $named_weighted)
      (case "force" (list u32)) (case "backtrack" u32) (case "stop")))
    (export $named_action "action" (type $action_2))
    (export "[static]session.start" (func $start)
      (func (param "sequence" $named_sequence) (result (result (own $named_session) (error string)))))
    (export "[method]session.needs" (func $needs_of)
      (func (param "self" (borrow $named_session)) (result $named_needs)))
    (export "[method]session.next" (func $next)
      (func (param "self" (borrow $named_session)) (param "step" $named_step)
        (result (result $named_action (error string))))))
  (instance $token (instantiate $interface
    (with "import-session" (type $session))
    (with "import-sequence" (type $sequence))
    (with "import-needs-type" (type $needs))
    (with "import-weighted" (type $weighted))
    (with "import-step" (type $step))
    (with "import-action" (type $action))
    (with "import-start" (func $start))
    (with "import-needs" (func $needs_of))
    (with "import-next" (func $next))))
  (export "firebox:plugin/token@0.1.0" (instance $token)))
