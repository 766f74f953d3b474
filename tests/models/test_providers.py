"""What each provider knows by itself, what the user must say, and what goes wrong in one line."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.models.networks import declare, images, load, write_code
from zoo_cli import registry
from zoo_cli.config import Preprocessing, Source
from zoo_cli.errors import ContractError, UsageError, ZooError
from zoo_cli.models import loading

TINY = "python:nets.py:tiny"
HALVES = {"mean": (0.5,) * 3, "std": (0.25,) * 3}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_code(tmp_path)
    return tmp_path


def refusal(source: Source, root: Path, kind: type[ZooError] = UsageError) -> str:
    with pytest.raises(ZooError) as caught:
        loading.load(source, root)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_provider_of_the_table_resolves() -> None:
    for entry in registry.MODELS.values():
        assert callable(registry.load(entry))


@pytest.mark.parametrize("model", ["torchvision:resnet18", TINY])
def test_an_unknown_preprocessing_is_an_error_that_names_what_is_missing(model: str, root: Path) -> None:
    assert "input_size, mean, std not known" in refusal(Source("s", model), root)
    assert "s: std not known" in refusal(Source("s", model, input_size=32, mean=(0.5,) * 3), root)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"mean": (0.5,)}, "1 means and 3 stds for 1 channels"),
        ({"std": (0.5, 0.0, 0.5)}, "std above 0"),
        ({"mean": (0.5, float("nan"), 0.5)}, "finite"),
        ({"resize": 32}, "input_size = 64, resize = 32"),
        ({"interpolation": "cubic"}, "did you mean bicubic"),
        ({"channels": 1}, "3 means"),
        ({"channels": 4, "mean": (0.5,) * 4, "std": (0.5,) * 4}, "channels = 4"),
        ({"channels": 1, "mean": (0.5,), "std": (0.5,)}, "cannot run a batch of 2x1x64x64"),
        ({"classes": 7}, "7 classes are declared, but the model has 5"),
        ({"classes": ("a", "b")}, "2 classes are declared"),
        ({"classes": ()}, "empty class names"),
        ({"classes": ("a", "b", "c", "d", " ")}, "empty class names"),
        ({"classes": -1}, "classes = -1"),
        ({"classes": 5, "head": False}, "head = false"),
        ({"feature_layer": "boddy"}, "nearest: body"),
    ],
)
def test_declarations_that_cannot_be_are_refused(said: dict[str, Any], words: str, root: Path) -> None:
    assert words in refusal(declare(TINY, **said), root)


def test_the_users_word_overrides_the_provider(root: Path) -> None:
    pytest.importorskip("timm")
    own = loading.load(Source("s", "timm:test_resnet"), root).preprocessing
    assert own == Preprocessing(160, (0.5,) * 3, (0.5,) * 3, 168, "bilinear")
    said = loading.load(Source("s", "timm:test_resnet", input_size=80, std=(1.0,) * 3), root).preprocessing
    assert said == Preprocessing(80, (0.5,) * 3, (1.0,) * 3, 84, "bilinear")  # the same share is cut away
    whole = loading.load(Source("s", "timm:test_resnet", resize=0, interpolation="nearest"), root).preprocessing
    assert (whole.resize, whole.interpolation) == (None, "nearest")


def test_class_names_come_as_a_list_or_a_file(root: Path) -> None:
    assert load(TINY, root, classes=5).class_names is None
    assert load(TINY, root, classes=tuple("abcde")).class_names == tuple("abcde")
    (root / "names.txt").write_text("ant\nbee\n\ncat \nd\ne\n")
    assert load(TINY, root, classes=("names.txt",)).class_names == ("ant", "bee", "cat", "d", "e")


def test_sigmoid_outputs_are_kept_as_declared(root: Path) -> None:
    assert load(TINY, root, output="sigmoid").output == "sigmoid"
    assert loading.describe(load(TINY, root, output="sigmoid"))["output"] == "sigmoid"


def test_stored_features_are_told_apart_and_hold_no_model(root: Path) -> None:
    assert loading.is_stored(Source("s", "features:x.parquet"))
    assert not loading.is_stored(Source("s", TINY))
    assert "holds stored features, no model" in refusal(Source("s", "features:x.parquet"), root)
    assert "no model provider" in refusal(Source("s", "torchvison:resnet18"), root)


def test_a_description_is_the_same_each_time_and_plain_json(root: Path) -> None:
    first, second = (loading.describe(load(TINY, root, trained_on=("birds",), depth=2)) for _ in range(2))
    assert first == second
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    assert str(root) not in json.dumps(first)
    conv = 31 * 31 * 8 * 27
    assert (first["features"], first["classes"], first["macs"]) == (8, 5, conv + 40)
    assert first["parameters"] == 8 * 27 + 8 + 16 + 45
    assert (first["trained_on"], first["depth"], first["feature_layer"]["head"]) == (["birds"], 2, "fc")


def test_random_weights_come_from_the_seed(root: Path) -> None:
    hashes = [load(TINY, root, seed=seed).weights_sha256 for seed in (1, 1, 2)]
    assert hashes[0] == hashes[1] != hashes[2]


class TestPython:
    """The user's own file."""

    def test_a_path_among_the_args_is_relative_to_the_workspace(self, tmp_path: Path) -> None:
        (tmp_path / "space").mkdir()
        write_code(tmp_path / "space")
        (tmp_path / "card.json").write_text('{"width": 7}')
        model = load(TINY, tmp_path / "space", args={"card": "../card.json"})
        assert model.tap.dim == 7
        assert model.architecture.args == {"card": "../card.json"}

    def test_a_changed_file_is_read_anew_and_nothing_is_written_beside_it(self, root: Path) -> None:
        assert load(TINY, root).tap.dim == 8
        file = root / "nets.py"
        file.write_text(file.read_text().replace("width=8", "width=9"))
        assert load(TINY, root).tap.dim == 9
        assert [path.name for path in root.iterdir()] == ["nets.py"]

    def test_the_search_path_of_modules_stays_as_it_was(self, root: Path) -> None:
        before = list(sys.path)
        load(TINY, root)
        assert sys.path == before
        assert "nets" not in sys.modules

    @pytest.mark.parametrize(
        ("model", "words"),
        [
            ("python:nets.py", "write python:FILE.py:FACTORY"),
            ("python:gone.py:tiny", 'no file "gone.py"'),
            ("python:nets.py:tinny", "did you mean tiny?"),
            ("python:nets.py:refuses", "refuses of nets.py: KeyError: 'width'"),
            ("python:nets.py:leaves", "SystemExit: 3"),
            ("python:nets.py:number", "gives int"),
            ("python:nets.py:objects", "OwnError: no card in the drawer"),
        ],
    )
    def test_what_goes_wrong_in_the_users_code_is_one_line(self, model: str, words: str, root: Path) -> None:
        assert words in refusal(declare(model), root)

    def test_an_argument_the_factory_does_not_take_is_one_line(self, root: Path) -> None:
        assert "unexpected keyword argument 'wide'" in refusal(declare(TINY, args={"wide": 3}), root)

    def test_a_file_that_is_no_python_is_one_line_each_time(self, root: Path) -> None:
        (root / "nets.py").write_text("def tiny(:\n")
        for _ in range(2):
            assert "SyntaxError" in refusal(declare(TINY), root)

    def test_a_network_that_cannot_run_is_one_line(self, root: Path) -> None:
        code = "\nclass Bad(nn.Module):\n    def forward(self, x): raise IndexError('no\\nluck')\n"
        write_code(root, (root / "nets.py").read_text() + code)
        assert "IndexError: no luck" in refusal(declare("python:nets.py:Bad"), root)


