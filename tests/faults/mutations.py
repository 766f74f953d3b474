"""Damage to every artifact of a workspace, and what the commands that read it say."""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tests.faults.kill_scenarios import HEADS, RIDGE, RUN, SWEEP, VIEWS, Command
from tests.faults.kills import files_of
from tests.workspaces import make, run
from zoo_cli.store.writers import Writer

Mutate = Callable[[bytes, bytes, random.Random], bytes]
SWEPT = (*SWEEP[:-1], "sweep")
PAUSED = (*RUN[:-1], "paused", "--wait", "0")
VIEW_RUN = ("distill", "--objective", "heads", "--views", "2", "--steps", "2", "--batch-size", "8", "--name", "new")
HEAD_RUN = (*HEADS[:-1], "new")
LEASE = "runs/paused/.lease-1"

ARTIFACTS: dict[str, tuple[Command, ...]] = {
    "manifest.parquet": (("rank",), ("score", "--metric", "cka", "--overwrite"), ("split",)),
    "classes.json": ((*RIDGE, "--overwrite"), ("evaluate", "accuracy")),
    "errors/split.parquet": (("split",),),
    "features/source=*/data=*/*.parquet": (("score", "--metric", "cka", "--overwrite"), ("sources",)),
    "features/source=*/_source.json": (("rank",), ("sources",)),
    "features/source=*/_outputs.json": (("sources",),),
    "features/views/source=*/view=*/data=*/*.parquet": ((*RIDGE, "--views", "2", "--overwrite"),),
    "features/views/_views.json": ((*RIDGE, "--views", "2", "--overwrite"), VIEWS),
    "gradients/source=*/*.parquet": (("score", "--metric", "lgc", "--overwrite"),),
    "gradients/source=*/_gradients.json": (("score", "--metric", "lgc", "--overwrite"),),
    "scores/parc/*.parquet": (("rank",),),
    "scores/*.json": (("score", "--metric", "ms-leep"),),
    "ranking.parquet": (("show", "ranking.parquet"),),
    "pseudo/source=*/*.parquet": ((*RUN[:-1], "new"),),
    "pseudo/head=*/*.parquet": (HEAD_RUN, ("predict", "--heads", "--data", "folder:{images}")),
    "pseudo/head=*/*.json": (RIDGE, HEAD_RUN),
    "pseudo/head=*/*.safetensors": (("predict", "--heads", "--data", "folder:{images}"),),
    "pseudo/views/head=*/*.json": (VIEW_RUN,),
    "pseudo/views/head=*/view=*/*.parquet": (VIEW_RUN,),
    "heads/source=*.safetensors": (("show", "{file}"),),
    "runs/mine/*": (("evaluate", "accuracy"), RUN, ("predict", "mine", "--data", "folder:{images}")),
    "runs/sweep/sweep/lr-*/*": (("evaluate", "accuracy", "{folder}"), SWEPT),
    "runs/sweep/sweep.json": (("show", "{file}"), SWEPT),
    "runs/paused/run.json": (PAUSED,),
    "runs/paused/metrics.jsonl": (PAUSED,),
    "runs/paused/state/*": (PAUSED,),
    LEASE: (PAUSED,),
    "alpha.safetensors": (("extract",),),
}
"""The artifacts of a workspace, each with the commands that read it; files that a user writes are none."""


def _flip(data: bytes, _: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]


def _zero(data: bytes, _: bytes, draw: random.Random) -> bytes:
    start, length = draw.randrange(len(data)), draw.choice((1, 8, 64, 512))
    return data[:start] + bytes(len(data[start : start + length])) + data[start + length :]


def _swap(data: bytes, _: bytes, draw: random.Random) -> bytes:
    size = draw.choice((8, 64, 256))
    first, second = sorted((draw.randrange(len(data)), draw.randrange(len(data))))
    second = max(second, first + size)
    return (
        data[:first]
        + data[second : second + size]
        + data[first + size : second]
        + data[first : first + size]
        + data[second + size :]
    )


def _double(data: bytes, _: bytes, draw: random.Random) -> bytes:
    start, length = draw.randrange(len(data)), draw.choice((1, 8, 64))
    return data[: start + length] + data[start:]


def _edit(data: bytes, _: bytes, draw: random.Random) -> bytes:
    """Another value of the same type in a line of JSON; the bytes themselves if it is none."""
    lines = data.decode("utf-8", "replace").splitlines() if data[:1] in b"{[" else []
    try:
        contents = [json.loads(data)] if data[:2] in (b"{\n", b"[\n") else [json.loads(line) for line in lines]
    except ValueError:
        return data
    places = [place for content in contents for place in _places(content)]
    if not places:
        return data
    holder, key = draw.choice(places)
    value = holder[key]
    if isinstance(value, bool):
        holder[key] = not value
    elif isinstance(value, int | float):
        holder[key] = value + draw.choice((1, -1, 7))
    else:
        holder[key] = f"{value}x"
    indent = 1 if len(contents) == 1 and data[:2] in (b"{\n", b"[\n") else None
    return "".join(json.dumps(content, indent=indent) + "\n" for content in contents).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    """The numbers, truths and texts in a JSON value, as pairs of what holds them and their key."""
    if not isinstance(value, dict | list):
        return []
    places = []
    for key in value if isinstance(value, dict) else range(len(value)):
        places += [(value, key)] if isinstance(value[key], bool | int | float | str) else _places(value[key])
    return places


