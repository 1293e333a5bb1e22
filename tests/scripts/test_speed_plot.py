"""scripts/speed_plot.py, and that the plot in the documents is of the figures beside it."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
PLOT = ROOT / "scripts/speed_plot.py"
SVG = "{http://www.w3.org/2000/svg}"


def rate(median, **more):
    return {"tokens_per_s": median, "min": 0.9 * median, "max": 1.1 * median, **more}


def run(prompt, ours, theirs):
    sterna = {"decode": rate(ours), "prefill": rate(2 * ours)}
    peer = {
        "decode": rate(theirs, ratio=ours / theirs),
        "prefill": rate(theirs, ratio=2 * ours / theirs),
    }
    return {
        "shape": "bonsai-4b",
        "threads": 1,
        "prompt": prompt,
        "ours": ["--weights", "q1_0"],
        "report": {"sterna": sterna, "a <peer>": peer},
    }


class Plot(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def plot(self, runs):
        runs_file, out = self.folder / "runs.json", self.folder / "out.svg"
        runs_file.write_text(json.dumps(runs))
        command = [sys.executable, str(PLOT), str(runs_file), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done, out

    def test_bars_are_as_long_as_the_rates(self):
        done, out = self.plot([run(128, 40.0, 10.0), run(512, 40.0, 10.0)])
        self.assertEqual(done.returncode, 0, done.stderr)
        drawn = ElementTree.parse(out).getroot()
        bars = [float(r.get("width")) for r in drawn.iter(SVG + "rect")][1:]
        # Both runs, in either panel.
        self.assertEqual(len(bars), 8)
        self.assertAlmostEqual(bars[0] / bars[1], 4.0, places=2)
        self.assertAlmostEqual(bars[4] / bars[5], 8.0, places=1)
        words = [t.text for t in drawn.iter(SVG + "text")]
        self.assertIn("10.0  (Sterna is 4.0 times as fast)", words)
        self.assertIn("a <peer>", words)
        self.assertIn("bonsai-4b q1_0 prompt of 512, 1 thread", words)
        self.assertIn("bonsai-4b q1_0 behind 512, 1 thread", words)

    def test_nothing_is_left_out_in_silence(self):
        failed = run(128, 40.0, 10.0)
        failed["report"]["a <peer>"] = {"failed": "no such model"}
        for runs, reason in [([failed], "no such model"), ([], "no runs"), ([{}], "report")]:
            done, out = self.plot(runs)
            self.assertEqual(done.returncode, 1)
            self.assertIn(reason, done.stderr)
            self.assertFalse(out.exists())

    def test_a_plot_that_cannot_be_written_is_said(self):
        command = [sys.executable, str(PLOT), str(ROOT / "docs/bonsai-speed.json"), str(self.folder / "no/out.svg")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("out.svg", done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_the_documents_plot_is_of_the_figures_beside_it(self):
        measured = ROOT / "docs/bonsai-speed.json"
        done, out = self.plot(json.loads(measured.read_text()))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(out.read_text(), measured.with_suffix(".svg").read_text())


if __name__ == "__main__":
    unittest.main()
