"""``streamasr serve`` as a process: signals and mistakes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import connect

COMMAND = [sys.executable, "-m", "streamasr", "serve"]


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command; yield it and its WebSocket address."""
    with subprocess.Popen(
        [*COMMAND, "--port", "0", *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if found := re.search(r"listening on http(s?)://([\d.:]+)", line):
                    yield process, f"ws{found[1]}://{found[2]}"
                    break
        finally:
            process.kill()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_stopped_server_tells_the_last_words(speech, live_text, sent, code):
    pcm = (speech * 32767).astype("<i2").tobytes()
    with started() as (process, address), ExitStack() as stack:
        callers = [stack.enter_context(connect(address + "/v1/stream")) for _ in range(6)]
        for caller in callers:
            caller.send(json.dumps({"type": "start"}))
            caller.send(pcm)
            json.loads(caller.recv())  # it is being heard
        process.send_signal(sent)
        for caller in callers:
            events = [json.loads(message) for message in caller]
            assert [e["text"] for e in events if e["type"] == "final"] == [live_text]
            assert events[-1]["type"] == "done"
            assert caller.close_code == 1001
        assert process.wait(timeout=15) == code


def test_a_second_signal_stops_at_once(tiny_folder: Path, speech):
    """Whatever is still to be decoded."""
    pcm = (speech * 32767).astype("<i2").tobytes()
    with (
        started("--model", str(tiny_folder), "--decoders", "1") as (process, address),
        connect(address + "/v1/stream") as caller,
    ):
        caller.send(json.dumps({"type": "start"}))
        for _ in range(3):
            caller.send(5 * pcm)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        assert process.wait(timeout=5) == 130


@pytest.fixture(scope="session")
def live_text(recognizer, speech) -> str:
    (final,) = (e for e in recognizer.listen([speech]) if e.type == "final")
    return final.text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--host", "192.0.2.1"], "192.0.2.1:0 cannot be listened on"),
        (["--token-file", "none"], "none: the tokens cannot be read"),
        (["--tls-key", "key.pem"], "--tls-certificate and --tls-key go together"),
        (["--tls-key", "key.pem", "--tls-certificate", "a"], "a: there is no such file"),
        (["--tls-key", __file__, "--tls-certificate", __file__], "not a certificate and its key"),
    ],
)
def test_a_mistake_is_one_line(tiny_folder: Path, arguments, reason):
    done = subprocess.run(
        [*COMMAND, "--port", "0", "--model", str(tiny_folder), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert reason in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_all_that_serve_says_of_hotwords_is_logged(tmp_path: Path):
    """In JSON lines, as everything else: it is read by machines."""
    path = tmp_path / "names.txt"
    path.write_text("Jos\u00e9\n12345\n", encoding="utf-8")
    arguments = [*COMMAND, "--port", "0", "--hotwords", str(path)]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        messages = []
        try:
            for line in process.stderr:
                if line.startswith("listening on "):
                    break
                messages.append(json.loads(line)["message"])
        finally:
            process.kill()
    assert "hotwords have letters a to z: 'Jos\u00e9' is matched as 'jose'" in messages
