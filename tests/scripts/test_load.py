"""scripts/load.py against a server that does what it is told: `test_load.py [STERNA]`. With a
program, it is measured too."""

import http.server
import json
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
STERNA = Path(sys.argv.pop(1)).resolve() if len(sys.argv) > 1 and Path(sys.argv[1]).exists() else None
GAP = 0.02


def event(text, reason=None, **more):
    return {"choices": [{"text": text, "finish_reason": reason}], **more}


class Server(http.server.ThreadingHTTPServer):
    """Answers as `plan` says for a request's number: a status, a fault, or "ok"."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, plan=lambda number: "ok"):
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan, self.lock = plan, threading.Lock()
        self.bodies, self.times, self.keys = [], [], []
        self.running = self.most = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            number = len(server.bodies)
            server.bodies.append(body)
            server.times.append(time.monotonic())
            server.keys.append(self.headers.get("Authorization"))
            server.running += 1
            server.most = max(server.most, server.running)
        self.has_left = False
        try:
            self.answer(body, server.plan(number))
        finally:
            self.leave()

    def leave(self):
        with self.server.lock:
            self.server.running -= not self.has_left
            self.has_left = True

    def answer(self, body, plan):
        if self.path != "/v1/completions":
            plan = 404
        if isinstance(plan, int):
            self.send_response(plan)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if plan == "hang":
            time.sleep(3)
            return
        for index in range(body["max_tokens"]):
            time.sleep(GAP)
            self.chunks(event(f"t{index}"))
            if plan == "cut":
                self.close_connection = True
                return
        if plan == "error":
            self.chunks({"error": {"message": "broken"}})
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": body["max_tokens"]}
        usage["prompt_tokens_details"] = {"cached_tokens": len(body["prompt"]) // 2}
        self.chunks(event("", "length"))
        self.chunks({"choices": [], "usage": usage})
        # Before the client knows, and may send its next request.
        self.leave()
        self.raw(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def chunks(self, event):
        """An event in two chunks, neither of which ends with a line."""
        data = f": a comment\ndata: {json.dumps(event)}\n\n".encode()
        self.raw(data[:20])
        self.raw(data[20:])

    def raw(self, data):
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


class Load(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def load(self, url, *arguments, code=0):
        out = self.folder / "out.json"
        command = [sys.executable, str(ROOT / "scripts/load.py"), url, "--json", str(out), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout, json.loads(out.read_text())

    def test_figures_are_those_of_the_server(self):
        server = Server()
        table, got = self.load(server.url, "--clients", 2, "--requests", 6, "--prompt", 32, "--generate", 5)
        report = got["report"]
        self.assertEqual((report["requests"], report["succeeded"], report["failed"]), (6, 6, {}))
        self.assertEqual((report["tokens"], report["prompt_tokens"]), (30, 192))
        self.assertAlmostEqual(report["cached_share"], 0.5)
        self.assertEqual(server.most, 2)
        for name in ("ttft", "itl"):
            self.assertGreaterEqual(report[name]["p50"], 0.9 * GAP, name)
            self.assertLess(report[name]["p50"], 50 * GAP, name)
        self.assertEqual([len(request["itl"]) for request in got["requests"]], [4] * 6)
        self.assertIn("6, 6 ended well", table)
        for body in server.bodies:
            self.assertEqual(len(body["prompt"]), 32)
            self.assertTrue(body["ignore_eos"] and body["stream"] and all(100 <= t < 250 for t in body["prompt"]))

    def test_arrivals_wait_for_nobody(self):
        server = Server()
        self.load(server.url, "--rate", 50, "--requests", 20, "--generate", 25)
        # Each answer takes half a second, and twenty arrive in about 0.4 s.
        self.assertGreater(server.most, 8)

    def test_the_same_seed_asks_the_same(self):
        asked = []
        for seed in (1, 1, 2):
            server = Server()
            mix = ("--prompt", "8:0.5,40:0.5", "--shared-prefix", 16, "--seed", seed, "--generate", 1)
            self.load(server.url, "--clients", 1, "--requests", 20, *mix)
            asked.append([body["prompt"] for body in server.bodies])
        self.assertEqual(asked[0], asked[1])
        self.assertNotEqual(asked[0], asked[2])
        self.assertEqual({len(prompt) for prompt in asked[0]}, {8, 40})
        long = [prompt for prompt in asked[0] if len(prompt) == 40]
        self.assertEqual(len({tuple(prompt[:16]) for prompt in long}), 1)
        self.assertEqual(len({tuple(prompt[16:]) for prompt in long}), len(long))

    def test_each_kind_of_failure_is_counted(self):
        kinds = ["ok", 429, "cut", "error", "hang", 503, "ok"]
        server = Server(lambda number: kinds[number])
        arguments = ("--clients", 1, "--requests", len(kinds), "--generate", 2, "--timeout", 1)
        table, got = self.load(server.url, *arguments)
        report = got["report"]
        self.assertEqual(report["succeeded"], 2)
        counted = report["failed"]
        self.assertEqual(counted.pop("stream cut off", 0) + counted.pop("ValueError", 0) + counted.pop("IncompleteReadError", 0), 1)
        self.assertEqual(counted, {"HTTP 429": 1, "error in the stream": 1, "timeout": 1, "HTTP 503": 1})
        self.assertIn("HTTP 429: 1", table)
        server = Server(lambda number: kinds[number])
        self.load(server.url, *arguments, "--strict", code=1)
        self.load(Server(lambda _: 500).url, "--clients", 1, "--requests", 1, code=1)

    def test_goodput_counts_what_was_within_the_limits(self):
        server = Server()
        ask = ("--clients", 1, "--requests", 3, "--generate", 4)
        good = self.load(server.url, *ask, "--slo-ttft", 5, "--slo-itl", 5)[1]["report"]
        self.assertEqual(good["good_share"], 1.0)
        for limit in ("--slo-ttft", "--slo-itl"):
            slow = self.load(server.url, *ask, "--slo-ttft", 5, "--slo-itl", 5, limit, GAP / 4)[1]["report"]
            self.assertEqual(slow["good_share"], 0.0, limit)

    def test_the_plot_has_a_panel_for_each_figure(self):
        out = self.folder / "out.svg"
        self.load(Server().url, "--clients", 1, "--requests", 2, "--generate", 3, "--svg", out, "--api-key", "k")
        drawn = ElementTree.parse(out).getroot()
        paths = [path for path in drawn.iter("{http://www.w3.org/2000/svg}path") if path.get("fill") == "none"]
        self.assertEqual(len(paths), 3)
        self.assertNotIn('"k"', (self.folder / "out.json").read_text())

    def test_what_cannot_be_asked_is_named(self):
        for arguments, words in (
            (["--rate", "0"], "at least"),
            (["--clients", "1", "--prompt", "x"], "LENGTH"),
            (["--clients", "1", "--prompt", "5:0"], "weights above 0"),
            (["--clients", "1", "--rate", "1"], "not allowed"),
            (["--clients", "1", "--ids", "5", "5"], "below the second"),
            (["--clients", "1", "--requests", "100001"], "100000"),
        ):
            command = [sys.executable, str(ROOT / "scripts/load.py"), "127.0.0.1:1", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(words, done.stderr)

    @unittest.skipUnless(STERNA, "no program was given: sterna itself is not loaded")
    def test_sterna_serves_a_crowd(self):
        command = [str(STERNA), "serve", "--listen", "127.0.0.1:0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            try:
                url = next(word for word in server.stdout.readline().split() if word.startswith("http://"))
                mix = ("--prompt", "32:0.7,100:0.3", "--shared-prefix", 24, "--generate", 12)
                got = self.load(url, "--rate", 40, "--requests", 40, *mix, "--strict")[1]["report"]
            finally:
                server.terminate()
        self.assertEqual((got["succeeded"], got["tokens"]), (40, 480))


if __name__ == "__main__":
    unittest.main(verbosity=2)
