"""The manifest of a search: some labelled images become its test part, the real test images are absent.

    python -m tests.claims.held_out WORKSPACE SEARCH --share 0.4

Reads WORKSPACE/manifest.parquet, writes manifest.parquet and classes.json into the folder SEARCH. The same share of
every class is held out, drawn as `zoo finetune --lr` draws it; these images are neither labelled nor unlabelled there,
and not in the probe set: neither students nor scores use them. An image with the same bytes as one of them is left out.
"""

import argparse
from pathlib import Path
from typing import Any

import pyarrow as pa

from zoo_cli.data.hold_out import hold_out_positions
from zoo_cli.store import files, parquet_files, schemas

SHARE = 0.4


def select_rows(rows: list[dict[str, Any]], share: float, seed: int) -> list[dict[str, Any]]:
    """The rows of the search's manifest, from those of the workspace's manifest in their order."""
    labelled = [row for row in rows if row["split"] == "labelled"]
    ids, labels, groups = ([row[key] for row in labelled] for key in ("id", "label", "group"))
    held_out = {ids[position] for position in hold_out_positions(ids, labels, groups, share, seed)}
    hashes = {row["sha256"] for row in labelled if row["id"] in held_out}
    left: dict[int, int] = {}
    for row in labelled:
        if row["id"] not in held_out and row["sha256"] not in hashes:
            left[row["label"]] = left.get(row["label"], 0) + 1
    search_rows = []
    for row in rows:
        if row["id"] in held_out:
            search_rows.append(
                {**row, "data": "test", "split": "test", "probe": False, "truth": row["label"], "label": None}
            )
        elif row["split"] != "test" and row["sha256"] not in hashes:
            # A score needs two images of a class.
            search_rows.append({**row, "probe": row["probe"] and left[row["label"]] > 1})
    return search_rows


def write_search(workspace: Path, search: Path, share: float = SHARE, seed: int = 0) -> int:
    """Write the search's manifest, with the images in it, and the class names; the number of images held out."""
    source = workspace / "manifest.parquet"
    table = parquet_files.read_table(source, schemas.MANIFEST)
    rows = select_rows(table.to_pylist(), share, seed)
    for row in rows:
        if row["path"] is not None:
            row["image"], row["path"] = (workspace / row["path"]).read_bytes(), None
    made_from = {"manifest": files.digest(source), "held out": share, "seed": seed}
    arrow = table.schema.remove_metadata()
    parquet_files.write_table(
        search / "manifest.parquet", pa.Table.from_pylist(rows, schema=arrow), schemas.MANIFEST, made_from
    )
    files.write_json(search / "classes.json", files.read_json(workspace / "classes.json"))
    return sum(row["split"] == "test" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("workspace", type=Path)
    parser.add_argument("search", type=Path)
    parser.add_argument("--share", type=float, default=SHARE)
    arguments = parser.parse_args()
    print(f"{write_search(arguments.workspace, arguments.search, arguments.share)} labelled images held out")


if __name__ == "__main__":
    main()
