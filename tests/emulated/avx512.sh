#!/bin/sh
# Runs a test program on an emulated CPU with AVX-512 (Bochs, an Intel Tiger Lake: F, BW, VL, VNNI,
# VBMI), for machines whose own CPU has none; on a CPU with AVX-512 VNNI it runs the program
# directly.
#
#   tests/emulated/avx512.sh PROGRAM [ARGUMENT...]
#
# PROGRAM is a static x86-64 Linux executable without threads or files (firmware.c lists its system
# calls), such as
#   RUSTFLAGS='-C target-feature=+crt-static' cargo build --profile ci \
#       --target x86_64-unknown-linux-gnu -p sterna-kernel-checks
# Exit code: the program's; 1 if it never ended. Variables PROPTEST_* and RUST_* are passed on. If
# EXPECT is set, the output must contain it: `EXPECT=avx512` fails a run that, for whatever reason,
# had nothing with AVX-512 to test. TIMEOUT (seconds, default 1800) ends a hung run.
#
# There is no BIOS and no kernel to boot: boot.S and firmware.c are a 64 KiB ROM that loads the
# program from the emulated disk and answers its system calls, so a run starts within a second or
# two. Then it is about 40 million instructions a second: kernel_checks with its 200 cases takes a
# minute of CPU time.
set -eu

fail() { echo "avx512.sh: $*" >&2; exit 1; }
check_expected() { # OUTPUT-FILE
    [ -z "${EXPECT:-}" ] || grep -q -e "$EXPECT" "$1" || fail "the output does not mention \"$EXPECT\""
}

[ $# -ge 1 ] || fail "usage: avx512.sh PROGRAM [ARGUMENT...]"
program=$1
[ -x "$program" ] || fail "$program is not an executable file"
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
emulator=
trap '[ -z "$emulator" ] || kill "$emulator" 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

if grep -qw avx512_vnni /proc/cpuinfo; then
    echo "avx512.sh: this CPU has AVX-512 VNNI: running $program on it"
    code=0
    "$@" >"$work/output" || code=$?
    cat "$work/output"
    check_expected "$work/output"
    exit "$code"
fi

need=
command -v bochs-bin >/dev/null || need="bochs bochsbios"
[ -n "$(find /usr/lib -path '*bochs/plugins/libbx_term_gui.so' 2>/dev/null)" ] || need="$need bochs-term"
command -v gcc >/dev/null || need="$need gcc libc6-dev"
command -v script >/dev/null || need="$need bsdutils"
# shellcheck disable=SC2086
[ -z "$need" ] || "$here/../../scripts/apt.sh" avx512.sh $need || fail "could not install: $need"

if readelf -lW "$program" | grep -q INTERP; then
    fail "$program needs a dynamic loader; build it with RUSTFLAGS='-C target-feature=+crt-static'"
fi

gcc -O2 -Wall -Wextra -Werror -ffreestanding -fno-pic -fno-pie -fno-stack-protector -fcf-protection=none \
    -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -mno-red-zone -mgeneral-regs-only \
    -nostdlib -static -no-pie -Wl,--build-id=none -Wl,-T,"$here/firmware.ld" -o "$work/firmware.elf" \
    "$here/boot.S" "$here/firmware.c"
objcopy -O binary -j .rom "$work/firmware.elf" "$work/firmware.rom"

# The disk: number of sectors, arguments and environment in the first 64 KiB, then the program;
# padded to whole cylinders.
strip -o "$work/program" "$program"
sectors=$((128 + ($(stat -c %s "$work/program") + 511) / 512))
{
    for shift in 0 8 16 24; do
        # shellcheck disable=SC2059
        printf "\\$(printf %03o $((sectors >> shift & 255)))"
    done
    printf '%s\0' "$@"
    printf '\0'
    env -0 | grep -z -e '^PROPTEST_' -e '^RUST_' || true
    printf '\0'
} >"$work/disk"
[ "$(stat -c %s "$work/disk")" -le 65536 ] || fail "too many arguments"
truncate -s 65536 "$work/disk"
cat "$work/program" >>"$work/disk"
cylinders=$(((sectors * 512 + 516095) / 516096))
truncate -s $((cylinders * 516096)) "$work/disk"

cat >"$work/bochsrc" <<EOF
display_library: term
romimage: file=$work/firmware.rom
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
cpu: model=tigerlake, count=1, ips=10000000, reset_on_triple_fault=0
memory: guest=1024, host=1024
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
plugin_ctrl: speaker=false
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, mode=flat, path=$work/disk, cylinders=$cylinders, heads=16, spt=63
com1: enabled=1, mode=file, dev=$work/output
clock: sync=none
log: $work/log
panic: action=fatal
error: action=ignore
EOF

# Debian's Bochs has its debugger built in, which waits for commands; its display wants a terminal.
options="-q -f $work/bochsrc"
if bochs-bin --help 2>&1 | grep -q -e '-rc filename'; then
    echo c >"$work/commands"
    options="$options -rc $work/commands"
fi
: >"$work/output"
TERM=xterm timeout "${TIMEOUT:-1800}" script -qec "stty rows 50 cols 132; exec bochs-bin $options" /dev/null \
    </dev/null >"$work/terminal" 2>&1 &
emulator=$!
tail -n +1 -f --pid=$emulator "$work/output"
wait $emulator || true
emulator=

code=$(sed -n 's/^\[emulated exit \([0-9]*\)\]$/\1/p' "$work/output" | tail -n 1)
if [ -z "$code" ]; then
    tail -n 5 "$work/terminal" "$work/log"
    fail "the program never ended"
fi
check_expected "$work/output"
exit "$code"
