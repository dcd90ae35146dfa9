;; Looks for an environment, arguments, directories and sockets. Emits how much of each there is (none: `000`), then
;; of a TCP and a UDP socket whether making it failed (`1`) and with which error (`1`, access denied).
;;; imports
(import "wasi:cli/environment@0.2.0" (instance $environment
  (export "get-environment" (func (result (list (tuple string string)))))
  (export "get-arguments" (func (result (list string))))))
(import "wasi:filesystem/types@0.2.0" (instance $files (export "descriptor" (type $descriptor (sub resource)))))
(alias export $files "descriptor" (type $descriptor))
(import "wasi:filesystem/preopens@0.2.0" (instance $preopens
  (alias outer 1 $descriptor (type $descriptor_))
  (export "descriptor" (type $descriptor (eq $descriptor_)))
  (export "get-directories" (func (result (list (tuple (own $descriptor) string)))))))
(import "wasi:sockets/network@0.2.0" (instance $network
  (type $error_ (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
    "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit" "address-not-bindable"
    "address-in-use" "remote-unreachable" "connection-refused" "connection-reset" "connection-aborted"
    "datagram-too-large" "name-unresolvable" "temporary-resolver-failure" "permanent-resolver-failure"))
  (export "error-code" (type $error (eq $error_)))
  (type $family_ (enum "ipv4" "ipv6"))
  (export "ip-address-family" (type $family (eq $family_)))))
(alias export $network "error-code" (type $error))
(alias export $network "ip-address-family" (type $family))
(import "wasi:sockets/tcp@0.2.0" (instance $tcp (export "tcp-socket" (type $socket (sub resource)))))
(alias export $tcp "tcp-socket" (type $socket))
(import "wasi:sockets/tcp-create-socket@0.2.0" (instance $create
  (alias outer 1 $error (type $error_))
  (export "error-code" (type $error (eq $error_)))
  (alias outer 1 $family (type $family_))
  (export "ip-address-family" (type $family (eq $family_)))
  (alias outer 1 $socket (type $socket_))
  (export "tcp-socket" (type $socket (eq $socket_)))
  (export "create-tcp-socket"
    (func (param "address-family" $family) (result (result (own $socket) (error $error)))))))
(import "wasi:sockets/udp@0.2.0" (instance $udp (export "udp-socket" (type $socket (sub resource)))))
(alias export $udp "udp-socket" (type $udp_socket))
(import "wasi:sockets/udp-create-socket@0.2.0" (instance $create_udp
  (alias outer 1 $error (type $error_))
  (export "error-code" (type $error (eq $error_)))
  (alias outer 1 $family (type $family_))
  (export "ip-address-family" (type $family (eq $family_)))
  (alias outer 1 $udp_socket (type $socket_))
  (export "udp-socket" (type $socket (eq $socket_)))
  (export "create-udp-socket"
    (func (param "address-family" $family) (result (result (own $socket) (error $error)))))))
(core func $variables
  (canon lower (func $environment "get-environment") (memory (core memory $memory)) (realloc (core func $realloc))))
(core func $arguments (canon lower (func $environment "get-arguments") (memory (core memory $memory)) (realloc (core func $realloc))))
(core func $directories (canon lower (func $preopens "get-directories") (memory (core memory $memory)) (realloc (core func $realloc))))
(core func $socket (canon lower (func $create "create-tcp-socket") (memory (core memory $memory))))
(core func $udp_socket (canon lower (func $create_udp "create-udp-socket") (memory (core memory $memory))))
;;; with
(with "wasi" (instance
  (export "variables" (func $variables)) (export "arguments" (func $arguments))
  (export "directories" (func $directories)) (export "socket" (func $socket)) (export "udp-socket" (func $udp_socket))))
;;; core-imports
(import "wasi" "variables" (func $variables (param i32)))
(import "wasi" "arguments" (func $arguments (param i32)))
(import "wasi" "directories" (func $directories (param i32)))
(import "wasi" "socket" (func $socket (param i32 i32)))
(import "wasi" "udp-socket" (func $udp_socket (param i32 i32)))
;;; core
(func $digit (param $place i32) (param $value i32)
  (i32.store8 (i32.add (i32.const 2048) (local.get $place)) (i32.add (i32.const 48) (local.get $value))))
(func (export "push") (param i32 i32) (result i32)
  (call $variables (i32.const 3000))
  (call $digit (i32.const 0) (i32.load (i32.const 3004)))
  (call $arguments (i32.const 3000))
  (call $digit (i32.const 1) (i32.load (i32.const 3004)))
  (call $directories (i32.const 3000))
  (call $digit (i32.const 2) (i32.load (i32.const 3004)))
  (call $socket (i32.const 0) (i32.const 3000))
  (call $digit (i32.const 3) (i32.load8_u (i32.const 3000)))
  (call $digit (i32.const 4) (i32.load8_u (i32.const 3004)))
  (call $udp_socket (i32.const 0) (i32.const 3000))
  (call $digit (i32.const 5) (i32.load8_u (i32.const 3000)))
  (call $digit (i32.const 6) (i32.load8_u (i32.const 3004)))
  (call $emit (i32.const 2048) (i32.const 7)))
