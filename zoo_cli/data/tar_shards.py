"""`wds:PATTERN?label=NAME&image=ENDING`: WebDataset shards, tar files whose members of one name are a sample.

The image is NAME.jpg, or of any other image format. The label is the content of NAME.cls, or the key `label` of
NAME.json; `?label=` chooses another ending or key. Numbers and names are labels as in a CSV table. The id is
"<file stem>/<NAME>". Shards are read in the order of their sorted names. PATTERN may have braces, `{000..009}.tar`:
then every shard of the range must be there.
"""

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_cli import specs
from zoo_cli.data.class_labels import change_note, collect_names, column_hint, tidy_name
from zoo_cli.data.json_table import cell_text
from zoo_cli.data.parquet import unique_stems
from zoo_cli.data.samples import Data, Sample, match_data, resolve_path, sample_path, split_options
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.store.json_text import parse_json
from zoo_cli.store.parquet_images import ImagePlace
from zoo_cli.store.tar_images import is_tar
from zoo_cli.text_escapes import quote

IMAGES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "avif")
_AGAIN = "fetch or write the shard again"


@dataclass(frozen=True)
class _Member:
    """A file in a shard: its first byte and size there."""

    offset: int
    size: int


def read_shards(rest: str, root: Path, _follow_links: bool = False) -> Data:
    """The samples of all shards that match a pattern, relative to `root`.

    Raises UsageError if nothing matches or no sample has the chosen label; ContractError for a shard that is not an
    uncompressed tar file, is cut off or damaged, and for a sample without an image or with several.
    """
    pattern, options = split_options("wds", rest, root)
    files = match_data(resolve_path(pattern, root), root)
    if not files:
        raise UsageError(f"no file matches wds:{pattern}", "write wds:FOLDER/*.tar, or wds:FOLDER/{000..009}.tar")
    spec, chosen = f"wds:{pattern}", options.get("label")
    names: dict[str, None] = {}
    cells = set()
    for file in files:
        for where, _, members in _iterate_samples(file):
            fields = _read_fields(file, members, where)
            names.update(dict.fromkeys(fields))
            cells.add(_pick_label(fields, chosen))
    if chosen is not None and chosen not in names:
        raise specs.nearest(f"label of {spec}", chosen, names)
    labels = {tidy_name(cell) for cell in cells if cell.strip()}
    classes = collect_names(labels, spec) if labels else None
    numbers = {name: position for position, name in enumerate(classes or ())}

    def samples() -> Iterator[Sample]:
        for file, stem in zip(files, unique_stems(files), strict=True):
            for where, key, members in _iterate_samples(file):
                cell = _pick_label(_read_fields(file, members, where), chosen)
                ending = _find_image(members, options.get("image"), where)
                member = members[ending]
                yield Sample(
                    id=f"{stem}/{key}",
                    path=None,
                    image=_read_member(file, member),
                    label=numbers[tidy_name(cell)] if cell.strip() else None,
                    place=ImagePlace(sample_path(file, root), ending, member.size, member.offset),
                )

    note = change_note(sorted(cell for cell in cells if cell.strip()))
    return Data(classes, samples, notes=(note,) if note else (), label_hint=lambda: column_hint(spec, list(names), ()))


def _iterate_samples(file: Path) -> Iterator[tuple[str, str, dict[str, _Member]]]:
    """The place, key and members by ending of every sample of a shard."""
    if not is_tar(file):
        hint = "unpack it: gzip -d" if file.suffix in (".gz", ".tgz") else _AGAIN
        raise ContractError(f"{quote(str(file))} is not an uncompressed tar file", hint)
    key, members = "", dict[str, _Member]()
    for name, member in _iterate_members(file):
        folder, _, base = name.removeprefix("./").rpartition("/")
        stem, dot, ending = base.partition(".")
        if not stem or not dot or stem.startswith("__"):
            continue
        own = f"{folder}/{stem}" if folder else stem
        if own != key and members:
            yield f"{file}, sample {quote(key)}", key, members
            members = {}
        key = own
        if ending.lower() in members:
            raise ContractError(f"{quote(name)} occurs twice ({file})", "give every sample a name of its own")
        members[ending.lower()] = member
    if members:
        yield f"{file}, sample {quote(key)}", key, members


def _iterate_members(file: Path) -> Iterator[tuple[str, _Member]]:
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                member.name.encode()
                if member.isreg() and not member.issparse():
                    yield member.name, _Member(member.offset_data, member.size)
                tar.members = []  # type: ignore[attr-defined]  # else it keeps all of them
            end = tar.offset
        with file.open("rb") as stream:  # tarfile takes a damaged header for the end
            stream.seek(end)
            rest = stream.read(1 << 20)
        if not rest or any(rest):
            raise ContractError(f"{quote(str(file))} is cut off or damaged at byte {end:,}", _AGAIN)
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ContractError(f"{quote(str(file))} cannot be read as tar: {reason}", _AGAIN) from None


def _read_member(file: Path, member: _Member) -> bytes:
    with file.open("rb") as stream:
        stream.seek(member.offset)
        return stream.read(member.size)


def _read_fields(file: Path, members: dict[str, _Member], where: str) -> dict[str, str]:
    """What may be a label: short texts by their ending, and the values of a JSON object by key."""
    fields: dict[str, str] = {}
    try:
        for ending in ("cls", "txt"):
            if ending in members:
                fields[ending] = _read_member(file, members[ending]).decode().strip()
        content: Any = parse_json(_read_member(file, members["json"])) if "json" in members else {}
    except ValueError as error:
        raise ContractError(f"not UTF-8 or not JSON: {error} ({where})", _AGAIN) from None
    if isinstance(content, dict):
        fields |= {key: cell_text(value) for key, value in content.items() if key not in fields}
    return fields


def _pick_label(fields: dict[str, str], chosen: str | None) -> str:
    return fields.get(chosen, "") if chosen is not None else fields.get("cls", fields.get("label", ""))


def _find_image(members: dict[str, _Member], chosen: str | None, where: str) -> str:
    """The ending of the image of a sample."""
    endings: Sequence[str] = [name for name in members if name.rpartition(".")[2] in IMAGES]
    if chosen is not None:
        if chosen.lower() not in members:
            raise specs.nearest(f"member of {where}", chosen, members)
        return chosen.lower()
    if len(endings) == 1:
        return endings[0]
    if not endings:
        raise ContractError(f"no image ({where})", f"its members are {', '.join(map(quote, members))}")
    raise ContractError(f"images {' and '.join(map(quote, endings))} ({where})", f"choose one: ?image={endings[0]}")
