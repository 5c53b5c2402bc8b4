"""``tinkex batch run`` as a process: pipes, signals, and ends without a word."""

from __future__ import annotations

import functools
import json
import random
import resource
import signal
import subprocess
import sys
import time

import pytest

from tinkex import testing
from tinkex.types import SampledSequence, SampleResponse

tokenizers = pytest.importorskip("tokenizers")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WORDS = {"zero": 0, "one": 1, "two": 2, "three": 3}


def echo(request):
    """The prompt again."""
    tokens = request.prompt.to_ints()[: request.sampling_params.max_tokens]
    return SampleResponse([SampledSequence(tokens, [-1.0] * len(tokens))])


def until(holds, seconds=20):
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def server(monkeypatch):
    """A server that answers with the prompt, and the way to it in the environment."""
    monkeypatch.setenv("TINKER_API_KEY", "tml-test")
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    with testing.FakeServer(answers=echo) as running:
        monkeypatch.setenv("TINKER_BASE_URL", running.url)
        yield running


@pytest.fixture
def tokenizer(tmp_path):
    """A tokenizer of four words; its folder."""
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(WORDS, unk_token="zero"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def program(tokenizer, *arguments, **options):
    """The command as a process of its own."""
    command = [sys.executable, "-m", "tinkex", "batch", "run", *arguments, "--tokenizer", str(tokenizer), "-m", "4"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_pipes(server, tokenizer):
    """Rows from standard input become rows on standard output, each as soon as it ends."""
    with program(tokenizer, "-", stdin=subprocess.PIPE) as process:
        for name in "ab":
            process.stdin.write(json.dumps({"id": name, "prompt": "one"}) + "\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["id"] == name
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "2 done" in errors


def test_a_reader_that_leaves(server, tokenizer, tmp_path):
    """When the program behind the pipe has had enough, the command ends without a traceback."""
    (tmp_path / "in.jsonl").write_text('{"prompt": "one"}\n' * 5000)
    with program(tokenizer, str(tmp_path / "in.jsonl")) as process:
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 1
    assert "Traceback" not in errors


def test_interrupted(server, tokenizer, tmp_path):
    """After Ctrl-C no row is begun, those in flight end, and the way to go on is printed; so it is done."""
    server.hold()
    rows = tmp_path / "in.jsonl"
    rows.write_text("".join(json.dumps({"id": number, "prompt": "one"}) + "\n" for number in range(50)))
    arguments = [str(rows), "-o", str(tmp_path / "out.jsonl"), "--max-in-flight", "5"]
    with program(tokenizer, *arguments) as process:
        until(lambda: server.running >= 5)
        process.send_signal(signal.SIGINT)
        assert "Ctrl-C again" in process.stderr.readline()
        server.release()
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "tinkex batch run" in errors
    assert str(rows) in errors
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 5
    with program(tokenizer, *arguments) as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "45 done, 0 failed, 5 there before" in errors
    found = [json.loads(line)["id"] for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert found == list(range(50))


def test_interrupted_twice(server, tokenizer, tmp_path):
    """A second Ctrl-C drops what is in flight, and the command ends at once, also with standard input open."""
    server.hold()
    with program(tokenizer, "-", "-o", str(tmp_path / "out.jsonl"), stdin=subprocess.PIPE) as process:
        process.stdin.write('{"prompt": "one"}\n')
        process.stdin.flush()
        until(lambda: server.running >= 1)
        process.send_signal(signal.SIGINT)
        assert "Ctrl-C again" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read()
        process.wait(10)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "Fatal" not in errors


def test_two_at_once(server, tokenizer, tmp_path):
    """A second run on the same output is told that there is a first."""
    server.hold()
    rows = tmp_path / "in.jsonl"
    rows.write_text('{"prompt": "one"}\n')
    with program(tokenizer, str(rows), "-o", str(tmp_path / "out.jsonl")) as first:
        until(lambda: server.running >= 1)
        with program(tokenizer, str(rows), "-o", str(tmp_path / "out.jsonl")) as second:
            _, errors = second.communicate(timeout=20)
        server.release()
        first.communicate(timeout=20)
    assert (first.returncode, second.returncode) == (0, 1)
    assert "another process" in errors


@pytest.mark.parametrize("output", ["/dev/null", "/dev/full"])
def test_outputs_that_are_no_files(server, tokenizer, tmp_path, output):
    """A device takes rows without being looked into; that it has no room is an error."""
    (tmp_path / "in.jsonl").write_text('{"prompt": "one"}\n' * 3)
    with program(tokenizer, str(tmp_path / "in.jsonl"), "-o", output) as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == (0 if output == "/dev/null" else 1)
    assert ("3 done" if output == "/dev/null" else "No space left") in errors


def test_a_full_disk(server, tokenizer, tmp_path):
    """Where there is no room for more, the run ends and says so; with room again, the next goes on."""
    rows, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows.write_text("".join(json.dumps({"id": number, "prompt": "one"}) + "\n" for number in range(200)))
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (20_000, 20_000))
    with program(tokenizer, str(rows), "-o", str(output), preexec_fn=limit) as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "out.jsonl cannot be written" in errors
    assert output.read_bytes().endswith(b"\n")
    with program(tokenizer, str(rows), "-o", str(output)) as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert 0 < int(errors.partition(" there before")[0].rpartition(" ")[2]) < 200
    assert [json.loads(line)["id"] for line in output.read_bytes().splitlines()] == list(range(200))


def size_of(path):
    """The bytes of a file, which need not be there."""
    return path.stat().st_size if path.exists() else 0


def test_killed_again_and_again(server, tokenizer, tmp_path):
    """However often the process is killed, every row ends up in the file once, and right; few are sampled twice."""
    count, most = 3000, 40
    rows, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows.write_text("".join(json.dumps({"id": f"r{n}", "prompt": [n, n + 1]}) + "\n" for n in range(count)))
    arguments = [str(rows), "-o", str(output), "--max-in-flight", str(most), "--no-canary"]  # whose samples count, too
    server.latency, chance, kills = 0.02, random.Random(7), 0
    while True:
        with program(tokenizer, *arguments) as process:
            size = size_of(output)
            until(lambda before=size: process.poll() is not None or size_of(output) > before)
            time.sleep(chance.uniform(0, 0.4))
            process.kill()
            process.communicate()
        if process.returncode == 0:
            break
        kills += 1
        ids = [json.loads(line)["id"] for line in output.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        assert len(ids) == len(set(ids))
    assert kills >= 3
    found = [json.loads(line) for line in output.read_bytes().splitlines()]
    assert [row["id"] for row in found] == [f"r{n}" for n in range(count)]
    assert all(row["sequences"][0]["tokens"] == [n, n + 1] for n, row in enumerate(found))
    assert server.counts["asample"] <= count + kills * most
