"""Paths in model and data specs, and in the tables of sources, moved from one base folder to another."""

import os
import re
from pathlib import Path

from zoo_cli import specs

PATH_PROVIDERS = ("folder", "parquet", "csv", "jsonl", "arrow", "wds", "file", "python", "features", "onnx")
"""The providers whose specs hold a path."""
WEIGHTS_ENDINGS = (".safetensors", ".pt", ".pth", ".th", ".bin", ".ckpt", ".pt2", ".onnx")


def rebase_spec(spec: str, root: Path, base: Path = Path()) -> str:
    """A spec whose path is relative to `base`, as the zoo.toml of `root` has it."""
    provider, _, rest = spec.partition(":")
    if provider == "transformers" and "/" in rest and os.path.isdir(base / rest):
        path = rebase_path(rest, root, base)
        return f"{provider}:{path if '/' in path else f'./{path}'}"
    if provider not in PATH_PROVIDERS or is_uri(rest):
        return spec
    path, sign, factory = rest.rpartition(":") if provider == "python" and ":" in rest else (rest, "", "")
    if provider in ("csv", "jsonl") and not os.path.exists(base / rest):
        path, options = specs.split_query(rest)
        if options:
            values = {key: rebase_path(value, root, base) if key == "root" else value for key, value in options.items()}
            sign, factory = "?", "&".join(f"{key}={value}" for key, value in values.items())
    return f"{provider}:{rebase_path(path, root, base)}{sign}{factory}"


def is_uri(path: str) -> bool:
    """Whether a path is SCHEME://PLACE, which is the same from every folder."""
    return re.match(r"[a-z][a-z0-9+.-]+://", path, re.IGNORECASE) is not None


def rebase_path(path: str, root: Path, base: Path = Path()) -> str:
    """A path relative to `base`, as one relative to `root`; an absolute one stays."""
    if not path or path.startswith("~") or os.path.isabs(path) or root.resolve() == base.resolve():
        return path
    # From the real folder: `link/..` is the parent of what a link points to, not of the link.
    return Path(os.path.relpath(base.resolve() / path, root.resolve())).as_posix()


def is_weights_file(text: str, root: Path) -> bool:
    """Whether declared weights mean a file, existing or not, rather than a name that a provider knows."""
    return bool(text) and ("/" in text or "\\" in text or text.endswith(WEIGHTS_ENDINGS) or (root / text).is_file())
