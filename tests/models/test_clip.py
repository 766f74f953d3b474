"""Models of open_clip with random weights as classifiers of a task; no test opens a connection."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from tests import workspaces
from tests.models.hub_server import use_cache
from tests.models.tiny_models import load_run, make_images, save_student
from zoo_cli.config import Source
from zoo_cli.errors import ContractError, UsageError, ZooError
from zoo_cli.models import clip, loading
from zoo_cli.models.cached_weights import find_missing
from zoo_cli.models.student import build_student
from zoo_cli.training.students import as_trained_student

open_clip = pytest.importorskip("open_clip", reason="needs the extra clip")

NAMES = ("great_tit", "owl", "wren")
PROMPTS = ("a photo of a {}.", "a drawing of the {}")
ARGS: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
PREPARED: dict[str, Any] = {"input_size": 32, "mean": (0.5,) * 3, "std": (0.25,) * 3}


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(5)
    network = clip._create_model("ViT-B-32", ARGS, clip._Checkpoint(None, {}, True), 5, "test")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)  # small initial weights hide differences
    return network


@pytest.fixture(scope="module")
def root(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the classes of a task, the weights, and the text embeddings that the model gives."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "classes.json").write_text(json.dumps({"names": NAMES}))
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "clip.safetensors")
    rows = encode(model, PROMPTS)
    labels = [name for name in ("crow", *NAMES) for _ in PROMPTS]
    embeddings = [[1.0] * 16] * len(PROMPTS) + rows.flatten(0, 1).tolist()
    pq.write_table(pa.table({"class": labels, "embedding": embeddings}), folder / "classes.parquet")
    return folder


def encode(model: Any, prompts: tuple[str, ...]) -> torch.Tensor:
    """The text embeddings (C, prompts, D) by open_clip alone."""
    tokenizer = open_clip.get_tokenizer("ViT-B-32", context_length=24)
    with torch.no_grad():
        texts = [[prompt.replace("{}", name.replace("_", " ")) for prompt in prompts] for name in NAMES]
        return torch.stack([model.encode_text(tokenizer(row)) for row in texts])


def declare(**options: Any) -> Source:
    return Source("s", "clip:ViT-B-32", **{"args": ARGS, "weights": "clip.safetensors", **PREPARED, **options})


def catch_error(source: Source, root: Path) -> ZooError:
    with pytest.raises(ZooError) as caught:
        loading.load_model(source, root)
    return caught.value


def test_logits_are_those_of_open_clip(model: Any, root: Path) -> None:
    loaded = loading.load_model(declare(prompts=PROMPTS), root)
    assert (loaded.class_names, loaded.classes, loaded.tap.dim, loaded.tap.head) == (NAMES, 3, 16, "head")
    x = make_images(32)
    texts = functional.normalize(functional.normalize(encode(model, PROMPTS), dim=-1).mean(1), dim=-1)
    with torch.no_grad():
        images = model.encode_image(x, normalize=True)
        features, logits = loaded.extractor()(x)
    torch.testing.assert_close(logits, model.logit_scale.exp() * images @ texts.T)
    torch.testing.assert_close(features, images)


def test_a_file_of_embeddings_needs_no_tokenizer(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_prompts = loading.load_model(declare(prompts=PROMPTS), root)
    monkeypatch.setattr(open_clip, "get_tokenizer", None)
    by_file = loading.load_model(declare(class_embeddings="classes.parquet"), root)
    with torch.no_grad():
        torch.testing.assert_close(by_file.module(make_images(32)), by_prompts.module(make_images(32)))
    assert by_file.weights_sha256 != by_prompts.weights_sha256


def test_weights_are_told_apart_by_their_text(root: Path) -> None:
    digests = [loading.load_model(declare(prompts=prompts), root).weights_sha256 for prompts in ((), PROMPTS, ())]
    assert digests[0] == digests[2] != digests[1]
    two = loading.load_model(declare(classes=("owl", "wren")), root)
    assert (two.class_names, two.weights_sha256 in digests) == (("owl", "wren"), False)


def test_encoders_need_no_classes(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_clip, "get_tokenizer", None)
    (tmp_path / "clip.safetensors").symlink_to(root / "clip.safetensors")
    for options in ({"classes": 0}, {"head": False}):
        loaded = loading.load_model(declare(**options), tmp_path)
        assert (loaded.classes, loaded.tap.dim, loaded.class_names) == (0, 16, None), options
    error = catch_error(declare(), tmp_path)
    assert "the classes of the task are not known yet" in error.message


def test_students_load_again_without_text(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, body = (loading.load_model(declare(**options), root) for options in ({"prompts": PROMPTS}, {"classes": 0}))
    students = {
        "kept": as_trained_student(loaded, NAMES[::-1]),
        "new": build_student(loaded, ("a", "b"), seed=1),
        "body": build_student(body, ("a", "b"), seed=1),
    }
    monkeypatch.setattr(open_clip, "get_tokenizer", None)
    x = make_images(32)
    for name, student in students.items():
        save_student(student.eval(), tmp_path / name)
        with torch.no_grad():
            again = load_run(tmp_path, name).extractor()(x)[1]
            torch.testing.assert_close(again, student(x)[1], rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(students["kept"](x)[1], loaded.module(x).flip(1))


def test_preprocessing_is_known_of_tags_alone(root: Path) -> None:
    named = loading.load_model(Source("s", "clip:ViT-B-32", ARGS, weights="none"), root)
    assert (named.preprocessing.resize, named.preprocessing.interpolation) == (32, "bicubic")
    assert named.preprocessing.mean == pytest.approx(open_clip.OPENAI_DATASET_MEAN)
    squashed = clip._Checkpoint(None, open_clip.get_pretrained_cfg("ViT-B-16-SigLIP", "webli"), True)
    prepared = clip._read_preprocessing(named.module.visual, squashed)
    assert (prepared.input_size, prepared.resize, prepared.mean) == (32, None, (0.5,) * 3)
    error = catch_error(declare(mean=None, std=None), root)
    assert "mean, std not known" in error.message


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"weights": "openay"}, UsageError, 'no weights of clip:ViT-B-32 and no file "openay"'),
        ({"weights": ""}, UsageError, "source s: clip:ViT-B-32 has no weights"),
        ({"args": {**ARGS, "embed_dim": 8}}, ContractError, "size mismatch"),
        ({"args": {"device": "cuda"}}, UsageError, '"device" among the args'),
        ({"args": {"wide": 2}}, UsageError, "wide"),
        ({"prompts": ("a bird",)}, UsageError, 'the prompt "a bird" has no {}'),
        ({"prompts": PROMPTS, "class_embeddings": "classes.parquet"}, UsageError, "both prompts and class_embeddings"),
        ({"class_embeddings": "clases.parquet"}, UsageError, "no file"),
        ({"classes": ("owls",), "class_embeddings": "classes.parquet"}, ContractError, 'has no class "owls"'),
        ({"classes": 0, "prompts": PROMPTS}, UsageError, "no head to make of them"),
        ({"classes": 4}, UsageError, "4 classes are declared, but the model has 3"),
    ],
)
def test_bad_declarations_are_one_line(options: dict[str, Any], kind: type, message: str, root: Path) -> None:
    error = catch_error(declare(**options), root)
    assert isinstance(error, kind)
    assert message in error.message
    assert error.hint


def test_unknown_models_get_the_nearest_name(root: Path) -> None:
    error = catch_error(Source("s", "clip:ViT-B32", weights="openai"), root)
    assert error.message == 'no model "ViT-B32" in open_clip'
    assert "did you mean ViT-B-32?" in (error.hint or "")


def test_without_a_network_the_way_out_is_said(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_cache(tmp_path, "http://127.0.0.1:9", monkeypatch)
    with pytest.raises(ZooError, match="the hub cannot be reached") as caught:
        loading.load_model(declare(weights="openai"), root)
    assert caught.value.hint == "connect once, or give a weights file"
    assert find_missing(declare(weights="openai"), root) == "timm/vit_base_patch32_clip_224.openai/"
    error = catch_error(Source("s", "clip:roberta-ViT-B-32", weights="none"), root)
    assert "its text encoder roberta-base: the hub cannot be reached" in error.message
    with pytest.raises(ZooError, match="the tokenizer timm/ViT-B-16-SigLIP") as caught:
        clip._load_tokenizer(object(), "ViT-B-16-SigLIP", "source s")
    assert "class_embeddings = " in (caught.value.hint or "")


def test_weights_of_a_tag_come_from_the_cache(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "_find_cached", lambda _config: root / "clip.safetensors")
    plain = Source("s", "clip:ViT-B-32", ARGS, weights="openai")
    loaded = loading.load_model(plain, root)
    assert loaded.architecture.args["quick_gelu"] is True  # as OpenAI trained it
    assert loaded.preprocessing.resize == 32
    assert find_missing(plain, root) is None
    state = load_file(root / "clip.safetensors")
    torch.testing.assert_close(loaded.module.visual.proj, torch.nn.Parameter(state["visual.proj"]))


def test_zero_shot_sources_are_scored_and_pooled(tmp_path: Path) -> None:
    workspace = workspaces.make(tmp_path / "task", upto="extract")
    rows = np.random.default_rng(0).normal(size=(3, 16))
    table = pa.table({"class": ["red", "green", "blue"], "embedding": rows.tolist()})
    pq.write_table(table, workspace / "classes.parquet")
    args = json.dumps(ARGS).replace('": ', '" = ')
    with (workspace / "zoo.toml").open("a") as file:
        file.write(f'\n[[source]]\nname = "zeta"\nmodel = "clip:ViT-B-32"\nweights = "none"\nargs = {args}\n')
        file.write('class_embeddings = "classes.parquet"\n')
    for command in (("extract",), ("score", "--metric", "leep"), ("score", "--metric", "parc"), ("rank",)):
        result = workspaces.run(*command, workspace=workspace)
        assert result.code == 0, result.err
    record = json.loads((workspace / "features" / "source=zeta" / "_source.json").read_text())
    assert record["class_names"] == ["blue", "green", "red"]
    result = workspaces.run("pseudo-label", "--head", "ridge", workspace=workspace)
    assert result.code == 0, result.err
    pq.write_table(table.slice(1), workspace / "classes.parquet")
    error = workspaces.run("extract", "--overwrite", "--source", "zeta", workspace=workspace).error
    assert 'has no class "red"' in error


def test_a_file_of_weights_is_compared_without_torch(root: Path, tmp_path: Path) -> None:
    workspace = workspaces.make(tmp_path / "task", upto="split")
    names = json.loads((workspace / "classes.json").read_text())["names"]
    rows = np.random.default_rng(0).normal(size=(3, 16)).tolist()
    pq.write_table(pa.table({"class": names, "embedding": rows}), workspace / "classes.parquet")
    (workspace / "clip.safetensors").write_bytes((root / "clip.safetensors").read_bytes())
    args, prepared = json.dumps(ARGS).replace('": ', '" = '), "input_size = 32\nmean = [0.5, 0.5, 0.5]\nstd = [1, 1, 1]"
    with (workspace / "zoo.toml").open("a") as file:
        file.write(f'\n[[source]]\nname = "zeta"\nmodel = "clip:ViT-B-32"\nargs = {args}\n{prepared}\n')
        file.write('weights = "clip.safetensors"\nclass_embeddings = "classes.parquet"\n')
    for command in ("extract", "score"):
        result = workspaces.run(command, "--source", "zeta", workspace=workspace)
        assert result.code == 0, result.err
    pq.write_table(pa.table({"class": names, "embedding": rows[::-1]}), workspace / "classes.parquet")
    error = workspaces.run("score", "--source", "zeta", workspace=workspace).error
    assert "made from other inputs: class_embeddings" in error
