# The packages whose tests run natively, save the host's, with their features. Steps that name all
# of them share their builds; together with the host they would change its features, and wasmtime
# would be built a second time for that.
# shellcheck shell=bash disable=SC2034,SC2054
natives=(-p sterna-kernels -p sterna-engine -p sterna-api -p sterna-config -p sterna-http-rules -p sterna-errors -p sterna-fuzz
  --features sterna-kernels/checks,sterna-engine/native)
