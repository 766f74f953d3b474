"""`arrow:FOLDER?label=COLUMN`: a data set that `save_to_disk` of Hugging Face `datasets` wrote, or any arrow files.

Columns, labels and ids are those of `parquet:`; the shards are read in the order that `state.json` gives, else in that
of their names. Where the files do not list their features, `dataset_info.json` beside them does.
"""

from pathlib import Path
from typing import Any

from zoo_cli.data.parquet import read_files
from zoo_cli.data.samples import Data, match_data, resolve_path, split_options
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.store.arrow_images import is_arrow
from zoo_cli.store.json_text import parse_json
from zoo_cli.text_escapes import quote


def read_arrow(rest: str, root: Path, follow_links: bool = False) -> Data:
    """The rows of all shards of a folder, or of all files that match a pattern, relative to `root`.

    Raises UsageError if there are none or the folder holds several splits; ContractError for a shard that is missing,
    cut off or damaged, and as `read_parquet` does.
    """
    path, options = split_options("arrow", rest, root)
    place = resolve_path(path, root)
    files = _list_shards(place, path) if place.is_dir() else match_data(place, root)
    if not files:
        raise UsageError(f"no file matches arrow:{path}", "write arrow:FOLDER; it is relative to the workspace")
    for file in files:
        if not is_arrow(file):
            raise ContractError(f"{quote(str(file))} is not an arrow file", _suggest(file))
    return read_files(files, f"arrow:{path}", options.get("label"), root, follow_links)


def _list_shards(folder: Path, path: str) -> list[Path]:
    """The files of a data set on disk, in its order."""
    if (folder / "dataset_dict.json").is_file():
        splits = sorted(state.parent.name for state in folder.glob("*/state.json"))
        raise UsageError(
            f"arrow:{path} holds several data sets: {', '.join(map(quote, splits)) or 'none is complete'}",
            f"choose one: arrow:{path.rstrip('/')}/{splits[0]}" if splits else "write it again",
        )
    state = folder / "state.json"
    if not state.is_file():
        return sorted(file for file in folder.glob("*.arrow") if file.is_file())
    names = _read_names(state)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ContractError(
            f"{len(missing)} of the {len(names)} shards in {state} are missing, e.g. {quote(missing[0])}",
            "fetch or write the data set again",
        )
    return [folder / name for name in names]


def _read_names(state: Path) -> list[str]:
    """The shards that a state.json lists."""
    try:
        content: Any = parse_json(state.read_bytes())
        if content.get("_indices_data_files"):
            raise ContractError(
                f"{state} chooses rows by an index", "call flatten_indices() and save the data set again"
            )
        names = [entry["filename"] for entry in content["_data_files"]]
    except (ValueError, OSError, KeyError, TypeError, AttributeError):
        raise ContractError(f"{state} does not list the shards of a data set", "write the data set again") from None
    if not names or not all(isinstance(name, str) and Path(name).name == name != "" for name in names):
        raise ContractError(f"{state} does not list shards beside it", "write the data set again")
    return names


def _suggest(file: Path) -> str:
    return f"write parquet:{file.name}" if file.suffix == ".parquet" else "fetch or write the file again"
