;; A component of the prompt stage around the fragments of one guest: @NAME@ is where its section of that name goes.
(component
  (import "firebox:plugin/types@0.1.0" (instance $types
    (type $role_ (enum "system" "user" "assistant" "tool"))
    (export "role" (type $role (eq $role_)))
    (type $call_ (record (field "id" string) (field "name" string) (field "arguments-json" string)))
    (export "tool-call" (type $call (eq $call_)))
    (type $message_ (record
      (field "role" $role) (field "content" string) (field "tool-calls" (list $call))
      (field "tool-call-id" (option string)) (field "name" (option string))))
    (export "message" (type $message (eq $message_)))))
  (alias export $types "role" (type $role))
  (alias export $types "tool-call" (type $call))
  (alias export $types "message" (type $message))

  (core module $main
    (memory (export "memory") 4)
    (global $next (mut i32) (i32.const 65536))
    (func (export "realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get $size)))
      (local.get $at))
    ;; result<verdict, string>, at 1024
    (func $verdict (param $case i32) (param $at i32) (param $length i32) (result i32)
      (i32.store8 (i32.const 1024) (i32.const 0))
      (i32.store8 (i32.const 1028) (local.get $case))
      (i32.store (i32.const 1032) (local.get $at))
      (i32.store (i32.const 1036) (local.get $length))
      (i32.const 1024))
    ;; Parameters: the request's id, model and messages, each with its length.
    @core@)
  (core instance $main (instantiate $main))
  (alias core export $main "memory" (core memory $memory))
  (alias core export $main "realloc" (core func $realloc))

  (type $request (record (field "id" string) (field "model" string) (field "messages" (list $message))))
  (type $verdict (variant
    (case "unchanged") (case "replace" (list $message)) (case "refuse" string) (case "respond" string)))
  (func $process (param "request" $request) (result (result $verdict (error string)))
    (canon lift (core func $main "process") (memory (core memory $memory)) (realloc (core func $realloc))))
  (component $interface
    (type $role_ (enum "system" "user" "assistant" "tool"))
    (import "import-role" (type $role (eq $role_)))
    (type $call_ (record (field "id" string) (field "name" string) (field "arguments-json" string)))
    (import "import-tool-call" (type $call (eq $call_)))
    (type $message_ (record
      (field "role" $role) (field "content" string) (field "tool-calls" (list $call))
      (field "tool-call-id" (option string)) (field "name" (option string))))
    (import "import-message" (type $message (eq $message_)))
    (type $request_ (record (field "id" string) (field "model" string) (field "messages" (list $message))))
    (import "import-request" (type $request (eq $request_)))
    (type $verdict_ (variant
      (case "unchanged") (case "replace" (list $message)) (case "refuse" string) (case "respond" string)))
    (import "import-verdict" (type $verdict (eq $verdict_)))
    (import "import-process" (func $process (param "request" $request) (result (result $verdict (error string)))))
    (export $named_role "role" (type $role_))
    (export $named_call "tool-call" (type $call_))
    (type $message_2 (record
      (field "role" $named_role) (field "content" string) (field "tool-calls" (list $named_call))
      (field "tool-call-id" (option string)) (field "name" (option string))))
    (export $named_message "message" (type $message_2))
    (type $request_2 (record (field "id" string) (field "model" string) (field "messages" (list $named_message))))
    (export $named_request "request" (type $request_2))
    (type $verdict_2 (variant
      (case "unchanged") (case "replace" (list $named_message)) (case "refuse" string) (case "respond" string)))
    (export $named_verdict "verdict" (type $verdict_2))
    (export "process" (func $process)
      (func (param "request" $named_request) (result (result $named_verdict (error string))))))
  (instance $prompt (instantiate $interface
    (with "import-role" (type $role))
    (with "import-tool-call" (type $call))
    (with "import-message" (type $message))
    (with "import-request" (type $request))
    (with "import-verdict" (type $verdict))
    (with "import-process" (func $process))))
  (export "firebox:plugin/prompt@0.1.0" (instance $prompt)))
