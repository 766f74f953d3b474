"""The preprocessing of a model of transformers, from the preprocessor_config.json beside it."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo_cli.models import timm
from zoo_cli.models.architecture import PreprocessingDefaults
from zoo_cli.store import files
from zoo_cli.store.records import check_value

INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""By the numbers of Pillow, which transformers writes."""
PLAIN = ("Beit", "Bit", "CLIP", "ConvNext", "DeiT", "MobileNetV1", "MobileNetV2", "PoolFormer", "Siglip", "ViT")
"""Processors that do what their files say, and nothing else."""
TYPE = re.compile(r"(\w+?)(?:ImageProcessor|FeatureExtractor)(?:Fast|Pil)?")
OTHER_STEPS = ("do_flip_channel_order", "do_pad", "include_top", "rescale_offset")
CROP_PCT = 224 / 256
"""The share of ConvNeXT's crop where its file has none."""
SQUASHED = 384
"""The input size from which ConvNeXT's images are not cropped."""


def read_preprocessing(folder: Path, config: Mapping[str, Any]) -> PreprocessingDefaults:
    """What is known of how the images of a model are prepared; a step that zoo does not have leaves its values open.

    `config`: that of the model, which has its number of channels.
    """
    wrapped = config.get("pretrained_cfg")
    if isinstance(wrapped, Mapping):  # the wrapper of timm's models
        return timm.read_preprocessing({key: wrapped[key] for key in timm.DATA_FIELDS if key in wrapped}, {})
    processor = _read_processor(folder)
    channels = config.get("num_channels") if isinstance(config.get("num_channels"), int) else None
    if not _is_plain(processor):
        return PreprocessingDefaults(channels=channels)
    mean, std = _floats(processor.get("image_mean")), _floats(processor.get("image_std"))
    if not processor.get("do_normalize", True):
        mean, std = (0.0,) * (channels or 3), (1.0,) * (channels or 3)
    size, resize = _read_size(processor)
    return PreprocessingDefaults(
        input_size=size,
        resize=resize,
        interpolation=INTERPOLATIONS.get(processor.get("resample", 2)),
        mean=mean,
        std=std,
        channels=channels,
    )


def _read_processor(folder: Path) -> Mapping[str, Any]:
    for name, key in (("preprocessor_config.json", ""), ("processor_config.json", "image_processor")):
        file = folder / name
        if file.is_file():
            document = files.read_json(file)
            check_value(Mapping[str, Any], document, file)
            processor = document.get(key, {}) if key else document
            check_value(Mapping[str, Any], processor, f"{key or 'the processor'} in {file}")
            return dict(processor)
    return {}


def _is_plain(processor: Mapping[str, Any]) -> bool:
    """Whether a processor resizes, crops and normalises images with values in [0, 1], and does nothing else."""
    kind = TYPE.fullmatch(str(processor.get("image_processor_type") or processor.get("feature_extractor_type") or ""))
    factor = processor.get("rescale_factor", 1 / 255)
    return (
        bool(processor)
        and (kind is None or kind[1] in PLAIN)
        and processor.get("do_rescale", True) is True
        and isinstance(factor, float)
        and math.isclose(factor, 1 / 255, rel_tol=1e-3)
        and not any(processor.get(step) for step in OTHER_STEPS)
    )


def _read_size(processor: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """The side of the input, and the shorter side before a centre crop to it; None where it is open."""
    side, shorter = _side(processor.get("size")), _shortest(processor.get("size"))
    if not processor.get("do_resize", True):
        return None, None
    share = processor.get("crop_pct") or CROP_PCT
    if processor.get("do_center_crop"):
        crop = _side(processor.get("crop_size"))
        if shorter is not None and "crop_pct" in processor:
            shorter = int(shorter / share)
        # A square before the crop is not zoo's crop of the shorter side.
        return (crop, shorter) if shorter is not None and crop is not None and shorter >= crop else (None, None)
    if "crop_pct" in processor and shorter is not None:
        return shorter, None if shorter >= SQUASHED else int(shorter / share)
    return side, None


def _side(size: Any) -> int | None:
    """The side of a square."""
    if isinstance(size, Mapping):
        height, width = size.get("height"), size.get("width")
        return height if isinstance(height, int) and height == width else None
    return size if isinstance(size, int) else None


def _shortest(size: Any) -> int | None:
    shorter = size.get("shortest_edge") if isinstance(size, Mapping) else size
    return shorter if isinstance(shorter, int) else None


def _floats(values: Any) -> tuple[float, ...] | None:
    listed = isinstance(values, list) and all(isinstance(value, int | float) for value in values)
    return tuple(map(float, values)) if listed and values else None
