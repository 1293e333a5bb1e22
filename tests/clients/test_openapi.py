"""What the served /openapi.json says of answers holds, for requests that `schemathesis` makes."""

import subprocess
import sys
from pathlib import Path

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
]


def test_answers_are_as_the_document_says(brief_server, tmp_path):
    run = subprocess.run(
        [
            Path(sys.executable).parent / "schemathesis",
            *("run", f"{brief_server}/openapi.json"),
            *("--checks", ",".join(CHECKS)),
            *("--phases", "coverage,fuzzing"),
            *("--max-examples", "10"),
            *("--seed", "1"),
            *("--request-timeout", "60"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