class TestTorchvision:
    """torchvision's names, weights and cache; no test opens a connection."""

    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        hub = tmp_path / "hub"
        monkeypatch.setattr(torch.hub, "_hub_dir", str(hub))
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
        (hub / "checkpoints").mkdir(parents=True)
        return hub / "checkpoints"

    def put(self, cache: Path, name: str, enum: str = "IMAGENET1K_V1") -> Any:
        import torchvision

        extra = {"init_weights": False} if name == "googlenet" else {}
        module = torchvision.models.get_model(name, **extra).eval()
        url = torchvision.models.get_model_weights(name)[enum].url
        torch.save(module.state_dict(), cache / Path(url).name)
        return module

    @pytest.mark.parametrize(
        ("model", "weights"),
        [("squeezenet1_1", "IMAGENET1K_V1"), ("squeezenet1_1", "DEFAULT"), ("squeezenet1_1.IMAGENET1K_V1", "")],
    )
    def test_named_weights_come_from_the_cache_with_all_they_know(
        self, model: str, weights: str, root: Path, cache: Path
    ) -> None:
        module = self.put(cache, "squeezenet1_1")
        loaded = loading.load(Source("s", f"torchvision:{model}", weights=weights), root)
        imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        assert loaded.preprocessing == Preprocessing(224, *imagenet, 256, "bilinear")
        assert loaded.class_names is not None
        assert (len(loaded.class_names), loaded.class_names[0]) == (1000, "tench")
        with torch.no_grad():
            torch.testing.assert_close(loaded.module(images(64)), module(images(64)), rtol=0, atol=0)
        assert loaded.architecture.model == "torchvision:squeezenet1_1"

    def test_googlenets_weights_bring_their_input_transform_and_lose_their_auxiliary_heads(
        self, root: Path, cache: Path
    ) -> None:
        self.put(cache, "googlenet")
        loaded = loading.load(Source("s", "torchvision:googlenet.DEFAULT"), root)
        assert loaded.architecture.args == {"aux_logits": False, "transform_input": True}
        assert not any(key.startswith("aux") for key in loaded.module.state_dict())
        (cache / "full.pth").write_bytes(next(cache.glob("googlenet-*")).read_bytes())
        from_file = load("torchvision:googlenet", cache, weights="full.pth")
        assert not any(key.startswith("aux") for key in from_file.module.state_dict())

    def test_weights_without_a_network_are_one_line(self, root: Path) -> None:
        text = refusal(Source("s", "torchvision:squeezenet1_1.DEFAULT"), root, ZooError)
        assert "could not be fetched" in text
        assert "https://download.pytorch.org" in text

    @pytest.mark.parametrize("data", [b"", b"torn", None])
    def test_a_damaged_cache_is_named(self, data: bytes | None, root: Path, cache: Path) -> None:
        self.put(cache, "squeezenet1_1")
        (file,) = cache.iterdir()
        file.write_bytes(file.read_bytes()[:-100] if data is None else data)
        assert file.name in refusal(Source("s", "torchvision:squeezenet1_1.DEFAULT"), root, ContractError)

    def test_pickled_code_in_the_cache_never_runs(self, root: Path, cache: Path) -> None:
        from tests.models.test_weights import Payload

        self.put(cache, "squeezenet1_1")
        (file,) = cache.iterdir()
        torch.save(Payload(root / "canary"), file)
        text = refusal(Source("s", "torchvision:squeezenet1_1.DEFAULT"), root, ContractError)
        assert "holds pickled code" in text
        assert not (root / "canary").exists()

    def test_weights_of_another_architecture_in_the_cache_do_not_fit(self, root: Path, cache: Path) -> None:
        self.put(cache, "squeezenet1_1")
        (file,) = cache.iterdir()
        torch.save({"a": torch.zeros(1)}, file)
        assert "does not fit" in refusal(Source("s", "torchvision:squeezenet1_1.DEFAULT"), root, ContractError)

    @pytest.mark.parametrize(
        ("model", "said", "words"),
        [
            ("resnet17", {}, "did you mean resnet18?"),
            ("resnet18.V9", {}, 'no weights of torchvision:resnet18 and no file "V9"'),
            ("resnet18", {"weights": "IMAGENET1K"}, "did you mean IMAGENET1K_V1?"),
            ("resnet18", {"weights": "zoo/x.pt"}, 'no weights file "zoo/x.pt"'),
            ("resnet50.IMAGENET1K_V1", {"weights": "IMAGENET1K_V2"}, "say the weights once"),
            ("squeezenet1_1.DEFAULT", {"classes": 7}, "have 1000"),
            ("resnet18", {"args": {"depth": 3}}, "unexpected keyword argument 'depth'"),
            ("resnet18", {"args": {"weights": "DEFAULT"}}, "beside args"),
        ],
    )
    def test_what_torchvision_does_not_have_is_one_line(
        self, model: str, said: dict[str, Any], words: str, root: Path
    ) -> None:
        assert words in refusal(declare(f"torchvision:{model}", **said), root)

    def test_classes_decide_the_width_of_the_head(self, root: Path) -> None:
        model = load("torchvision:resnet18", root, classes=7)
        assert (model.classes, model.module.fc.out_features) == (7, 7)
        assert load("torchvision:resnet18", root, classes=("a", "b")).class_names == ("a", "b")

    @pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "mobilenet_v3_small"])
    @pytest.mark.parametrize("with_head", [False, True])
    def test_a_body_without_its_head_loads_and_gives_what_the_head_read(
        self, name: str, with_head: bool, root: Path
    ) -> None:
        from zoo_cli.models.capture import Tapped

        full = load(f"torchvision:{name}", root, seed=4)
        state = full.module.state_dict()
        torch.save(
            {k: v for k, v in state.items() if with_head or not k.startswith(f"{full.tap.head}.")}, root / "b.pt"
        )
        body = load(f"torchvision:{name}", root, weights="b.pt", classes=0)
        assert (body.classes, body.class_names, body.tap.head) == (0, None, None)
        with torch.no_grad():
            features, _ = Tapped(full.module, full.tap)(images(64))
            torch.testing.assert_close(body.module(images(64)), features)