MUTATIONS: dict[str, Mutate] = {
    "bit": _flip,
    "truncated": lambda data, _, draw: data[: draw.randrange(len(data))],
    "zeroed": _zero,
    "swapped": _swap,
    "doubled": _double,
    "other file": lambda _, other, __: other,
    "value": _edit,
}


def build(folder: Path) -> Path:
    """A workspace with every kind of artifact; an image is broken, and a run was killed before its end."""
    place = make(folder / "task")
    (place / "images/red/03.png").write_bytes(b"no image")
    commands: list[tuple[int, Command]] = [
        (4, ("split",)),
        (0, ("rank",)),
        (0, ("score", "--metric", "cka")),
        (0, ("extract", "--gradients", "--projection", "20")),
        (0, ("score", "--metric", "lgc")),
        (0, VIEWS),
        (0, ("pseudo-label",)),
        (0, RIDGE),
        (0, (*RIDGE, "--views", "2")),
        (0, ("score", "--metric", "ms-leep")),
        (0, ("rank",)),
        (0, ("sources",)),
        (0, RUN),
        (0, SWEPT),
        (0, (*RUN[:-1], "twin", "--seed", "1")),
        (0, PAUSED),
    ]
    for code, command in commands:
        result = run(*command, workspace=place)
        assert result.code == code, result.err
    for name in ("SHA256SUMS", "predictions.parquet"):  # as after a kill
        (place / "runs/paused" / name).unlink()
    shutil.copytree(place / "images", folder / "images")
    (folder / "images/red/03.png").unlink()
    gone = replace(Writer.current(), pid=999999999)
    (place / LEASE).write_text(json.dumps({**asdict(gone), "since": 0.0, "run": "run", "mark": "0"}))
    return place


@dataclass(frozen=True)
class Outcome:
    """What a command says of a damaged file: detected, harmless, failed, silent, unnamed or bug; and its words."""

    kind: str
    words: str


class Fuzzer:
    """Damages files of a workspace, each time in a copy of it, and reads them by commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = build(folder)
        self._whole: dict[tuple[str, Command], Any] = {}
        self._number = 0

    def paths(self, pattern: str) -> list[str]:
        """The files of a pattern, relative to the workspace."""
        return sorted(str(path.relative_to(self.place)) for path in self.place.glob(pattern) if path.is_file())

    def damage(self, pattern: str, mutation: str, draw: random.Random) -> tuple[str, bytes] | None:
        """A file of a pattern and its damaged bytes; None if there is no such damage to it."""
        names = self.paths(pattern)
        name = draw.choice(names)
        data = (self.place / name).read_bytes()
        alike = [other for other in names if other != name and Path(other).suffix == Path(name).suffix]
        alike += [twin] if (self.place / (twin := name.replace("/mine/", "/twin/"))).exists() and twin != name else []
        if not data or (mutation == "other file" and not alike):
            return None
        other = (self.place / draw.choice(alike)).read_bytes() if alike else b""
        damaged = MUTATIONS[mutation](data, other, draw)
        return None if damaged == data else (name, damaged)

    def read(self, name: str, damaged: bytes, command: Command) -> Outcome:
        """What a command says of a damaged file."""
        if (name, command) not in self._whole:
            self._whole[name, command] = self._answer(name, None, command)
            assert self._whole[name, command][0] in (0, 4), self._whole[name, command]
        whole, answer = self._whole[name, command], self._answer(name, damaged, command)
        code, out, files, err = answer
        if code == whole[0]:
            return Outcome("harmless" if (out, files) == whole[1:3] else "silent", out)
        if code in (2, 3):
            # A stale output is named by itself, with the key of what differs: "source=alpha … weights_sha256".
            is_named = Path(name).stem in err or ("/" in name and str(Path(name).parent) in err)
            return Outcome("detected" if is_named else "unnamed", err)
        return Outcome({1: "failed"}.get(code, "bug"), err)

    def _answer(self, name: str, damaged: bytes | None, command: Command) -> tuple[int, str, dict[str, str], str]:
        """The exit code, the answer, all files but the damaged one, and the last line of stderr."""
        self._number += 1
        place = self.folder / f"copy-{self._number}"
        shutil.copytree(self.place, place)
        if damaged is not None:
            (place / name).write_bytes(damaged)
        words = [
            word.format(images=self.folder / "images", file=name, folder=(place / name).parent) for word in command
        ]
        result = run(*words, workspace=place)
        files = {path: digest for path, digest in files_of(place).items() if path != name}
        shutil.rmtree(place)
        out, err = (text.replace(str(place), ".") for text in (result.out, result.err))
        return result.code, out, files, err.strip().rpartition("\n")[2]
