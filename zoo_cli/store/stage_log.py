"""How long a stage took: a `.log.json` beside what it made, never in it, so that equal inputs give equal bytes.

Its name begins with an underscore, which keeps pandas, pyarrow and Spark from reading it as data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo_cli.errors import ContractError
from zoo_cli.store import files
from zoo_cli.store.commits import replacing_together
from zoo_cli.store.records import build_record

ENDING = ".log.json"


@dataclass(frozen=True)
class StageLog:
    """The seconds that it took to make an artifact, by the clock.

    `parts`: of each of its files, where they are made one by one; `seconds` is their sum. `together`: the names of all
    artifacts that the same seconds made, this one among them; empty: it alone. `from_step`: of a run that was resumed,
    where its last process began: `seconds` lacks what came before.
    """

    seconds: float
    parts: Mapping[str, float] | None = None
    together: Sequence[str] = ()
    from_step: int = 0


def log_file(place: Path) -> Path:
    """The log of a file or a folder."""
    name = place.stem if place.suffix == ".parquet" else place.name
    return place.with_name(f"_{name}{ENDING}")


def write_seconds(place: Path, seconds: float, together: Sequence[str] = ()) -> None:
    """Log how long the artifact at a place took."""
    files.write_text(log_file(place), seconds_text(seconds, together))


def seconds_text(seconds: float, together: Sequence[str] = ()) -> str:
    """The content of such a log."""
    return files.to_json_text({"seconds": round(seconds, 3), **({"together": list(together)} if together else {})})


def write_texts(logs: Mapping[Path, str]) -> None:
    """Write logs by their files, see `seconds_text`; they are brought to the disk together."""
    if logs:
        with replacing_together(*logs) as temporaries:
            for text, temporary in zip(logs.values(), temporaries, strict=True):
                temporary.write_text(text, encoding="utf-8")


def add_part(place: Path, part: str, seconds: float) -> None:
    """Log how long one of the files of an artifact took, in the place of an earlier time of it.

    Parts of another number of parts, which are gone, are dropped. Of two processes that log at the same time, one may
    be lost: `parts` then lacks a file, which a reader sees.
    """
    try:
        log = load_log(place)
    except ContractError:
        log = None
    _, numbered, ending = part.rpartition("-of-")
    known = {} if log is None or log.parts is None else log.parts
    folder = part.rpartition("/")[0]
    # Parts of other data may be of another number.
    parts = {
        name: value
        for name, value in known.items()
        if not numbered or name.rpartition("/")[0] != folder or name.endswith(f"-of-{ending}")
    }
    parts = dict(sorted({**parts, part: round(seconds, 3)}.items()))
    files.write_json(log_file(place), {"seconds": round(sum(parts.values()), 3), "parts": parts})


def load_log(place: Path) -> StageLog | None:
    """The log of the artifact at a place; None without one. Raises ContractError for a damaged one."""
    return load_log_file(log_file(place))


def load_log_file(path: Path) -> StageLog | None:
    """The log at a path, also of a run; None if there is none, or if it holds no seconds yet.

    Raises ContractError for a damaged one.
    """
    if not path.exists():
        return None
    content = files.read_json(path)
    if isinstance(content, dict) and "seconds" not in content:
        return None
    log = build_record(StageLog, content, path, "remove it: it holds only times", extra_keys=True)
    if not all(seconds >= 0 for seconds in (log.seconds, *(log.parts or {}).values())):
        raise ContractError(f"{path} holds negative seconds", "remove it: it holds only times")
    return log
