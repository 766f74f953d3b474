"""`zoo extract --gradients`, and scores by LGC from its gradients."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.func import functional_call, jacrev

from tests import workspaces
from tests.workspaces import edit, run
from zoo_cli import config
from zoo_cli.images import decoding
from zoo_cli.models import loading
from zoo_cli.pipeline import gradient_extraction, prepare
from zoo_cli.store import manifest
from zoo_cli.store.columns import to_matrix

NAMES = ("alpha", "beta", "gamma", "@student")


def make(tmp_path: Path) -> Path:
    return workspaces.make(tmp_path / "task", upto="extract")


def parts(place: Path, name: str = "alpha") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((place / f"gradients/source={name}").glob("part-*"))}


def stored(place: Path, name: str, column: str = "gradient") -> tuple[list[str], Any]:
    """Ids and vectors (N, W), as any reader of parquet gets them."""
    ids, vectors = [], []
    for path in sorted((place / f"gradients/source={name}").glob("part-*")):
        table = pq.read_table(path)
        ids += table.column("id").to_pylist()
        vectors.append(to_matrix(table.column(column), column))
    return ids, np.concatenate(vectors)


def probe(place: Path) -> set[str]:
    images = prepare.prepare(config.load(place))
    return set(images.ids[images.where(probe=True)].tolist())


def kernel(place: Path, name: str, ids: list[str]) -> Any:
    """Theta (N, N) of a source from its network alone, sample by sample in float64."""
    settings = config.load(place)
    model = loading.load_model(settings.find_source(name), place, seed=settings.task.seed)
    images: manifest.Images = prepare.prepare(settings)
    rows = [images.ids.tolist().index(name) for name in ids]
    shape = decoding.view_geometry(model.preprocessing)
    views = [decoded[shape] for _, decoded in decoding.load_views([images.getter(row) for row in rows], [shape], 0)]  # type: ignore[index]
    x = (torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).double() / 255 - 0.5) / 0.25
    module = model.module.double()
    weight = module.get_submodule("0").weight.detach()
    each = torch.stack(
        [
            jacrev(lambda w, image: functional_call(module, {"0.weight": w}, (image[None],))[0])(weight, pixels)
            for pixels in x
        ]
    ).flatten(2)
    return torch.einsum("ikp,jkp->ij", each, each).detach().numpy()


def test_gradients_equal_autograd_and_lgc_ranks_by_them(tmp_path: Path) -> None:
    place = make(tmp_path)
    extracted = run("extract", "--gradients", workspace=place)
    assert extracted.code == 0, extracted.err
    assert "alpha: gradients of layer 0, 216 weights, in closed form" in extracted.err
    for name in NAMES:
        ids, vectors = stored(place, name)
        assert set(ids) == probe(place)
        true = kernel(place, name, ids)
        assert np.abs(vectors @ vectors.T - true).max() <= 1e-4 * np.abs(true).max()
    result = run("score", "--metric", "lgc", "--json", workspace=place)
    assert result.code == 0, result.err
    images = prepare.prepare(config.load(place))
    labels = dict(zip(images.ids.tolist(), images.labels.tolist(), strict=True))
    for row in result.data:
        ids, _ = stored(place, row["source"])
        y = np.array([labels[name] for name in ids])
        same = np.where(y[:, None] == y, 1.0, -1.0)
        true = np.corrcoef(kernel(place, row["source"], ids).ravel(), same.ravel())[0, 1]
        assert row["value"] == pytest.approx(true, abs=1e-5)
        assert (row["status"], row["representation"], row["n"]) == ("ok", "gradients", len(ids))
        assert row["low"] < row["value"] < row["high"]
        assert row["flags"] is None
    ranked = run("rank", "--metric", "lgc", "--json", workspace=place)
    assert ranked.code == 0, ranked.err
    best = max((row for row in result.data if row["source"] != "@student"), key=lambda row: row["value"])
    assert ranked.data[0]["source"] == best["source"]


def test_a_second_run_finds_everything_up_to_date(tmp_path: Path) -> None:
    place = make(tmp_path)
    assert run("extract", "--gradients", workspace=place).code == 0
    before = {name: parts(place, name) for name in NAMES}
    again = run("extract", "--gradients", workspace=place)
    assert again.code == 0
    for name in NAMES:
        assert f"the gradients of {name} are up to date" in again.err
        assert parts(place, name) == before[name]
    once = run("score", "--metric", "lgc", workspace=place)
    assert "zoo extract" not in once.err
    assert run("score", "--metric", "lgc", workspace=place).out == once.out


def test_score_makes_missing_gradients(tmp_path: Path) -> None:
    place = make(tmp_path)
    first = run("score", "--metric", "lgc:outputs=sum", "--json", workspace=place)
    assert first.code == 0, first.err
    assert "no gradients of alpha, beta, gamma, @student for this probe set yet: zoo extract --gradients" in first.err
    ids, vectors = stored(place, "beta", "gradient_sum")
    images = prepare.prepare(config.load(place))
    y = np.array([images.labels[images.ids.tolist().index(name)] for name in ids])
    true = np.corrcoef((vectors @ vectors.T).ravel(), np.where(y[:, None] == y, 1.0, -1.0).ravel())[0, 1]
    assert first.data[1]["value"] == pytest.approx(true, abs=1e-6)
    assert run("score", workspace=make(tmp_path / "other")).code == 0
    assert not (tmp_path / "other" / "task" / "gradients").exists()


def test_only_missing_gradient_parts_are_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradient_extraction, "PART_ROWS", 4)
    place = make(tmp_path)
    assert run("extract", "--gradients", "--source", "alpha", workspace=place).code == 0
    whole = parts(place)
    assert len(whole) == 4
    gone = sorted(whole)[1]
    (place / "gradients/source=alpha" / gone).unlink()
    again = run("extract", "--gradients", "--source", "alpha", workspace=place)
    assert "gradients 4/4" in again.err
    assert parts(place) == whole


def test_other_split_only_adds_missing_gradients(tmp_path: Path) -> None:
    place = make(tmp_path)
    assert run("extract", "--gradients", workspace=place).code == 0
    first, before = parts(place), probe(place)
    edit(place, 'labelled = "50%"', 'labelled = "90%"\nseed = 5')
    assert run("split", "--overwrite", workspace=place).code == 0
    new = probe(place) - before
    assert new
    result = run("rank", "--metric", "lgc", workspace=place)
    assert result.code == 0, result.err
    assert f"gradients {len(new)}/{len(new)}" in result.err
    assert parts(place).items() >= first.items()
    assert set(stored(place, "alpha")[0]) == before | new


def test_projection_has_its_width_and_flags_its_spread(tmp_path: Path) -> None:
    place = make(tmp_path)
    assert run("extract", "--gradients", "--projection", "150", workspace=place).code == 0
    assert stored(place, "alpha")[1].shape[1] == 150
    assert stored(place, "beta")[1].shape[1] == 135
    rows = {row["source"]: row for row in run("score", "--metric", "lgc", "--json", workspace=place).data}
    assert 0 < float(rows["alpha"]["flags"].removeprefix("projection_sd=")) < 0.1
    assert rows["beta"]["flags"] is None
    other = run("extract", "--gradients", "--projection", "none", workspace=place)
    assert other.code == 2
    assert "projection (150 there, none requested); zoo extract --gradients --source alpha --overwrite" in other.error
    assert run("extract", "--gradients", "--projection", "none", "--overwrite", workspace=place).code == 0
    assert stored(place, "alpha")[1].shape[1] == 216
    stale = run("score", "--metric", "lgc", workspace=place)
    assert stale.code == 2
    assert "zoo score --metric lgc --overwrite makes it again" in stale.error


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--projection", "100"), "--projection applies to gradients; add --gradients"),
        (("--gradients", "--projection", "all"), '--projection "all"; expected a multiple of 5, or none'),
        (("--gradients", "--projection", "12"), '--projection "12"; expected a multiple of 5, or none'),
    ],
)
def test_wrong_flags_are_refused_before_any_work(tmp_path: Path, flags: tuple[str, ...], message: str) -> None:
    place = workspaces.make(tmp_path / "task")
    assert run("extract", *flags, workspace=place).error == message
    assert not (place / "manifest.parquet").exists()


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    place = make(tmp_path)
    result = run("extract", "--gradients", "--dry-run", workspace=place)
    assert result.code == 0
    assert f"would compute {4 * len(probe(place))} gradients of 4 sources: alpha, beta, gamma, @student" in result.err
    assert not (place / "gradients").exists()
    bare = workspaces.make(tmp_path / "bare")
    assert run("extract", "--gradients", "--dry-run", workspace=bare).code == 0
    assert not (bare / "manifest.parquet").exists()


def test_sources_without_head_or_network_are_skipped(tmp_path: Path) -> None:
    place = make(tmp_path)
    text = (place / "zoo.toml").read_text()
    beta = text.index('name = "beta"')
    text = text[:beta] + 'name = "beta"\nhead = false' + text[beta + len('name = "beta"') :]
    features = sorted((place / "features/source=gamma").rglob("part-*"))[0].relative_to(place)
    (place / "zoo.toml").write_text(text + '\n[[source]]\nname = "theirs"\nmodel = "features:theirs.parquet"\n')
    (place / "theirs.parquet").write_bytes((place / features).read_bytes())
    assert run("extract", "--source", "beta", "--overwrite", workspace=place).code == 0
    assert run("extract", "--source", "theirs", workspace=place).code == 0
    extracted = run("extract", "--gradients", workspace=place)
    assert extracted.code == 0, extracted.err
    assert "beta has no gradients: it has no head" in extracted.err
    assert "theirs has no gradients: only its stored outputs are known" in extracted.err
    rows = {row["source"]: row for row in run("score", "--metric", "lgc", "--json", workspace=place).data}
    reason = "no gradients: it has no head, or only its stored outputs are known"
    for name in ("beta", "theirs"):
        assert (rows[name]["status"], rows[name]["value"], rows[name]["reason"]) == ("skipped", None, reason)
    assert rows["alpha"]["status"] == "ok"


def test_outputs_given_by_path_have_no_gradients(tmp_path: Path) -> None:
    place = make(tmp_path)
    path = sorted((place / "features/source=gamma").rglob("part-*"))[0]
    args = ("--features", str(path), "--manifest", str(place / "manifest.parquet"), "--metric", "lgc")
    result = run("score", *args, "--json")
    assert result.code == 0, result.err
    assert (result.data[0]["status"], result.data[0]["reason"]) == (
        "skipped",
        "no gradients: only zoo extract --gradients computes them",
    )


def test_other_layer_makes_only_gradients_stale(tmp_path: Path) -> None:
    place = make(tmp_path)
    assert run("extract", "--gradients", workspace=place).code == 0
    edit(place, 'name = "beta"', 'name = "beta"\ngradient_layer = "4"')
    assert run("extract", workspace=place).code == 0
    assert run("score", "--metric", "parc", workspace=place).code == 0
    stale = run("extract", "--gradients", workspace=place)
    assert stale.code == 2
    assert "gradient_layer ( there, 4 requested); zoo extract --gradients --source beta --overwrite" in stale.error
    assert run("extract", "--gradients", "--source", "beta", "--overwrite", workspace=place).code == 0
    record = json.loads((place / "gradients/source=beta/_gradients.json").read_text())
    assert (record["layer"], record["weights"], record["outputs"]) == ("4", 30, 5)
    edit(place, 'gradient_layer = "4"', 'gradient_layer = "1"')
    wrong = run("extract", "--gradients", "--source", "beta", "--overwrite", workspace=place)
    assert 'source beta: gradient_layer = "1": no Conv2d or Linear of that name; name one, such as 4' in wrong.error


def test_changed_weights_make_gradients_stale(tmp_path: Path) -> None:
    place = make(tmp_path)
    assert run("extract", "--gradients", workspace=place).code == 0
    edit(place, 'weights = "alpha.safetensors"\n', "")
    assert run("extract", "--source", "alpha", "--overwrite", workspace=place).code == 0
    stale = run("score", "--metric", "lgc", workspace=place)
    assert stale.code == 2
    assert "gradients/source=alpha was made from other inputs: source; zoo extract --gradients" in stale.error


def test_damaged_gradients_are_a_broken_contract(tmp_path: Path) -> None:
    place = make(tmp_path)
    assert run("extract", "--gradients", workspace=place).code == 0
    (path,) = (place / "gradients/source=alpha").glob("part-*")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    result = run("score", "--metric", "lgc", workspace=place)
    assert result.code == 3
    assert path.name in result.error


def test_missing_image_is_named(tmp_path: Path) -> None:
    place = make(tmp_path)
    name = sorted(probe(place))[0]
    images = prepare.prepare(config.load(place))
    gone = place / str(images.paths[images.ids.tolist().index(name)])
    gone.unlink()
    result = run("extract", "--gradients", workspace=place)
    assert result.code == 1
    assert f"{gone.relative_to(place)} cannot be read: No such file or directory; restore it" in result.error
