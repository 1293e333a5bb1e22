"""`sterna` with a model's name in place of a path: `test_pull.py PATH-TO-sterna`, which has
sterna-pull beside it. The hub is a server of this process.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DEMO = Path(__file__).parents[2] / "component/engine/models/demo.gguf"
STERNA = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None


class Hub(BaseHTTPRequestHandler):
    """Hugging Face's interface, as far as it is used, with one model."""

    def do_GET(self):
        content = DEMO.read_bytes()
        if self.path == "/api/models/team/stories/revision/main?blobs=true":
            digest = hashlib.sha256(content).hexdigest()
            lfs = {"sha256": digest, "size": len(content)}
            file = {"rfilename": "stories-I2_S.gguf", "size": len(content), "lfs": lfs}
            body = json.dumps({"sha": "c0ffee", "siblings": [file]}).encode()
        elif self.path == "/team/stories/resolve/c0ffee/stories-I2_S.gguf":
            body = content
        else:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Pull(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.cache = folder.name
        server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.endpoint = f"http://127.0.0.1:{server.server_port}"

    def sterna(self, *arguments, endpoint=None):
        own = {"STERNA_CACHE": self.cache, "HF_ENDPOINT": endpoint or self.endpoint}
        environment = {**os.environ, **own, "NO_PROXY": "*"}
        command = [STERNA, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def test_a_name_stands_for_its_model(self):
        prompt = ["Once upon a time", "-n", "8", "--temperature", "0"]
        by_path = self.sterna("run", "-m", str(DEMO), *prompt)
        by_name = self.sterna("run", "-m", "team/stories:I2_S", *prompt)
        self.assertEqual(by_name.returncode, 0, by_name.stderr)
        self.assertEqual(by_name.stdout, by_path.stdout)
        # It is here now, whoever is there.
        nowhere = "http://127.0.0.1:1"
        looked = self.sterna("inspect", "--no-measure", "team/stories:I2_S", endpoint=nowhere)
        self.assertEqual(looked.returncode, 0, looked.stderr)
        self.assertIn("stories-I2_S.gguf", looked.stdout)
        listed = self.sterna("pull", "--list", endpoint=nowhere)
        self.assertIn("team/stories:I2_S", listed.stdout)
        self.assertEqual(self.sterna("pull", "--rm", "team/stories:I2_S").returncode, 0)
        self.assertEqual(self.sterna("pull", "--list").stdout, "")

    def test_what_cannot_be_had_is_said_once_with_the_reason(self):
        for command in [["run", "hello"], ["bake", "-o", str(Path(self.cache) / "app.wasm")]]:
            for name, words in [("team/other", "no such model"), ("team/stories:Q9", "Q9")]:
                said = self.sterna(*command, "-m", name)
                self.assertEqual(said.returncode, 1)
                self.assertIn(words, said.stderr)
                self.assertIn(f"the model {name} cannot be had", said.stderr)
        said = self.sterna("run", "-m", "team/stories", "hello", endpoint="http://127.0.0.1:1")
        self.assertIn("offline", said.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
