"""scripts/compare.py with programs that only claim to measure."""

import json
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

COMPARE = Path(__file__).resolve().parents[2] / "scripts/compare.py"

# Speeds go up by one each run; the runs are counted in a file, and written to a common log.
FAKE = """#!{python}
import json, pathlib, sys, time
folder = pathlib.Path({folder!r})
runs = folder / {name!r}
number = len(runs.read_text()) if runs.exists() else 0
runs.write_text("x" * (number + 1))
with (folder / "log").open("a") as log:
    log.write({name!r} + " " + " ".join(sys.argv[1:]) + "\\n")
{body}
"""
STERNA = """print(json.dumps({"prefill": {"tokens_per_s": 100 + number}, "decode": {"tokens_per_s": 20 + number}}))"""
PEER = """
prompt, generate = sys.argv[sys.argv.index("-p") + 1], sys.argv[sys.argv.index("-n") + 1]
print("a line of something else")
print(json.dumps([{"n_prompt": int(prompt), "n_gen": 0, "avg_ts": 50.0}, {"n_prompt": 0, "n_gen": int(generate), "avg_ts": 10.0}]))
"""


class Compare(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def program(self, name, body):
        path = self.folder / f"{name}-program"
        path.write_text(FAKE.format(python=sys.executable, folder=str(self.folder), name=name, body=body))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    def compare(self, *arguments, sterna=STERNA):
        command = [sys.executable, str(COMPARE), "--sterna", self.program("sterna", sterna), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def peer(self, name, body=PEER):
        return ["--peer", name, self.program(name, body), f"{name}.gguf"]

    def test_ratios_of_medians_in_alternating_runs(self):
        done = self.compare(*self.peer("a"), *self.peer("b"), "--rounds", "3", "--prompt", "32", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual(report["sterna"]["decode"], {"tokens_per_s": 21, "min": 20, "max": 22})
        for name in "ab":
            self.assertAlmostEqual(report[name]["prefill"]["ratio"], 101 / 50)
            decode = report[name]["decode"]
            self.assertEqual((decode["ratio"], decode["ratio_min"], decode["ratio_max"]), (2.1, 2.0, 2.2))
        log = (self.folder / "log").read_text().splitlines()
        self.assertEqual([line.split()[0] for line in log], ["sterna", "a", "b"] * 3)
        self.assertIn("--prompt 32", log[0])
        self.assertIn("-m a.gguf -t 1 -p 32 -n 64 -r 1", log[1])

    def test_the_table_shows_the_same(self):
        done = self.compare(*self.peer("a"), "--rounds", "1", "--ours", "--isa", "scalar")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"a decode +10\.00 +10\.00 +10\.00 +2\.00 \(2\.00 to 2\.00\)")
        self.assertIn("--isa scalar", (self.folder / "log").read_text())

    def test_any_command_may_be_a_peer(self):
        body = "print('loaded'); print('pp' + sys.argv[3], 40.0); print('tg' + sys.argv[4], 8.0)"
        line = f"{self.program('any', body)} 'a model.gguf' {{threads}} {{prompt}} {{generate}}"
        done = self.compare("--command", "any", line, *self.peer("a"), "--rounds", "1", "--prompt", "7", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual(list(report), ["sterna", "a", "any"])
        self.assertEqual(report["any"]["prefill"]["ratio"], 2.5)
        self.assertEqual(report["any"]["decode"]["ratio"], 2.5)
        self.assertIn("any a model.gguf 1 7 64\n", (self.folder / "log").read_text())

    def test_a_command_must_print_what_was_asked(self):
        cases = {
            "another": ("print('pp8 40.0'); print('tg64 8.0')", "no results: KeyError('pp512')"),
            "none": ("print('pp512 many'); print('tg64 8.0')", "no results"),
            "zero": ("print('pp512 0'); print('tg64 8.0')", "no speed of prefill"),
        }
        for name, (body, reason) in cases.items():
            with self.subTest(name):
                done = self.compare("--command", name, self.program(name, body), "--rounds", "1", "--json")
                self.assertEqual(done.returncode, 1)
                self.assertIn(reason, json.loads(done.stdout)[name]["failed"])

    def test_no_ratio_without_both_sides(self):
        cases = {
            "fails once": ("if number == 1: sys.exit('no such model')" + PEER, "no such model"),
            "prints nothing": ("pass", "no results"),
            "reports no speed": (PEER.replace("50.0", "0.0"), "no speed of prefill"),
            "measures something else": (PEER.replace("int(prompt)", "7"), "no results"),
            "hangs": ("time.sleep(600)", "did not end within 1 s"),
        }
        for what, (body, reason) in cases.items():
            with self.subTest(what):
                name = what.replace(" ", "-")
                done = self.compare(*self.peer(name, body), "--rounds", "2", "--timeout", "1", "--json")
                self.assertEqual(done.returncode, 1)
                entry = json.loads(done.stdout)[name]
                self.assertEqual(list(entry), ["failed"])
                self.assertIn(reason, entry["failed"])

    def test_no_ratio_where_ours_failed(self):
        done = self.compare(*self.peer("a"), "--rounds", "1", "--json", sterna="sys.exit('cannot')")
        self.assertEqual(done.returncode, 1)
        report = json.loads(done.stdout)
        self.assertIn("cannot", report["sterna"]["failed"])
        self.assertNotIn("ratio", report["a"]["decode"])

    def test_a_run_is_appended_to_a_list_and_to_nothing_else(self):
        runs = self.folder / "runs.json"
        sterna = STERNA.replace('{"prefill"', '{"head": "q8_0", "prefill"')
        for number in (1, 2):
            done = self.compare(*self.peer("a"), "--rounds", "1", "--append", str(runs), "--ours", "--isa", "x", sterna=sterna)
            self.assertEqual(done.returncode, 0, done.stderr)
            appended = json.loads(runs.read_text())
            self.assertEqual(len(appended), number)
        self.assertEqual((appended[1]["head"], appended[1]["ours"]), ("q8_0", ["--isa", "x"]))
        self.assertEqual(appended[1]["report"]["a"]["decode"]["tokens_per_s"], 10)
        (self.folder / "log").unlink()
        for held in ('{"a": 1}', "not JSON"):
            runs.write_text(held)
            done = self.compare(*self.peer("a"), "--append", str(runs))
            self.assertEqual(done.returncode, 2)
            self.assertIn("runs.json", done.stderr)
            self.assertEqual(runs.read_text(), held)
        for place in (self.folder, self.folder / "no/runs.json"):
            done = self.compare(*self.peer("a"), "--append", str(place))
            self.assertEqual(done.returncode, 2)
            self.assertIn("--append", done.stderr)
        self.assertFalse((self.folder / "log").exists(), "nothing was measured for it")

    def test_output_that_is_no_text_is_a_failure_with_a_reason(self):
        body = "sys.stdout.buffer.write(b'pp32 \\xff')"
        done = self.compare(*self.peer("a"), "--command", "odd", self.program("odd", body), "--rounds", "1")
        self.assertEqual(done.returncode, 1)
        self.assertNotIn("Traceback", done.stderr)
        self.assertIn("odd", done.stderr)

    def test_wrong_arguments(self):
        absent = self.compare("--peer", "a", str(self.folder / "absent"), "m", "--rounds", "1")
        self.assertEqual(absent.returncode, 1)
        self.assertIn("cannot be started", absent.stdout)
        for arguments, reason in [
            ([], "at least one peer"),
            (self.peer("sterna"), "names must differ"),
            (self.peer("a") + self.peer("a"), "names must differ"),
            (self.peer("a") + ["--command", "a", "x"], "names must differ"),
            (["--command", "a", " "], "is empty"),
            (["--command", "a", "x 'y"], "No closing quotation"),
            (self.peer("a") + ["--rounds", "0"], "at least 1"),
            (self.peer("a") + ["--rounds", "1000"], "at most 100"),
        ]:
            done = self.compare(*arguments)
            self.assertEqual(done.returncode, 2)
            self.assertIn(reason, done.stderr)


if __name__ == "__main__":
    unittest.main()
