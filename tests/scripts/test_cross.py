"""scripts/static.sh and scripts/shim.sh for each machine, with tools that only write down how they
were called.
"""

import os
import shutil
import stat
import subprocess
import tempfile
import unittest
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
NAMES = {"amd64": ("x86_64", "x86-64"), "arm64": ("aarch64", "aarch64")}
PROGRAMS = {"static.sh": "sterna", "shim.sh": "containerd-shim-sterna-v1"}

# Leaves the program where cargo would, and says what it was told, by words and by environment.
CARGO = """#!/bin/sh
target= previous=
for word; do
  case $previous in
    --target) target=/$word ;;
    --profile) profile=$word ;;
    --bin) bin=$word ;;
  esac
  previous=$word
done
folder=${CARGO_TARGET_DIR:-target}$target/$profile
mkdir -p "$folder" && echo "$target" > "$folder/$bin"
echo "cargo $*" >> log
env | grep -E '^(CARGO_TARGET|LIBSECCOMP|STERNA)' >> log || true
"""
# Lists are made where they were asked to be, and the package lies in the current folder.
APT_GET = """#!/bin/sh
case "$*" in *download*) : > libseccomp-dev_1_other.deb ;; esac
"""
DPKG_DEB = """#!/bin/sh
[ "$1" = -x ] && [ -e "$2" ] || exit 1
for machine in x86_64 aarch64; do mkdir -p "$3/usr/lib/$machine-linux-gnu" && : > "$3/usr/lib/$machine-linux-gnu/libseccomp.a"; done
"""
NOTHING = "#!/bin/sh\n"


class Cross(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name).resolve()
        (self.root / "scripts").mkdir()
        for name in ["cross.sh", *PROGRAMS]:
            shutil.copy(SCRIPTS / name, self.root / "scripts")
        for name in ["embedded.sh", "components.sh"]:
            self.program(f"scripts/{name}", NOTHING)
        # What is missing would be installed: nothing is.
        self.program("scripts/apt.sh", '#!/bin/sh\necho "apt $*" >> log\n')
        (self.root / "target/components").mkdir(parents=True)
        (self.root / "target/components/api.wasm").touch()
        self.program("bin/cargo", CARGO)
        self.program("bin/rustc", f"#!/bin/sh\necho {self.root}\n")
        self.program("bin/apt-get", APT_GET)
        self.program("bin/dpkg-deb", DPKG_DEB)
        for name in ["protoc", "pkg-config", *(f"qemu-{machine}" for machine, _ in NAMES.values())]:
            self.program(f"bin/{name}", NOTHING)

    def program(self, name, text):
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def build(self, script, arch, here):
        """Its exit code, the path it printed, and the log; on a machine that calls itself
        `here`.
        """
        self.program("bin/uname", f"#!/bin/sh\necho {NAMES[here][0]}\n")
        (self.root / "log").unlink(missing_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CARGO", "LIBSECCOMP", "STERNA", "RUST"))}
        done = subprocess.run(
            [self.root / "scripts" / script, "ci"],
            env=kept | {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "ARCH": arch},
            capture_output=True, text=True, timeout=60, check=False,
        )
        log = (self.root / "log").read_text() if (self.root / "log").exists() else ""
        return done, log

    def test_each_machine_for_each(self):
        for script, program in PROGRAMS.items():
            for here in NAMES:
                for arch in NAMES:
                    with self.subTest(script=script, here=here, arch=arch):
                        done, log = self.build(script, arch, here)
                        self.assertEqual(done.returncode, 0, done.stderr)
                        machine = NAMES[arch][0]
                        target = f"{machine}-unknown-linux-gnu"
                        other = arch != here
                        path = Path(done.stdout.strip())
                        self.assertEqual(path, self.root / "target/static-bin" / (arch if other else "") / program)
                        self.assertEqual(path.read_text().strip(), f"/{target}" if other else "")
                        self.assertIn("target-feature=+crt-static -C strip=symbols", log)
                        self.assertEqual(f"--target {target}" in log, other)
                        self.assertEqual(f"CARGO_TARGET_{target.upper().replace('-', '_')}_LINKER={machine}-linux-gnu-gcc" in log, other)

    def test_the_shim_takes_the_other_machines_libseccomp(self):
        _, log = self.build("shim.sh", "arm64", "amd64")
        self.assertIn(f"LIBSECCOMP_LIB_PATH={self.root}/target/sysroot-arm64/usr/lib/aarch64-linux-gnu\n", log)
        self.assertIn("LIBSECCOMP_LINK_TYPE=static\n", log)
        # Fetched once.
        self.program("bin/apt-get", "#!/bin/sh\nexit 1\n")
        done, _ = self.build("shim.sh", "arm64", "amd64")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_without_the_package_it_says_what_to_do(self):
        self.program("bin/apt-get", "#!/bin/sh\nexit 1\n")
        done, log = self.build("shim.sh", "arm64", "amd64")
        self.assertEqual(done.returncode, 1)
        self.assertIn("set LIBSECCOMP_LIB_PATH", done.stderr)
        self.assertNotIn("cargo", log)

    def test_an_unknown_machine_is_refused(self):
        for script in PROGRAMS:
            done, log = self.build(script, "riscv64", "amd64")
            self.assertEqual(done.returncode, 1)
            self.assertIn("may be amd64 or arm64", done.stderr)
            self.assertNotIn("cargo", log)


if __name__ == "__main__":
    unittest.main()
