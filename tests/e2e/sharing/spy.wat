;; Shows the note that lies in shared data under the key in the header `x-spy-nobodys`: 200 and its bytes, or
;; 404. It does what any other module in the same Envoy could do.
(module
  (import "env" "proxy_get_header_map_value"
    (func $header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_shared_data"
    (func $read (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $answer (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))

  ;; 0: where the key is, 4: its length, 8: where the note is, 12: its length, 16: its version.
  (memory (export "memory") 16)
  (data (i32.const 32) "x-spy-nobodys")
  (global $free (mut i32) (i32.const 64))

  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param $size i32) (result i32)
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get $size))))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))

  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    ;; Nothing is kept from one request to the next.
    (global.set $free (i32.const 64))
    (if (call $header (i32.const 0) (i32.const 32) (i32.const 13) (i32.const 0) (i32.const 4))
      (then (return (i32.const 0))))
    (if (call $read (i32.load (i32.const 0)) (i32.load (i32.const 4))
          (i32.const 8) (i32.const 12) (i32.const 16))
      (then (drop (call $answer (i32.const 404)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const -1))))
      (else (drop (call $answer (i32.const 200)
        (i32.const 0) (i32.const 0) (i32.load (i32.const 8)) (i32.load (i32.const 12))
        (i32.const 0) (i32.const 0) (i32.const -1)))))
    (i32.const 1)))
