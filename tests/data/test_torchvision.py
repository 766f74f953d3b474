"""torchvision data sets on disk."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from zoo_cli.data.samples import open_data
from zoo_cli.errors import UsageError
from zoo_cli.images.decoding import decode


def write_mnist(root: Path, count: int) -> np.ndarray:
    """Write MNIST's files, as its server has them; their random images (count, 28, 28)."""
    raw = root / "MNIST/raw"
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (count, 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):
        images = struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes()
        labels = struct.pack(">II", 2049, count) + bytes(range(count))
        for name, data in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            (raw / name).write_bytes(data)
            (raw / f"{name}.gz").write_bytes(gzip.compress(data))
    return pixels


def test_images_labels_and_class_names_are_the_data_sets(tmp_path: Path) -> None:
    pixels = write_mnist(tmp_path / "sets", 3)
    data = open_data("torchvision:MNIST?root=sets&train=false", tmp_path)
    assert data.classes is not None
    assert (len(data.classes), data.classes[0]) == (10, "0 - zero")
    samples = list(data.samples())
    assert [(s.id, s.label, s.path) for s in samples] == [(f"MNIST/{i}", i, None) for i in range(3)]
    assert np.array_equal(np.asarray(decode(samples[1].image or b""))[:, :, 0], pixels[1])
    assert samples == list(data.samples())


def test_a_data_set_without_class_names_is_numbered(tmp_path: Path) -> None:
    data = open_data("torchvision:FakeData?size=12&num_classes=3", tmp_path)
    assert data.classes is not None
    assert set(data.classes) <= {"0", "1", "2"}
    assert len(list(data.samples())) == 12


def test_several_labels_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.FakeData, "__getitem__", lambda *_: (Image.new("RGB", (2, 2)), torch.tensor([0, 1])))
    with pytest.raises(UsageError, match=r"sample 0 of torchvision:FakeData has several labels.*multi-label"):
        open_data("torchvision:FakeData?size=12", tmp_path)


def test_missing_files_are_one_line_without_a_download(tmp_path: Path) -> None:
    for spec in (
        "torchvision:CIFAR10?root=gone&train=true",
        "torchvision:MNIST?root=gone",
        "torchvision:DTD?root=gone",
    ):
        with pytest.raises(UsageError, match="cannot be read") as caught:
            open_data(spec, tmp_path)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "gone").exists() or not any(path.is_file() for path in (tmp_path / "gone").rglob("*"))


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("CIFAR1?root=x", "did you mean CIFAR10"),
        ("__doc__?root=x", "no torchvision data set"),
        ("VisionDataset?root=x", "no torchvision data set"),
        ("CIFAR10?train=true", "needs the folder"),
        ("CIFAR10?root=x&trian=true", "did you mean train"),
        ("CIFAR10?root=x&download=true", "no argument"),
        ("CIFAR10?root=x&root=y", "given twice"),
    ],
)
def test_wrong_names_and_arguments_are_reported(tmp_path: Path, spec: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        open_data(f"torchvision:{spec}", tmp_path)
