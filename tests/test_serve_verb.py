"""`firth serve` as a person meets it: what it prints, how it ends, which addresses it refuses."""

import json
import re
import signal
import socket
import subprocess
import sys
from urllib.request import Request, urlopen

import pytest
from typer.testing import CliRunner

import firth
from firth.cli import app
from firth.errors import InputError
from firth.serving.server import diary, listening, serve
from tests import runs, served
from tests.house import ROOT


def invoked(*words):
    return CliRunner().invoke(app, ["serve", *map(str, words)])


def begun(*words) -> subprocess.Popen:
    command = [sys.executable, "-m", "firth", "serve", *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_and_ends_cleanly(number, tmp_path):
    process = begun(served.writer().folder, "--port", 0, "--json", "--out", tmp_path / "requests.jsonl")
    try:
        found = json.loads(process.stdout.readline())
        assert {key: found[key] for key in ("status", "model", "host", "completions", "embeddings")} == {
            "status": "serving", "model": "tales", "host": "127.0.0.1", "completions": True, "embeddings": True,
        }  # fmt: skip
        body = json.dumps({"model": "tales", "prompt": "The", "max_tokens": 2}).encode()
        asked = Request(f"{found['address']}/v1/completions", body, {"Content-Type": "application/json"})
        assert json.load(urlopen(asked, timeout=20))["choices"]
        process.send_signal(number)
        rest, told = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0 and rest == ""
    lines = told.splitlines()
    size = r"2 layers × 32, [\d,]+ parameters, context 24"
    assert re.fullmatch(rf"Model    tales: llama, {size} · writes on, and gives vectors", lines[0])
    assert lines[1] == f"Serving  {found['address']} · Ctrl-C ends it"
    assert lines[2] == (
        f"Try      curl {found['address']}/v1/completions -H content-type:application/json "
        '-d \'{"model": "tales", "prompt": "The", "max_tokens": 20}\''
    )
    assert re.fullmatch(r"POST /v1/completions · 200 · \d+\.\d\d s", lines[3]) and lines[4] == "Stopped."
    (kept,) = map(json.loads, (tmp_path / "requests.jsonl").read_text().splitlines())
    assert kept["path"] == "/v1/completions" and kept["status"] == 200


def test_a_dry_run_opens_the_model_and_serves_nothing():
    done = invoked(served.encoder().folder, "--port", 0, "--dry-run", "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["status"] == "planned" and found["completions"] is False and found["model"] == "blanks"
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", found["port"]), timeout=1)


def test_an_encoder_is_tried_by_its_vectors():
    told = runs.Told()
    serve(served.encoder().folder, port=0, dry_run=True, show=told)
    assert told.lines["Model"].endswith("context 24 · gives vectors")
    assert (
        '/v1/embeddings -H content-type:application/json -d \'{"model": "blanks", "input": "The"}\''
        in told.lines["Try"]
    )
    assert told.notes == []


def test_an_address_that_others_reach_is_warned_of():
    told = runs.Told()
    found = serve(served.encoder().folder, host="0.0.0.0", port=0, dry_run=True, show=told)
    assert found["host"] == "0.0.0.0"
    assert told.notes == ["Whoever reaches 0.0.0.0 can use the model: there is no password, and nothing is encrypted."]


def test_a_port_that_is_taken():
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        done = invoked(served.encoder().folder, "--port", port)
        assert done.exit_code == 2
        with pytest.raises(InputError) as raised:
            serve(served.encoder().folder, port=port)
    assert str(raised.value) == f"--port {port}: is taken by another program. Choose another, or --port 0 for any."


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_number_that_is_no_port(port):
    with pytest.raises(InputError) as raised:
        listening("127.0.0.1", port)
    assert str(raised.value) == f"--port {port}: is no port. Choose one from 1024 to 65535, or 0 for any that is free."


def test_an_address_of_another_machine():
    with pytest.raises(InputError) as raised:
        listening("192.0.2.1", 0)
    assert re.fullmatch(
        r"--host 192\.0\.2\.1: is no address of this machine \(.+\)\. Leave it out for 127\.0\.0\.1\.",
        str(raised.value),
    )


def test_a_folder_without_a_model_leaves_the_port_free(tmp_path):
    with listening("127.0.0.1", 0) as door:
        port = door.getsockname()[1]
    for _ in range(2):
        with pytest.raises(InputError, match=r"holds no config\.json"):
            serve(tmp_path, port=port)


def test_a_path_cannot_write_on_the_terminal():
    told = runs.Told()
    diary(told, None)({"method": "GET", "path": "/\x1b[2J\nfoo", "status": 404, "seconds": 0.0})
    assert told.notes == ["GET /\\x1b[2J\\nfoo · 404 · 0.00 s"]


def test_a_diary_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError) as raised:
        serve(served.encoder().folder, port=0, out=tmp_path)
    assert str(raised.value) == f"{tmp_path}: cannot be written to (Is a directory). Choose another --out."


def test_the_verb_is_a_python_call_too():
    assert firth.serve.__wrapped__ is serve
