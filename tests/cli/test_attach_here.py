"""`harness attach` to a server without the plugin: what it refuses, and that what it has found is on disk whatever kills it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.cli.attach import _model_of
from harness.drivers.process import ROOT
from harness.engines.vllm.attach import protocol
from harness.errors import UsageError
from harness.families.gemma4.tokens import ID_OF_KIND
from harness.files import jsonl
from harness.report.journal import FILE, left
from tests.cli.command import harness
from tests.drivers.processes import within
from tests.families.gemma4.test_takes import given

BEFORE = 2
"""Results that are known when it is killed."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A server without the plugin, of a checkpoint that is here."""
    model = given(tmp_path / "checkpoint", ids={f"{kind}_token_id": token for kind, token in ID_OF_KIND.items()}).source
    answers = {"/version": {"version": "0.32.0"}, "/v1/models": {"data": [{"id": model, "max_model_len": 512}]}}

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in answers else 404)
            self.end_headers()
            self.wfile.write(json.dumps(answers.get(self.path, {})).encode())

        def do_POST(self) -> None:
            self.send_response(422)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    serving = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()


def test_what_was_found_is_there_as_a_part_when_it_is_killed(server: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["attach", server, "--catalogue", "--dtype", "float32", "--out", str(out)]
    with (tmp_path / "err").open("w") as err:
        command = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.pretended", "0.2", *words], cwd=ROOT, stdout=err, stderr=err
        )
    try:
        assert within(60, lambda: len(jsonl.read(out / FILE)) > BEFORE or command.poll() is not None)
        os.kill(command.pid, signal.SIGKILL)
        assert command.wait(10) == -signal.SIGKILL, (tmp_path / "err").read_text()
    finally:
        command.kill()
    found = left("of", out / FILE)
    assert BEFORE <= len(found.results) < found.planned and "attach" in found.command


@pytest.mark.parametrize(("option", "value"), [("--observe-layer", "999"), ("--logits-at", "50")])
def test_what_the_prompt_and_the_model_do_not_have_is_refused(server: str, option: str, value: str) -> None:
    words = ["attach", server, "--layout", "t3", "--dtype", "float32", option, value]
    ended = subprocess.run([sys.executable, "-m", "harness", *words], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2 and f"{option.removeprefix('--')}: {value}" in ended.stderr, ended.stderr


@pytest.mark.parametrize("model", ["/elsewhere/checkpoint", "./checkpoint", "../checkpoint", "checkpoint", "tiny"])
def test_a_checkpoint_that_the_server_has_elsewhere_is_no_preset_and_has_to_be_named(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="name a copy with --model DIR"):
        _model_of(protocol.by_api("0.32.0", "served", model, 512, scale_out=True))


def test_an_id_of_the_hub_is_one_here_too() -> None:
    assert _model_of(protocol.by_api("0.32.0", "served", "google/gemma-4-31B-it", 512, scale_out=True))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "layout, image, video, audio, text, catalogue: 'none of them'"),
        (["--layout", "t3", "--text", "w40"], "layout and text: 't3, w40'"),
    ],
)
def test_what_is_missing_is_named_as_this_command_has_it(words: list[str], said: str) -> None:
    done = harness("attach", "http://127.0.0.1:1", *words)
    assert done.code == 2 and said in done.err and "case" not in done.err and "picture" not in done.err, done.err
