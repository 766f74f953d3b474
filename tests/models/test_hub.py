"""Models on the Hugging Face hub: from the cache, fetched once, and a hub that cannot be reached."""

import logging
import socket
import time
from pathlib import Path

import pytest
import torch

from tests.models.hub_server import fill_cache, serve_models, use_cache
from tests.models.tiny_models import loading_error, make_images
from zoo_cli.config import Source
from zoo_cli.errors import UsageError, ZooError
from zoo_cli.models import hub, loading
from zoo_cli.models.loading import LoadedModel

timm = pytest.importorskip("timm")
pytest.importorskip("huggingface_hub")
BIRDS = Source("s", "timm:hf-hub:us/birds")


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that timm has written."""
    folder = tmp_path_factory.mktemp("birds")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        module = timm.create_model("test_resnet", num_classes=3)
    timm.models.save_for_hf(module, folder, model_config={"label_names": ["tit", "owl", "wren"]})
    return folder


def check_birds(model: LoadedModel, folder: Path) -> None:
    assert model.class_names == ("tit", "owl", "wren")
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.testing.assert_close(model.module.fc.weight, state["fc.weight"], rtol=0, atol=0)
    assert model.architecture.model == "timm:test_resnet"


def test_a_cached_model_needs_no_network(birds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_cache(tmp_path / "cache", "us/birds", birds)
    use_cache(tmp_path / "cache", "http://127.0.0.1:9", monkeypatch, offline=True)
    model = loading.load_model(BIRDS, tmp_path)
    check_birds(model, birds)
    assert model.module(make_images(160)).shape == (2, 3)
    assert "drop weights" in loading_error(Source("s", BIRDS.model, weights="none"), tmp_path)


@pytest.mark.parametrize("revision", ["", "@v2"])
def test_a_model_is_fetched_once(revision: str, birds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source("s", BIRDS.model + revision)
    with serve_models({"us/birds": birds}) as (address, requests):
        use_cache(tmp_path / "cache", address, monkeypatch)
        check_birds(loading.load_model(source, tmp_path), birds)
        assert any("/resolve/v2/" in request for request in requests) == bool(revision)
        requests.clear()
        check_birds(loading.load_model(source, tmp_path), birds)
        assert not requests


def test_what_the_hub_does_not_have_is_one_line(birds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text("{}")
    models = {"us/birds": birds, "us/empty": tmp_path / "empty", "us/bare": tmp_path / "bare"}
    with serve_models(models) as (address, _):
        use_cache(tmp_path / "cache", address, monkeypatch)
        for name, words, kind in (
            ("us/nobody", "us/nobody needs a token, or does not exist; check the name", ZooError),
            ("us/empty", "us/empty is not on the hub", ZooError),
            ("us/bare", "us/bare has no config.json or no weights", UsageError),
            ("birds", "write ORG/NAME", UsageError),
        ):
            assert words in loading_error(Source("s", f"timm:hf-hub:{name}"), tmp_path, kind)


@pytest.mark.parametrize("model", ["timm:hf-hub:us/birds", "timm:test_resnet.r160_in1k"])
def test_an_unreachable_hub_is_one_line(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    use_cache(tmp_path / "cache", "http://127.0.0.1:9", monkeypatch)
    start = time.monotonic()
    text = loading_error(Source("s", model), tmp_path, ZooError)
    assert "the hub cannot be reached" in text
    assert "connect once" in text
    assert time.monotonic() - start < hub.TIMEOUT
    assert not caplog.records
    assert logging.getLogger("huggingface_hub").level != logging.CRITICAL


def test_a_silent_hub_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.TIMEOUT == 10
    monkeypatch.setattr(hub, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        use_cache(tmp_path / "cache", f"http://127.0.0.1:{server.getsockname()[1]}", monkeypatch)
        text = loading_error(BIRDS, tmp_path, ZooError)
    assert "does not answer within 0.2 s" in text or "timed out" in text
