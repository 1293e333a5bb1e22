#!/bin/sh
# Installs the shim on a node; run by k8s/shim/daemonset.yaml with busybox, in Sterna's own image.
#
#   NODE     where the node's root file system is mounted
#   BIN      folder on the node for the programs; containerd must have it on its PATH
#   CONFIG   containerd's configuration on the node
#   RESTART  command that restarts containerd
#   IMAGE    where the image's programs are; / unless a test says otherwise
#
# May run any number of times: what is as it should be is left alone, and containerd restarts only
# for a changed configuration.
set -eu
say() { echo "sterna-shim: $*"; }
fail() { echo "sterna-shim: $*" >&2; exit 1; }

: "${NODE:?}" "${BIN:?}" "${CONFIG:?}" "${RESTART:?}"
image=${IMAGE:-}
config=$NODE$CONFIG
# The shim starts the `sterna` that lies beside it, so the two are installed together.
programs="sterna containerd-shim-sterna-v1"

for program in $programs; do
  [ -f "$image/$program" ] || fail "the image has no /$program: it is not an image of Sterna with the shim"
done
if ! mkdir -p "$NODE$BIN" 2>/dev/null || [ ! -w "$NODE$BIN" ]; then
  fail "$BIN cannot be written on this node; set BIN to a folder that can, and that is on containerd's PATH"
fi

# Version 2 is what containerd 1.x and 2.x both read, so it is what a file gets that does not exist
# yet.
version=2
if [ -f "$config" ]; then
  version=$(sed -n 's/^[[:space:]]*version[[:space:]]*=[[:space:]]*\([0-9][0-9]*\).*/\1/p' "$config" | head -n 1)
fi
case "${version:-1}" in
  2) plugin='io.containerd.grpc.v1.cri' ;;
  3 | 4) plugin='io.containerd.cri.v1.runtime' ;;
  *) fail "$CONFIG is of version ${version:-1}, which has no place for a shim; write it anew with 'containerd config default'" ;;
esac
# Docker's package of containerd turns the kubelet's interface off.
if [ -f "$config" ] && grep -Eq '^[[:space:]]*disabled_plugins[[:space:]]*=.*"(io\.containerd\.grpc\.v1\.)?cri"' "$config"; then
  fail "$CONFIG disables the plugin cri, so the kubelet does not use this containerd; set CONFIG to the one it uses"
fi

for program in $programs; do
  if ! cmp -s "$image/$program" "$NODE$BIN/$program"; then
    # Renamed into place: the old file may be running, and nobody ever sees half of the new one.
    cp "$image/$program" "$NODE$BIN/.$program.new"
    chmod 755 "$NODE$BIN/.$program.new"
    mv "$NODE$BIN/.$program.new" "$NODE$BIN/$program"
    say "installed $BIN/$program"
  fi
done

# Stays until containerd has restarted, so that an attempt that ends in between is made good by the
# next.
pending=$config.sterna-restart
restart() {
  $RESTART || fail "containerd did not restart; $CONFIG.before-sterna is the configuration before"
  rm -f "$pending"
}
if [ -f "$config" ] && grep -Eq "^[[:space:]]*\[plugins\..*\.containerd\.runtimes\.[\"']?sterna[\"']?\]" "$config"; then
  say "$CONFIG has the runtime sterna already"
  [ ! -f "$pending" ] || restart
  exit 0
fi
mkdir -p "$(dirname "$config")"
new=$config.sterna-new
if [ -f "$config" ]; then
  cp "$config" "$config.before-sterna"
  cp "$config" "$new"
else
  echo "version = $version" > "$new"
fi
# As runc's, or the kubelet would look for the pods' cgroups in the wrong place.
systemd=$(grep -E '^[[:space:]]*SystemdCgroup[[:space:]]*=[[:space:]]*true' "$new" || true)
{
  printf '\n# Added by the DaemonSet sterna-shim; the state before is in %s.before-sterna.\n' "$CONFIG"
  printf '[plugins."%s".containerd.runtimes.sterna]\n  runtime_type = "io.containerd.sterna.v1"\n' "$plugin"
  if [ -n "$systemd" ]; then
    printf '  [plugins."%s".containerd.runtimes.sterna.options]\n    SystemdCgroup = true\n' "$plugin"
  fi
} >> "$new"
touch "$pending"
mv "$new" "$config"
say "added the runtime sterna to $CONFIG (version $version); restarting containerd"
restart
