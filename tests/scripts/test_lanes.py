"""scripts/lanes.sh and scripts/cargo-test.sh: what fails is shown and counted, never lost."""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

# Fails the tests that the file `failing` names, but the second time only those of `twice`.
CARGO = """#!/bin/sh
echo "cargo $*" >> calls
[ -e failing ] || { echo "error: could not compile"; exit 101; }
names=$(cat failing)
[ "$(wc -l < calls)" = 1 ] || names=$(cat twice)
for name in $names; do echo "test $name ... FAILED"; done
[ -z "$names" ] || exit 101
echo "test good ... ok"
"""


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        (self.root / "scripts").mkdir()

    def run_in(self, *command):
        """Exit code and output."""
        path = f"{self.root / 'bin'}:{os.environ['PATH']}"
        environment = {"PATH": path, "LC_ALL": "C"}
        ended = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)
        return ended.returncode, ended.stdout + ended.stderr


class Lanes(Folder):
    def lanes(self, *steps):
        shutil.copy(SCRIPTS / "lanes.sh", self.root / "scripts")
        lines = ["set -euo pipefail", ". scripts/lanes.sh", "begin_steps", *steps, "end_steps"]
        return self.run_in("bash", "-c", "\n".join(lines))

    def test_good_steps(self):
        code, output = self.lanes("step one true", "step two echo quiet")
        self.assertEqual(code, 0, output)
        self.assertIn("All passed", output)
        self.assertNotIn("quiet", output)

    def test_what_fails_is_shown_and_the_next_step_runs(self):
        code, output = self.lanes("step one sh -c 'echo reason; exit 3'", "step two touch reached")
        self.assertEqual(code, 1, output)
        self.assertTrue((self.root / "reached").exists())
        for words in ["FAILED  one", "exit code 3", "| reason", "FAILED: one", "ok      two"]:
            self.assertIn(words, output)

    def test_what_is_left_out_is_said(self):
        said = ["x: skipped: no root", "SKIPPED [3] y: no schema", "FLAKY, passed the second time: z", "skip z"]
        code, output = self.lanes(*(f"step s{n} echo '{line}'" for n, line in enumerate(said)))
        self.assertEqual(code, 0, output)
        for line in said:
            self.assertIn(f"| {line}", output)


class CargoTest(Folder):
    def cargo_test(self, *arguments, failing=None, twice=""):
        shutil.copy(SCRIPTS / "cargo-test.sh", self.root / "scripts")
        (self.root / "bin").mkdir()
        cargo = self.root / "bin" / "cargo"
        cargo.write_text(CARGO)
        cargo.chmod(0o755)
        if failing is not None:
            (self.root / "failing").write_text(failing)
        (self.root / "twice").write_text(twice)
        code, output = self.run_in("bash", "scripts/cargo-test.sh", *arguments)
        return code, output, (self.root / "calls").read_text().splitlines()

    def test_good_tests_run_once(self):
        code, output, calls = self.cargo_test("--retry", "-p", "x", failing="")
        self.assertEqual((code, len(calls)), (0, 1), output)
        self.assertTrue(calls[0].endswith("-p x --tests"), calls)

    def test_one_program_alone_keeps_its_choice(self):
        _, _, calls = self.cargo_test("-p", "x", "--test", "e2e", failing="")
        self.assertTrue(calls[0].endswith("-p x --test e2e"), calls)

    def test_a_second_try_is_for_those_that_failed_and_is_told(self):
        code, output, calls = self.cargo_test("--retry", "-p", "x", failing="a::b c")
        self.assertEqual(code, 0, output)
        self.assertTrue(calls[1].endswith("-- --exact a::b c"), calls)
        self.assertIn("FLAKY, passed the second time: a::b c", output)

    def test_what_fails_twice_fails(self):
        code, output, calls = self.cargo_test("--retry", "-p", "x", failing="a c", twice="c")
        self.assertEqual((code, len(calls)), (1, 2), output)
        self.assertNotIn("FLAKY", output)

    def test_no_second_try_unless_asked_for(self):
        code, output, calls = self.cargo_test("-p", "x", failing="a")
        self.assertEqual((code, len(calls)), (1, 1), output)

    def test_what_does_not_build_fails_at_once(self):
        code, output, calls = self.cargo_test("--retry", "-p", "x")
        self.assertEqual((code, len(calls)), (1, 1), output)


if __name__ == "__main__":
    unittest.main()
