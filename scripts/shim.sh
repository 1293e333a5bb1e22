#!/usr/bin/env bash
# Builds `containerd-shim-sterna-v1` as one static program: `shim.sh [release|ci]` prints its path. Installs by apt what that needs
# and ordinary builds do not: protoc, libseccomp, pkg-config.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:-release}
missing=()
command -v protoc >/dev/null || missing+=(protobuf-compiler)
command -v pkg-config >/dev/null || missing+=(pkg-config)
[ -e /usr/include/seccomp.h ] || missing+=(libseccomp-dev)
[ ${#missing[@]} = 0 ] || scripts/apt.sh shim "${missing[@]}"
# Nodes need neither this machine's C library nor libseccomp.
libseccomp=$(dirname "$(find /usr/lib /usr/lib64 -name libseccomp.a -print -quit)")
export LIBSECCOMP_LINK_TYPE=static LIBSECCOMP_LIB_PATH=$libseccomp
cargo rustc --profile "$profile" -p sterna-shim --bin containerd-shim-sterna-v1 -- \
  -C target-feature=+crt-static -C strip=symbols >&2
mkdir -p target/static-bin
cp "target/$profile/containerd-shim-sterna-v1" target/static-bin/shim.new
mv target/static-bin/shim.new target/static-bin/containerd-shim-sterna-v1
echo "$PWD/target/static-bin/containerd-shim-sterna-v1"
