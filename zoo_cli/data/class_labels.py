"""Class names as people write them: spaces, Unicode forms, capitals, and cells that hold several labels."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from zoo_cli import specs
from zoo_cli.data.samples import Data, Sample, number_classes
from zoo_cli.errors import ContractError
from zoo_cli.text_escapes import quote

MULTI_LABEL = "images with several labels (multi-label) are not supported yet"
ONE_LABEL = "give every image one label"
KEYS = ("path", "image", "id", "group")
"""Columns that are never labels."""
_NUMBER = re.compile(r"0|-?[1-9][0-9]*")
_LIST = re.compile(r"\[.*,.*\]|\{.*,.*\}|\(.*,.*\)")


def tidy_name(name: str) -> str:
    """A class name without outer spaces, in Unicode form NFC: `é` is one character, however it was typed."""
    return unicodedata.normalize("NFC", name.strip()) or name


def tidy_classes(data: Data, *, sort: bool) -> Data:
    """The data set with tidy class names. Names that become equal are one class; a note says what changed.

    `sort`: the classes are in code-point order, not in one that the data set gives.
    """
    if data.classes is None:
        return data
    names = [tidy_name(name) for name in data.classes]
    note = change_note(data.classes)
    if note is None:
        return data
    classes = tuple(sorted(set(names)) if sort else dict.fromkeys(names))
    number = {name: position for position, name in enumerate(classes)}

    def samples() -> Iterator[Sample]:
        for sample in data.samples():
            yield sample if sample.label is None else replace(sample, label=number[names[sample.label]])

    return replace(data, classes=classes, samples=samples, notes=(*data.notes, note))


def change_note(names: Iterable[str]) -> str | None:
    """A note on the distinct class names that `tidy_name` changes, and on those that it makes equal; None for none."""
    tidy = {name: tidy_name(name) for name in names}
    changed = [name for name in tidy if tidy[name] != name]
    if not changed:
        return None
    first = f"{changed[0]!a} to {quote(tidy[changed[0]])}"
    note = f"{len(changed)} class names lose outer spaces or change to Unicode form NFC, e.g. {first}"
    merged = [name for name, count in Counter(tidy.values()).items() if count > 1]
    return f"{note}; equal names are one class: {', '.join(map(quote, merged))}" if merged else note


def case_note(classes: Sequence[str]) -> str | None:
    """A note that lists the class names that differ only in capitals; None if there are none."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        alike[name.casefold()].append(name)
    pairs = [" and ".join(map(quote, names)) for names in alike.values() if len(names) > 1]
    return f"classes that differ only in upper and lower case stay apart: {'; '.join(pairs)}" if pairs else None


def collect_names(labels: set[str], where: str) -> tuple[str, ...]:
    """The classes of labels as text: "0" to the largest if all are plain integers, else the sorted names.

    Raises ContractError for a negative or huge number, and for labels that are several in one.
    """
    if not all(_NUMBER.fullmatch(label) for label in labels):
        refuse_several(labels, where)
        return tuple(sorted(labels))
    if any(label.startswith("-") for label in labels):
        raise ContractError(f"a negative label ({where})", "number the classes from 0; leave the cell empty for none")
    return number_classes(max(map(int, labels)) if max(map(len, labels)) < 10 else 10**9, where)


def refuse_several(labels: Iterable[str], where: str) -> None:
    """Raise ContractError for a label that holds several: `a|b`, `[a, b]`, or `a;b` and `a, b` of other labels."""
    distinct = set(labels)
    for separator in "|;,":
        parts = {label: [part.strip() for part in label.split(separator)] for label in distinct}
        uses = Counter(part for members in parts.values() for part in set(members) if part)
        for label in sorted(distinct):
            members = [part for part in parts[label] if part]
            # A comma may belong to a name ("tench, Tinca tinca"), unless each side is a label elsewhere too.
            several = len(members) > 1 and (separator == "|" or all(uses[part] > 1 for part in members))
            if several or (separator == "|" and _LIST.fullmatch(label)):
                raise ContractError(f"label {quote(label)} holds several labels ({where}): {MULTI_LABEL}", ONE_LABEL)


def choose_column(chosen: str | None, columns: Sequence[str], where: str) -> str | None:
    """The label column: the one that `?label=` names, else `label` if there is one.

    Raises UsageError with the nearest name if the chosen one is missing.
    """
    if chosen is None:
        return "label" if "label" in columns else None
    if chosen not in columns:
        raise specs.nearest(f"column of {where}", chosen, columns)
    return chosen


def column_hint(spec: str, columns: Sequence[str], binary: Collection[str]) -> str:
    """Why a table has no labels, and what to do. `columns`: those that may be labels; `binary`: with only 0 and 1."""
    if len(binary) > 1:
        return (
            f"{spec} has no column label, but one-hot columns ({_list_names(binary)}): {MULTI_LABEL}; {ONE_LABEL}, "
            "in one column"
        )
    if not columns:
        return f"{spec} has no column label: add one"
    return f"{spec} has no column label; choose one of {_list_names(columns)}: {spec}?label={next(iter(columns))}"


def _list_names(names: Collection[str]) -> str:
    return ", ".join(map(quote, list(names)[:10])) + (", …" if len(names) > 10 else "")
