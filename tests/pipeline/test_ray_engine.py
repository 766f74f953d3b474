"""Extraction by actors of Ray: the bytes of one process, whatever happens to an actor, and one line for a lost head."""

import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.processes import ROOT
from tests.pipeline.test_bytes import contents
from tests.workspaces import make, run

PROGRAM = """
import os, sys
from zoo_cli.store import feature_store
feature_store.PART_ROWS = 2
from zoo_cli.pipeline import feature_extraction
if "{slow}":
    from zoo_cli.pipeline import ray_engine
    _call = ray_engine.Actor.__call__
    def slowly(self, item):
        import os, pathlib, time
        (pathlib.Path("{slow}") / str(os.getpid())).touch()
        time.sleep(3.0)
        return _call(self, item)
    ray_engine.Actor.__call__ = slowly
import ray
ray.cloudpickle.register_pickle_by_value(sys.modules["zoo_cli.pipeline.ray_engine"]) if "{slow}" else None
_init = ray.init
ray.init = lambda **options: _init(num_cpus=3, object_store_memory=80_000_000, **options)
from zoo_cli import __main__
sys.exit(__main__.main(sys.argv[1:]))
"""
"""Small parts, dealt by this process, and an own cluster of three CPUs; in `slow`, actors that tell of themselves."""
JOINING = """
import os, signal, sys
import ray
def init(**_options):
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(signum))  # what ray.init does first
    os.kill(os.getpid(), signal.SIGTERM)
ray.init = init
from zoo_cli import __main__
sys.exit(__main__.main(sys.argv[1:]))
"""
COMMAND = ("extract", "--engine", "ray", "--device", "cpu")


@contextmanager
def started(place: Path, actors: Path) -> Iterator[subprocess.Popen[str]]:
    pytest.importorskip("ray.data", reason="needs the extra ray")
    actors.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment.pop("RAY_ADDRESS", None)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(slow=actors), *COMMAND, "-C", str(place)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_parts(process: subprocess.Popen[str], place: Path, actors: Path) -> None:
    """Wait until two actors are at work, and some parts are there."""
    end = time.monotonic() + 900
    while len(list(actors.iterdir())) < 2 or not any((place / "features").rglob("part-*.parquet")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_a_killed_actor_changes_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, actors = make(tmp_path / "task", upto="split"), tmp_path / "actors"
    with started(place, actors) as process:
        wait_for_parts(process, place, actors)
        os.kill(int(next(actors.iterdir()).name), signal.SIGKILL)
        out, err = process.communicate(timeout=900)
        assert process.returncode == 0, err
        assert len(list(actors.iterdir())) == 3
        assert [line.split("\t")[1] for line in out.splitlines()[1:]] == ["36"] * 4
    monkeypatch.setattr("zoo_cli.store.feature_store.PART_ROWS", 2)
    alone = make(tmp_path / "alone", upto="split")
    assert run("extract", workspace=alone).code == 0
    assert contents(place) == contents(alone)


@pytest.mark.slow
def test_a_lost_head_is_one_line_and_the_rest_can_be_done_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, actors = make(tmp_path / "task", upto="split"), tmp_path / "actors"
    with started(place, actors) as process:
        wait_for_parts(process, place, actors)
        children = subprocess.run(["pgrep", "-P", str(process.pid), "-a"], capture_output=True, text=True).stdout
        (head,) = (int(line.split()[0]) for line in children.splitlines() if "gcs_server" in line)
        os.kill(head, signal.SIGKILL)
        _, err = process.communicate(timeout=300)
    assert process.returncode == 1, err
    (line,) = (line for line in err.splitlines() if line.startswith("zoo: error: "))
    assert "is lost; start it again: finished parts are kept, and the same command goes on" in line
    assert "Traceback" not in err
    monkeypatch.setattr("zoo_cli.store.feature_store.PART_ROWS", 2)
    alone = make(tmp_path / "alone", upto="split")
    for workspace in (place, alone):
        assert run("extract", workspace=workspace).code == 0
    assert contents(place) == contents(alone)


def test_a_dead_head_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make(tmp_path / "task", upto="split")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    result = run(*COMMAND, workspace=place)
    assert result.code == 1
    expected = "the head of Ray at 127.0.0.1:1 does not answer; start it, or unset RAY_ADDRESS to run here"
    assert result.error == expected


@pytest.mark.parametrize("answer", [b"HTTP/1.0 400 Bad request\r\n\r\n", b"", b"\0\0"])
def test_a_server_that_is_not_ray_is_one_line(answer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make(tmp_path / "task", upto="split")

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1000)
            self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        result = run(*COMMAND, workspace=place)
        server.shutdown()
    assert result.code == 1
    assert (
        result.error == f"{address} answers, but not as the head of Ray; correct RAY_ADDRESS, or unset it to run here"
    )


def test_without_the_extra_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make(tmp_path / "task", upto="split")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    result = run(*COMMAND, workspace=place)
    assert result.code == 2
    assert result.error == "--engine ray needs the extra ray; pip install 'zoo-cli[ray]'"
    assert run(*COMMAND, "--dry-run", workspace=place).code == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--engine rey", 'no engine "rey"; did you mean ray? one of: ray'),
        ("--engine ray --shard 1/2", "--engine ray divides the parts itself; leave out --shard, and torchrun"),
        ("--engine ray --views 2", "--engine ray makes features and logits alone"),
        ("--engine ray --gradients", "--engine ray makes features and logits alone"),
        ("--engine ray --device cuda:1", "--device cuda:1: the engine chooses the card; use --device cuda"),
    ],
)
def test_what_no_engine_can_do_is_refused(flags: str, message: str, tmp_path: Path) -> None:
    result = run("extract", *flags.split(), workspace=make(tmp_path / "task"))
    assert result.code == 2
    assert result.error.startswith(message)


def test_a_signal_while_ray_starts_is_not_an_error_of_ray(tmp_path: Path) -> None:
    pytest.importorskip("ray.data", reason="needs the extra ray")
    place = make(tmp_path / "task", upto="split")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-c", JOINING, *COMMAND, "-C", str(place)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 128 + signal.SIGTERM, result.stderr
    assert "cannot join" not in result.stderr
