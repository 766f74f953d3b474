"""What is stored is scored, ranked, shown and taken over without torch: no model is run."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.faults.tables import VALUES, table
from tests.workspaces import make, run
from zoo_cli import config

PROBE = """
import json, sys
from zoo_cli.__main__ import main
for arguments in json.loads(sys.argv[1]):
    code = main(arguments)
    assert code == 0, (arguments, code)
    loaded = {name.partition(".")[0] for name in sys.modules} & {"torch", "torchvision", "timm", "sklearn"}
    assert not loaded, (arguments, loaded)
"""
COMMANDS = """
split
extract
extract --gradients --projection 20
extract --views 2
extract --dry-run
score
score --metric lgc
score --metric parc --metric lfc --overwrite
score --metric ms-leep
score --metric lfc --out lfc.parquet
rank
rank --metric parc,lfc --refresh
rank --metric lgc --json
rank --explain alpha
rank --scores scores/parc
rank --features theirs.parquet
score --features theirs.parquet --metric knn --out knn.parquet
pseudo-label
pseudo-label --overwrite
pseudo-label --views 2
pseudo-label --head ridge --views 2
pseudo-label --features theirs.parquet --out pseudo/source=theirs
distill --dry-run
finetune best --dry-run
sources --json
show manifest.parquet
show features/source=alpha/_source.json
show scores/parc/alpha.parquet
show labels-only-s0
report
evaluate accuracy
evaluate ranking . accuracies.csv
"""


def test_stored_things_are_read_without_torch(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="extract")
    table(place / "theirs.parquet", embedding=VALUES, logits=VALUES)
    (place / "accuracies.csv").write_text("source,accuracy\nalpha,0.5\nbeta,0.6\ngamma,0.4\n", encoding="utf-8")
    for command in (
        "extract --gradients --projection 20",
        "extract --views 2",
        "distill --lam 1 --steps 1 --batch-size 4",
    ):
        result = run(*command.split(), workspace=place)
        assert result.code == 0, result.err
    commands = json.dumps([line.split() for line in COMMANDS.strip().splitlines()])
    environment = {**os.environ, "PYTHONPATH": str(Path(config.__file__).parents[1])}
    result = subprocess.run(
        [sys.executable, "-c", PROBE, commands], cwd=place, env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
