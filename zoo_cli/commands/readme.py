"""The generated parts of the README, each between `<!-- name -->` and `<!-- /name -->`.

python -m zoo_cli.commands.readme README.md
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from zoo_cli import command_table, config, errors, registry, specs
from zoo_cli.config import Source, Task
from zoo_cli.entries import Entry
from zoo_cli.pipeline.init import render_heading, render_keys, render_line
from zoo_cli.store import files, schemas


def refresh(text: str) -> str:
    """The text with every generated part replaced; parts without a generator stay as they are."""
    return re.sub(r"<!-- (\w+) -->\n.*?<!-- /\1 -->\n", _block, text, flags=re.DOTALL)


def zoo_toml() -> str:
    """A zoo.toml with every key."""
    task, source = ({key.name: key.example for key in config.describe_keys(table)} for table in (Task, Source))
    text = "[task]\n" + render_keys(Task, task)
    text += render_heading("[student]", "the small model to train; it takes the keys of a [[source]]")
    text += render_line("model", "torchvision:mobilenet_v3_large") + render_line("weights", "IMAGENET1K_V2")
    text += render_heading("[[source]]", "a model that you can run; its provider may know most of these values")
    text += render_keys(Source, source)
    text += render_heading(
        "[[source]]", "a model of which you only have the outputs: id, and embedding, logits or probs"
    )
    text += render_line("name", "remote") + render_line("model", "features:remote-outputs.parquet")
    return f"```toml\n{text}```\n"


def commands() -> str:
    """Every command with its summary."""
    return _table(
        ("command", "what it does"), ((f"`zoo {name}`", command_table.summary(name)) for name in command_table.COMMANDS)
    )


def metrics() -> str:
    """Every metric with its representations, its parameters and their defaults."""
    rows = (
        (f"`{name}`", " or ".join(entry.on), _parameters(entry), entry.summary)
        for name, entry in registry.METRICS.items()
    )
    return _table(("metric", "reads", "parameters", "what it is"), rows)


def weightings() -> str:
    """Every weighting with its parameters."""
    rows = (
        (f"`{name}`", "a path" if name == "file" else _parameters(entry), entry.summary)
        for name, entry in registry.WEIGHTINGS.items()
    )
    return _table(("weighting", "parameters", "what it is"), rows)


def objectives() -> str:
    """Every objective with its command, its parameters, and its defaults for the training flags."""
    rows = (
        (
            f"`{name}`",
            f"`zoo {entry.command}`",
            _parameters(entry),
            f"{entry.lr:g}{' x B/256' * entry.needs_teacher}, {entry.schedule}",
            f"{entry.epochs:g}",
            entry.batch_size,
            entry.augment,
            "" if entry.lam is None else f"{entry.lam:g}",
            entry.summary,
        )
        for name, entry in registry.OBJECTIVES.items()
    )
    titles = ("objective", "command", "parameters", "rate", "epochs", "batch B", "augment", "lam", "what it is")
    return _table(titles, rows)


def providers() -> str:
    """The providers of models and images."""
    tables = (("a model", registry.MODELS), ("images", registry.DATA))
    return _table(
        ("for", "provider", "how it is written"),
        ((what, f"`{name}:`", entry.summary) for what, table in tables for name, entry in table.items()),
    )


def formats() -> str:
    """Every column of every parquet file, every key of every JSON file."""
    parts = []
    for schema in schemas.SCHEMAS:
        columns = ((f"`{column.name}`", f"`{column.type}`", _meaning(column)) for column in schema.columns)
        table = _table(("column", "type", "meaning"), columns)
        parts.append(f"{_names(schema.path)}, schema `{schema.tag}`\n\n{table}")
    for document in schemas.DOCUMENTS:
        keys = ((_names(names), meaning) for names, meaning in document.keys)
        parts.append(f"{_names(document.path)}\n\n" + _table(("key", "meaning"), keys))
    return "\n".join(parts)


def exits() -> str:
    """Every exit code."""
    return _table(("exit", "meaning"), exit_rows())


def exit_rows() -> list[tuple[str, str]]:
    """Every exit code and its meaning."""
    rows = [("0", "done, or nothing to do"), (errors.ZooError.code, "failed while running")]
    kinds = (errors.UsageError, errors.ContractError, errors.TooManyErrors)
    rows += [(kind.code, _sentence(kind.__doc__ or "")) for kind in kinds]
    rows += [("70", "a bug in zoo, shown with a traceback to report")]
    rows += [(errors.Paused.code, _sentence(errors.Paused.__doc__ or ""))]
    rows += [("128+n", "signal n, after saving: 130 Ctrl-C, 143 TERM; 141 when the reader of stdout has gone")]
    return [(str(code), meaning) for code, meaning in rows]


BLOCKS: Mapping[str, Callable[[], str]] = {
    function.__name__: function
    for function in (zoo_toml, commands, metrics, weightings, objectives, providers, formats, exits)
}


def _block(match: re.Match[str]) -> str:
    name = match[1]
    return f"<!-- {name} -->\n{BLOCKS[name]()}<!-- /{name} -->\n" if name in BLOCKS else match[0]


def _parameters(entry: Entry) -> str:
    """Keyword-only parameters with their defaults, as a user types them."""
    parameters = []
    for parameter in inspect.signature(registry.load(entry)).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            default = parameter.default
            if default is None or default is parameter.empty:
                parameters.append(f"`{parameter.name}=…`" + (" (required)" if default is parameter.empty else ""))
            else:
                parameters.append(f"`{specs.params_text({parameter.name: default})}`")
    return ", ".join(parameters)


def _names(keys: str) -> str:
    return ", ".join(key if key == "…" else f"`{key}`" for key in keys.split(", "))


def _meaning(column: schemas.Column) -> str:
    notes = [*(["may be null"] if column.nullable else []), *([] if column.required else ["may be absent"])]
    return column.meaning + (f" ({', '.join(notes)})" if notes and "null" not in column.meaning else "")


def _sentence(text: str) -> str:
    text = text.partition("\n")[0].rstrip(".")
    return text[0].lower() + text[1:]


def _table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        files.write_text(path, refresh(files.read_text(path)))
