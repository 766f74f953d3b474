"""Zero-shot heads: prompts, files of text embeddings, and their digests. Nothing here needs open_clip."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from tests.models.tiny_models import declare
from zoo_cli import config
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.models import loading, zero_shot

NAMES = ("great tit", "owl", "wren")


def write(path: Path, labels: Sequence[Any], values: Any, **columns: str) -> Path:
    names = {"class": "class", "embedding": "embedding", **columns}
    pq.write_table(pa.table({names["class"]: labels, names["embedding"]: values}), path)
    return path


def read(path: Path, dim: int = 2) -> np.ndarray:
    return zero_shot.read_embeddings(path, NAMES, dim, "source s")


def test_prompts_of_a_class_are_averaged_as_unit_vectors() -> None:
    rows = np.array([[3.0, 0.0], [0.0, 0.5], [-2.0, 0.0]])
    means = zero_shot.average_embeddings(rows, np.array([0, 0, 1]), 2)
    np.testing.assert_allclose(means, [[0.5**0.5, 0.5**0.5], [-1, 0]], rtol=1e-6)
    with pytest.raises(ValueError, match=r"^1$"):
        zero_shot.average_embeddings(rows * [[1], [1], [0]], np.array([0, 0, 1]), 2)
    with pytest.raises(ValueError, match=r"^0$"):  # opposite prompts have no mean direction
        zero_shot.average_embeddings(rows[[0, 2]], np.array([0, 0]), 1)


def test_logits_are_the_scaled_cosine() -> None:
    texts = zero_shot.average_embeddings(np.array([[1.0, 2.0], [0.0, -3.0], [1.0, 0.0]]), np.arange(3), 3)
    network = zero_shot.ZeroShotNetwork(nn.Flatten(), zero_shot.make_head(texts, 10.0, -1.5))
    x = torch.tensor([[3.0, 4.0], [-1.0, 1.0]]).view(2, 2, 1, 1)
    cosine = nn.functional.cosine_similarity(x.view(2, 1, 2), torch.tensor(texts)[None], dim=2)
    torch.testing.assert_close(network(x), 10 * cosine - 1.5)


def test_prompts_take_the_name_of_every_class() -> None:
    filled = zero_shot.fill_prompts(("a {}.", "{}, {set}"), ("sea_gull", "{}"))
    assert filled == ["a sea gull.", "sea gull, {set}", "a {}.", "{}, {set}"]
    with pytest.raises(UsageError, match=r'source s: the prompt "a bird" has no \{\}'):
        zero_shot.check_prompts(("a {}", "a bird"), "source s")


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float64(), 2), pa.large_list(pa.float16())])
def test_files_are_read_by_class(kind: pa.DataType, tmp_path: Path) -> None:
    labels = pa.array(["wren", "crow", "owl", "great tit", "owl"]).dictionary_encode()
    rows = [np.array(row, np.float16) for row in ([0, 2], [9, 9], [3, 0], [-1, 0], [0, 1])]
    path = write(tmp_path / "c.parquet", labels, pa.array([list(row) for row in rows], kind))
    np.testing.assert_allclose(read(path), [[-1, 0], [0.5**0.5, 0.5**0.5], [0, 1]], rtol=1e-6)
    twice = zero_shot.read_embeddings(path, ("crow", "wren", "crow"), 2, "source s")
    np.testing.assert_allclose(twice, [[0.5**0.5] * 2, [0, 1], [0.5**0.5] * 2], rtol=1e-6)


def test_what_a_file_lacks_is_one_line(tmp_path: Path) -> None:
    path, good = tmp_path / "c.parquet", [[1.0, 0.0]] * 3
    with pytest.raises(UsageError, match="no file"):
        read(path)
    cases: list[tuple[Any, Any, str, str]] = [
        (["owls", "wren", "great tit"], good, 'has no class "owl"', 'the nearest is "owls"'),
        (["wren"], good[:1], 'has no class "great tit" and 1 more', "classes.json"),
        ([*NAMES], [[1.0]] * 3, "has an embedding of 1 numbers, but source s has 2", "same model"),
        ([*NAMES], [[1.0, 0.0], [1.0], [1.0, 0.0]], "has an embedding of 1 numbers", "same model"),
        ([*NAMES], [[1.0, 0.0], None, [1.0, 0.0]], "has an embedding of 0 numbers", "same model"),
        ([*NAMES], [[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]], 'embedding of "owl" is zero or not finite', "embedding"),
        ([*NAMES], [[1.0, 0.0], [1.0, 0.0], [1.0, None]], 'embedding of "wren" is zero or not finite', "embedding"),
        ([*NAMES], [1.0, 2.0, 3.0], "is double, not a list of numbers", "embedding"),
        ([0, 1, 2], good, "is int64, not text", "class"),
    ]
    for labels, values, message, hint in cases:
        with pytest.raises(ContractError) as caught:
            read(write(path, labels, values))
        assert message in caught.value.message, labels
        assert hint in (caught.value.hint or ""), labels
    with pytest.raises(ContractError, match='no column "class"'):
        read(write(path, [*NAMES], good, **{"class": "name"}))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ContractError, match="not a complete parquet file"):
        read(path)


def test_the_digest_follows_all_that_the_head_is_made_from() -> None:
    rows = np.eye(2, dtype=np.float32)
    cases = [("e", NAMES, ("{}",), None), ("f", NAMES, ("{}",), None), ("e", NAMES[::-1], ("{}",), None)]
    digests = {zero_shot.digest_head(*case) for case in cases}
    digests |= {zero_shot.digest_head("e", NAMES, (), rows), zero_shot.digest_head("e", NAMES, (), -rows)}
    assert len(digests) == 5


def test_only_clip_takes_prompts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="source s: prompts for torchvision:resnet18") as caught:
        loading.load_model(declare("torchvision:resnet18", prompts=("a {}",)), tmp_path)
    assert caught.value.hint


def test_declarations_without_text_keys_stay_as_they_were(tmp_path: Path) -> None:
    settings = config.Config(tmp_path)
    plain = settings.declared(config.Source("s", "timm:vit"))
    assert not {"prompts", "class_embeddings"} & plain.keys()
    assert settings.declared(config.Source("s", "clip:RN50", prompts=("a {}",)))["prompts"] == ["a {}"]