class TestTimm:
    """timm's names, tags, data configuration and folders; no test opens a connection."""

    timm = pytest.importorskip("timm")

    FAMILIES = (
        ("resnet18", 64, 512),
        ("vit_tiny_patch16_224", 224, 192),
        ("efficientnet_b0", 64, 1280),
        ("efficientnet_lite0", 64, 1280),
        ("mobilenetv3_small_050", 64, 1024),
        ("convnext_atto", 64, 320),
        ("regnetx_002", 64, 368),
        ("dla34", 64, 512),
    )

    @pytest.mark.parametrize(("name", "size", "dim"), FAMILIES)
    def test_heads_are_found_and_a_run_loads_with_timm_alone(self, name: str, size: int, dim: int, root: Path) -> None:
        from tests.models.test_student import reload, store
        from zoo_cli.models import student
        from zoo_cli.models.capture import Tapped

        model = loading.load(Source("s", f"timm:{name}", input_size=size), root, seed=2)
        assert (model.tap.dim, model.classes) == (dim, 1000)
        x = images(size)
        with torch.no_grad():
            features, logits = Tapped(model.module, model.tap)(x)
            torch.testing.assert_close(logits, model.module(x), rtol=0, atol=0)
            head = model.module.get_submodule(model.tap.head)
            again = head(features[:, :, None, None]).flatten(1) if model.tap.pool else head(features)
            torch.testing.assert_close(again, logits, rtol=1e-4, atol=1e-5)

        learner = student.build(model, ("pit", "crack", "fine"), seed=1).train()
        features, logits = learner(images(size, count=3))
        # A convolution reads the map whose mean the features are, a Linear the features themselves.
        (gradient,) = torch.autograd.grad(logits.sum(), features, allow_unused=True)
        assert (gradient is None) == model.tap.pool
        learner.eval()
        self.timm.create_model(name, num_classes=3).load_state_dict(learner.plain_state_dict(), strict=True)
        folder = store(learner, root / "run")
        with torch.no_grad():
            expected = learner(x)[1]
            torch.testing.assert_close(reload(root).module(x), expected, rtol=0, atol=0)
        if tuple(map(int, self.timm.__version__.split(".")[:3])) < (1, 0, 26):
            pytest.skip("this timm reads no safetensors from a folder")
        alone = self.timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        with torch.no_grad():
            torch.testing.assert_close(alone(x), expected, rtol=0, atol=0)
        data = self.timm.data.resolve_model_data_config(alone)
        assert (tuple(data["input_size"]), tuple(data["mean"])) == ((3, size, size), model.preprocessing.mean)
        assert int(size / data["crop_pct"]) == model.preprocessing.resize
        assert list(alone.pretrained_cfg["label_names"]) == ["pit", "crack", "fine"]

    def test_two_averaged_heads_ask_for_a_layer_and_their_student_is_wrapped(self, root: Path) -> None:
        from tests.models.test_student import reload, store
        from zoo_cli.models import student

        name = "timm:deit_tiny_distilled_patch16_224"
        assert 'feature_layer, e.g. "head:input"' in refusal(Source("s", name), root)
        model = loading.load(Source("s", name, feature_layer="head:input"), root)
        assert (model.tap.dim, model.classes, model.tap.head) == (192, 1000, "")
        learner = student.build(model, ("a", "b"), seed=1).eval()
        assert "architecture" not in learner.config(), "timm alone cannot build it"
        store(learner, root / "run")
        with torch.no_grad():
            torch.testing.assert_close(reload(root).module(images(224)), learner(images(224))[1], rtol=0, atol=0)

    def test_a_model_without_classes_gives_its_pooled_feature(self, root: Path) -> None:
        model = loading.load(Source("s", "timm:resnet18", classes=0, input_size=64), root)
        assert (model.tap.module, model.tap.dim, model.classes) == ("", 512, 0)

    @pytest.mark.parametrize("ending", ["bin", "safetensors"])
    def test_a_gray_folder_of_timm_loads_with_its_own_preprocessing(self, ending: str, root: Path) -> None:
        module = self.timm.create_model("test_resnet", num_classes=4, in_chans=1).eval()
        (root / "hub").mkdir()
        if ending == "bin":
            torch.save(module.state_dict(), root / "hub" / "pytorch_model.bin")
        else:
            save_file(module.state_dict(), root / "hub" / "model.safetensors")
        config = {
            "architecture": "test_resnet",
            "num_classes": 4,
            "model_args": {"in_chans": 1},
            "label_names": ["a", "b", "c", "d"],
            "pretrained_cfg": {"input_size": [1, 96, 96], "mean": [0.3], "std": [0.2], "crop_pct": 0.96},
        }
        (root / "hub" / "config.json").write_text(json.dumps(config))
        model = loading.load(Source("s", "file:hub"), root)
        assert model.preprocessing == Preprocessing(96, (0.3,), (0.2,), 100, "bicubic", 1)
        assert (model.class_names, model.architecture.model) == (("a", "b", "c", "d"), "timm:test_resnet")
        with torch.no_grad():
            x = images(96, channels=1)
            torch.testing.assert_close(model.module(x), module(x), rtol=0, atol=0)
        body = loading.load(Source("s", "file:hub", classes=0), root)
        with torch.no_grad():
            pooled = module.forward_head(module.forward_features(x), pre_logits=True)
            torch.testing.assert_close(body.module(x), pooled, rtol=0, atol=0)
        from tests.models.test_student import reload, store
        from zoo_cli.models import student

        learner = student.build(model, ("x", "y"), seed=1).eval()
        store(learner, root / "run")
        with torch.no_grad():
            torch.testing.assert_close(reload(root).module(x), learner(x)[1], rtol=0, atol=0)

        assert "have 4" in refusal(Source("s", "file:hub", classes=9), root)
        del config["pretrained_cfg"]["mean"]
        (root / "hub" / "config.json").write_text(json.dumps(config))
        assert "mean not known" in refusal(Source("s", "file:hub"), root)
        config["architecture"] = "resnet_of_mine"
        (root / "hub" / "config.json").write_text(json.dumps(config))
        assert "no architecture of timm" in refusal(Source("s", "file:hub"), root)

    def test_damage_and_code_in_a_folder_of_timm_break_its_contract(self, root: Path) -> None:
        from tests.models.test_weights import Payload

        (root / "hub").mkdir()
        (root / "hub" / "config.json").write_text(json.dumps({"architecture": "test_resnet", "num_classes": 1000}))
        torch.save(Payload(root / "canary"), root / "hub" / "pytorch_model.bin")
        assert "holds pickled code" in refusal(declare("file:hub"), root, ContractError)
        assert not (root / "canary").exists()
        (root / "hub" / "pytorch_model.bin").unlink()
        (root / "hub" / "model.safetensors").write_bytes(b"torn")
        assert "no whole safetensors" in refusal(declare("file:hub"), root, ContractError)

    def test_a_file_of_weights_says_nothing_of_its_preprocessing_unless_the_name_has_its_tag(self, root: Path) -> None:
        torch.save(self.timm.create_model("test_resnet").state_dict(), root / "w.pt")
        assert "input_size, mean, std not known" in refusal(Source("s", "timm:test_resnet", weights="w.pt"), root)
        tagged = Source("s", "timm:test_resnet.r160_in1k", weights="w.pt")
        assert loading.load(tagged, root).preprocessing.input_size == 160
        torch.save(self.timm.create_model("test_resnet", num_classes=0).state_dict(), root / "body.pt")
        for name in ("w.pt", "body.pt"):
            assert load("timm:test_resnet", root, weights=name, classes=0).classes == 0

    @pytest.fixture
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        constants = pytest.importorskip("huggingface_hub").constants
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        return tmp_path / "cache"

    @pytest.mark.parametrize("said", [{"weights": "pretrained"}, {"weights": "r160_in1k"}, {}])
    def test_pretrained_weights_come_from_the_cache(self, said: dict[str, str], root: Path, cache: Path) -> None:
        module = self.timm.create_model("test_resnet").eval()
        repository = cache / "models--timm--test_resnet.r160_in1k"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("0" * 40)
        (repository / "snapshots" / ("0" * 40)).mkdir(parents=True)
        save_file(module.state_dict(), repository / "snapshots" / ("0" * 40) / "model.safetensors")
        name = "test_resnet" if said else "test_resnet.r160_in1k"
        model = loading.load(Source("s", f"timm:{name}", **said), root)
        with torch.no_grad():
            torch.testing.assert_close(model.module(images(160)), module(images(160)), rtol=0, atol=0)
        assert model.architecture.model == "timm:test_resnet"

    @pytest.mark.usefixtures("cache")
    def test_weights_without_a_network_are_one_line(self, root: Path) -> None:
        assert "connect once" in refusal(Source("s", "timm:test_resnet", weights="pretrained"), root, ZooError)

    @pytest.mark.parametrize(
        ("model", "said", "words"),
        [
            ("resnet17", {}, "did you mean resnet18?"),
            ("resnet18", {"weights": "a9_in1k"}, "one of: a1_in1k, a2_in1k"),
            ("resnet18.a9_in1k", {}, 'no weights of timm:resnet18 and no file "a9_in1k"'),
            ("resnet18.a1_in1k", {"weights": "a2_in1k"}, "say the weights once"),
            ("resnet18.a1_in1k", {"classes": 7}, "its weights have 1000"),
            ("resnet18", {"args": {"pretrained": True}}, "beside args"),
            ("resnet18", {"args": {"depth": 3}}, "unexpected keyword argument 'depth'"),
            ("vit_tiny_patch16_224", {"input_size": 64}, "cannot run a batch of 2x3x64x64"),
        ],
    )
    def test_what_timm_does_not_have_is_one_line(
        self, model: str, said: dict[str, Any], words: str, root: Path
    ) -> None:
        assert words in refusal(Source("s", f"timm:{model}", **said), root)

    def test_without_timm_the_extra_is_named(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "timm", None)
        assert 'pip install "zoo-cli[timm]"' in refusal(Source("s", "timm:resnet18"), root)
