#!/usr/bin/env bash
# The test of a control group (cgroup.py), of version 2: `cgroup2.sh PATH-TO-sterna`. Where this
# machine has only that version mounted, it runs here. Else it runs in a virtual machine with
# Debian's kernel and, as its only files, the program, the test and Python.
#
# Its CPU is emulated, since machines that run tests are often virtual themselves. qemu-system-x86,
# busybox-static and the kernel are Debian's: the former are installed by apt, the latter is only
# unpacked.
set -euo pipefail
sterna=$(realpath "$1")
cd "$(dirname "$0")/../.."
say() { printf 'cgroup2: %s\n' "$*" >&2; }

if [ -e /sys/fs/cgroup/cgroup.controllers ]; then exec tests/ops/run.sh "$sterna" cgroup; fi
if [ "$(uname -m)" != x86_64 ]; then say "skipped: version 1 is mounted here, and the virtual machine with version 2 is an x86-64"; exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then say "skipped: version 1 is mounted here, and installing a virtual machine needs root and apt-get"; exit 0; fi
python=/usr/bin/python3
missing=()
command -v qemu-system-x86_64 >/dev/null || missing+=(qemu-system-x86 seabios)
[ -x /bin/busybox ] || missing+=(busybox-static)
[ -x "$python" ] || missing+=(python3)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
chmod 755 "$scratch"
if [ ${#missing[@]} -gt 0 ]; then
  say "installing by apt: ${missing[*]}"
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9]\)/\1/p')
download() { (cd "$scratch" && apt-get download -qq "$kernel" 2>/dev/null); }
download || { apt-get update -qq >&2; download; }
dpkg-deb --fsys-tarfile "$scratch"/linux-image-*.deb | tar -x -C "$scratch" --wildcards './boot/vmlinuz*'

root=$scratch/root
mkdir -p "$root"/{bin,proc,sys,dev,tmp,ops}
cp /bin/busybox "$root/bin/"
cp -r tests/ops/*.py tests/ops/metrics.txt "$root/ops/"
install -m 755 "$sterna" "$root/bin/sterna"
version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
# With what the programs load: ldd names it, and the loader.
libraries() { ldd "$@" 2>/dev/null | grep -oE '/[^ :]+\.so[^ :]*' | sort -u; }
{ libraries "$python" "$sterna" "/usr/lib/$version"/lib-dynload/*.so; realpath "$python"; find "/usr/lib/$version" -type f \( -name '*.py' -o -name '*.so' \) -not -path '*/test/*' -not -path '*/ensurepip/*'; } |
  tar -chPT - | tar -xP --transform "s,^/,$root/," -f -
cat > "$root/init" <<INIT
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1 STERNA_OPS_DEADLINE_S=900 STERNA_OPS_STREAMS=3
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mount -t cgroup2 cgroup /sys/fs/cgroup
echo "+cpu +memory" > /sys/fs/cgroup/cgroup.subtree_control
ip link set lo up
uname -sr; cat /sys/fs/cgroup/cgroup.controllers
cd /ops && $(realpath "$python") ops.py /bin/sterna cgroup
poweroff -f
INIT
chmod 755 "$root/init"
(cd "$root" && find . | /bin/busybox cpio -o -H newc 2>/dev/null) > "$scratch/initramfs"
say "a machine with $(basename "$scratch"/boot/vmlinuz*), $(($(stat -c %s "$scratch/initramfs") >> 20)) MB of files"
timeout 1500 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 2048 -nodefaults -no-reboot -display none -serial stdio -nic none \
  -kernel "$scratch"/boot/vmlinuz* -initrd "$scratch/initramfs" -append "console=ttyS0 panic=-1 quiet" < /dev/null | tee "$scratch/output"
grep -q '^ops: cgroup: passed' "$scratch/output" || { say "failed"; exit 1; }
