#!/usr/bin/env bash
# Builds `containerd-shim-sterna-v1` as one static program: `shim.sh [release|ci]` prints its path.
# Installs by apt what that needs and ordinary builds do not: protoc, libseccomp, pkg-config.
#
# `ARCH=arm64` (or amd64) builds for that machine, here, into target/static-bin/arm64
# (scripts/cross.sh), with that machine's libseccomp from Debian, which is unpacked into target and
# installed nowhere.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:-release} # or --install, which does nothing else
. scripts/cross.sh
missing=()
command -v protoc >/dev/null || missing+=(protobuf-compiler)
command -v pkg-config >/dev/null || missing+=(pkg-config)
[ -n "$machine" ] || [ -e /usr/include/seccomp.h ] || missing+=(libseccomp-dev)
[ ${#missing[@]} = 0 ] || scripts/apt.sh shim "${missing[@]}"
[ "$profile" != --install ] || exit 0

# The package of another machine: apt with lists and a state of its own asks the same mirrors, does
# not touch the system's, and needs no root.
fetch_libseccomp() { # FOLDER
  local apt=$PWD/$1/apt options
  echo "shim: fetching libseccomp-dev for $arch by apt into $1" >&2
  rm -rf "$apt"
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
  : >"$apt/status"
  options=(-o "APT::Architecture=$arch" -o "APT::Architectures::=$arch" -o "Dir::State::status=$apt/status" -o "Dir::State::lists=$apt/lists"
    -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none)
  apt-get -qq "${options[@]}" update >&2 || true # a mirror without this machine's packages is no fault while another has them
  if ! (cd "$apt" && apt-get -qq "${options[@]}" download libseccomp-dev >&2); then
    echo "shim: no such package; set LIBSECCOMP_LIB_PATH to a folder with libseccomp.a for $arch" >&2
    exit 1
  fi
  dpkg-deb -x "$apt"/libseccomp-dev_*.deb "$1"
  rm -r "$apt"
}

# Nodes need neither this machine's C library nor libseccomp.
libseccomp=${LIBSECCOMP_LIB_PATH:-}
if [ -z "$libseccomp" ] && [ -z "$machine" ]; then
  libseccomp=$(dirname "$(find /usr/lib /usr/lib64 -name libseccomp.a -print -quit)")
elif [ -z "$libseccomp" ]; then
  sysroot=target/sysroot-$arch
  libseccomp=$PWD/$sysroot/usr/lib/$machine-linux-gnu
  [ -e "$libseccomp/libseccomp.a" ] || fetch_libseccomp "$sysroot"
fi
export LIBSECCOMP_LINK_TYPE=static LIBSECCOMP_LIB_PATH=$libseccomp
cargo rustc ${CI:+--locked} --profile "$profile" "${for_target[@]}" -p sterna-shim --bin containerd-shim-sterna-v1 -- \
  -C target-feature=+crt-static -C strip=symbols >&2
mkdir -p "$out"
cp "$built/$profile/containerd-shim-sterna-v1" "$out/shim.new"
mv "$out/shim.new" "$out/containerd-shim-sterna-v1"
echo "$PWD/$out/containerd-shim-sterna-v1"
