"""The card of a pretrained model: a JSON file beside its weights that says how its images were prepared.

Three layouts are read: the config.json of timm and of its models on the Hugging Face hub (`pretrained_cfg`), that of a
run of zoo, and plain keys: `input_size`, `mean`, `std`, `class_names` and the like.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo_cli import pixel_range, system_errors
from zoo_cli.config_values import convert_value
from zoo_cli.errors import UsageError

PREPROCESSING = ("input_size", "resize", "interpolation", "mean", "std", "channels")
COUNTS, NAMES = ("num_classes",), ("class_names", "label_names")
CROP = 0.875
"""The share of the shorter side that timm crops where a card does not say."""
TYPES: dict[str, Any] = {
    **dict.fromkeys(("input_size", "resize", "channels"), int | None),
    **dict.fromkeys(("mean", "std"), tuple[float, ...] | None),
    "interpolation": str | None,
    "classes": int | tuple[str, ...] | None,
}


def add_card(table: Mapping[str, Any], path: Path, where: str) -> dict[str, Any]:
    """The keys of a source's table with what its card `path` says; keys of the table win.

    Raises UsageError for a card that is missing, is not valid JSON, or says nothing of a source.
    """
    card = read_card(path, where)
    if table.get("head") is False:
        card.pop("classes", None)  # its last projection is part of the encoder
    size = table.get("input_size")
    if isinstance(size, int) and "resize" in card and "input_size" in card:
        # The share of the image that is cropped away stays the card's.
        card["resize"] = round(card["resize"] * size / card["input_size"])
    return {**card, **table}


def read_card(path: Path, where: str) -> dict[str, Any]:
    """What a card says, with the keys of a source's table. `where`: the table that names it, for errors."""
    content = _read_object(path, where)
    own = content.get("zoo")
    if own is not None:
        values = _read_run(own, path)
    elif "pretrained_cfg" in content:
        values = _read_timm(content, path)
    else:
        values = _read_plain(content)
    values = {key: value for key, value in values.items() if value is not None}
    if not values:
        raise UsageError(f"{path}, the card of {where}, has no input_size, mean, std or classes", "name another file")
    converted = {key: convert_value(key, value, TYPES[key], str(path)) for key, value in values.items()}
    pixel_range.check_normalisation(converted.get("mean") or (), converted.get("std") or (), str(path))
    for key in ("input_size", "resize", "channels"):
        if converted.get(key, 1) < 1:
            raise UsageError(f"{key} = {converted[key]} in {path}", "expected a positive number")
    return {key: list(value) if isinstance(value, tuple) else value for key, value in converted.items()}


def _read_object(path: Path, where: str) -> Mapping[str, Any]:
    try:
        if path.is_dir():
            raise UsageError(f"{path}, the card of {where}, is a folder", "name a JSON file")
        system_errors.refuse_special(path)
        content = json.loads(path.read_bytes().decode("utf-8-sig"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        hint = "card is relative to the file of its table"
        raise UsageError(f"no file {system_errors.shorten(path)}, the card of {where}", hint) from None
    except OSError as error:
        raise system_errors.translate(error) or error from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}, the card of {where}, is not valid JSON: {error}", "name another file") from None
    if not isinstance(content, Mapping):
        raise UsageError(f"{path}, the card of {where}, is not a JSON object", "name another file")
    return content


def _read_run(own: Any, path: Path) -> dict[str, Any]:
    preprocessing = own.get("preprocessing") if isinstance(own, Mapping) else None
    if not isinstance(own, Mapping) or not isinstance(preprocessing, Mapping):
        raise UsageError(f'"zoo" in {path} is not what a run of zoo records', "name another file")
    return {**{key: preprocessing.get(key) for key in PREPROCESSING}, "classes": own.get("classes")}


def _read_timm(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    pretrained = content["pretrained_cfg"]
    if not isinstance(pretrained, Mapping):
        raise UsageError(f"pretrained_cfg in {path} is not an object", "name another file")
    values = _read_plain({**pretrained, **{key: content[key] for key in (*COUNTS, *NAMES) if key in content}})
    if values["interpolation"] == "random":
        values["interpolation"] = "bilinear"
    side, share = values["input_size"], pretrained.get("crop_pct", CROP)
    is_cropped = pretrained.get("crop_mode", "center") == "center"
    if is_cropped and isinstance(side, int) and isinstance(share, int | float) and 0 < share <= 1:
        values["resize"] = int(side / share)
    return values


def _read_plain(content: Mapping[str, Any]) -> dict[str, Any]:
    values = {key: content.get(key) for key in PREPROCESSING}
    values["input_size"] = _read_side(content.get("input_size"))
    values["channels"] = content.get("channels", content.get("input_channels"))
    keys = ("classes", *NAMES, *COUNTS)
    return {**values, "classes": next((content[key] for key in keys if content.get(key) is not None), None)}


def _read_side(size: Any) -> Any:
    """The side of a square input that is declared as (channels, height, width); any other size as it is."""
    is_square = isinstance(size, list) and len(size) in (2, 3) and size[-1] == size[-2]
    return size[-1] if is_square else size


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not valid JSON")
