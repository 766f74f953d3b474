"""Class folders: a fixed order, numbers that never shift, and nothing read outside the folder."""

import os
from pathlib import Path

import pytest

from tests.data.encoded_images import encode, make_image
from zoo_cli.data.samples import open_data
from zoo_cli.errors import ContractError, UsageError

PNG = encode(make_image())


def write_images(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)


def test_classes_and_files_come_in_code_point_order(tmp_path: Path) -> None:
    write_images(
        tmp_path, "d/cat/b.png", "d/cat/a.JPG", "d/Zebra/1.webp", "d/cat/10.png", "d/cat/2.png", "d/ärger/x.gif"
    )
    data = open_data("folder:d", tmp_path)
    assert data.classes == ("Zebra", "cat", "ärger")
    assert [(s.id, s.label) for s in data.samples()] == [
        ("Zebra/1.webp", 0),
        ("cat/10.png", 1),
        ("cat/2.png", 1),
        ("cat/a.JPG", 1),
        ("cat/b.png", 1),
        ("ärger/x.gif", 2),
    ]
    assert list(data.samples()) == list(data.samples())
    assert not data.own_ids


def test_image_endings_count_in_any_case(tmp_path: Path) -> None:
    kinds = ["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "ppm", "pgm", "gif", "JPEG", "TiF"]
    write_images(tmp_path, *(f"d/c/{number}.{kind}" for number, kind in enumerate(kinds)))
    write_images(tmp_path, "d/c/.hidden.png", "d/.cache/y.png")
    assert len(list(open_data("folder:d", tmp_path).samples())) == len(kinds)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF"])
@pytest.mark.parametrize("name", ["scan.jfif", "scan", "IMG_0001.dat"])
def test_content_decides_without_a_known_ending(tmp_path: Path, form: str, name: str) -> None:
    write_images(tmp_path, "d/a/1.png")
    (tmp_path / "d/a" / name).write_bytes(encode(make_image(), form))
    data = open_data("folder:d", tmp_path)
    assert {s.id for s in data.samples()} == {"a/1.png", f"a/{name}"}
    assert not list(data.passed_over())


def test_files_that_are_no_images_are_passed_over(tmp_path: Path) -> None:
    write_images(tmp_path, "d/a/1.png", "d/b/1.png")
    for name in ("a/notes.txt", "a/BMW", "b/x.heic", "b/P5 manual", "readme"):
        (tmp_path / "d" / name).write_bytes(b"BMW and P5: text")
    (tmp_path / "d/a/photo.NEF").write_bytes(encode(make_image(), "TIFF"))  # the preview of a raw photograph
    (tmp_path / "d/a/nothing").touch()
    data = open_data("folder:d", tmp_path)
    assert [s.id for s in data.samples()] == ["a/1.png", "b/1.png"]
    assert set(data.passed_over()) == {
        *("a/notes.txt", "a/BMW", "a/photo.NEF", "a/nothing", "b/x.heic", "b/P5 manual", "readme")
    }


@pytest.mark.parametrize("name", ["__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information"])
def test_folders_of_systems_are_no_classes(tmp_path: Path, name: str) -> None:
    write_images(tmp_path, "d/a/1.png", "d/b/1.png", f"d/{name}/1.png", f"d/a/{name}/2.png")
    data = open_data("folder:d", tmp_path)
    assert data.classes == ("a", "b")
    assert [s.id for s in data.samples()] == ["a/1.png", "b/1.png"]


def test_class_names_lose_spaces_and_become_nfc(tmp_path: Path) -> None:
    write_images(tmp_path, "d/ zebra/1.png", "d/cafe\u0301/1.png", "d/caf\u00e9/2.png", "d/ant/1.png")
    data = open_data("folder:d", tmp_path)
    assert data.classes == ("ant", "caf\u00e9", "zebra")
    assert {s.id: s.label for s in data.samples()} == {
        " zebra/1.png": 2,
        "ant/1.png": 0,
        "cafe\u0301/1.png": 1,
        "caf\u00e9/2.png": 1,
    }
    (note,) = data.notes
    assert note.startswith("2 class names lose outer spaces or change to Unicode form NFC, e.g. ' zebra' to \"zebra\"")
    assert note.endswith('equal names are one class: "caf\u00e9"')


def test_nested_folders_belong_to_their_class(tmp_path: Path) -> None:
    write_images(tmp_path, "d/cat/y/2.png", "d/cat/a.png", "d/cat/x/1.png", "d/cat/x/deep/0.png")
    assert [s.id for s in open_data("folder:d", tmp_path).samples()] == [
        "cat/a.png",
        "cat/x/1.png",
        "cat/x/deep/0.png",
        "cat/y/2.png",
    ]


def test_a_flat_folder_has_no_classes(tmp_path: Path) -> None:
    write_images(tmp_path, "pool/2.png", "pool/1.png")
    data = open_data("folder:pool", tmp_path)
    assert data.classes is None
    assert [(s.id, s.label, s.path, s.image) for s in data.samples()] == [
        ("1.png", None, "pool/1.png", None),
        ("2.png", None, "pool/2.png", None),
    ]


def test_paths_are_absolute_only_outside_the_workspace(tmp_path: Path) -> None:
    write_images(tmp_path, "work/in/c/1.png", "out/c/1.png")
    work = tmp_path / "work"
    (inside,) = open_data("folder:in", work).samples()
    assert inside.path == "in/c/1.png"
    for spec in ("folder:../out", f"folder:{tmp_path}/out"):
        (outside,) = open_data(spec, work).samples()
        assert outside.path == (tmp_path / "out/c/1.png").as_posix()
        assert outside.source(work) == tmp_path / "out/c/1.png"


def test_an_empty_class_keeps_its_number_and_is_noted(tmp_path: Path) -> None:
    write_images(tmp_path, "d/a/1.png", "d/c/1.png")
    (tmp_path / "d/b").mkdir()
    data = open_data("folder:d", tmp_path)
    assert data.classes == ("a", "b", "c")
    assert [s.label for s in data.samples()] == [0, 2]
    assert len(data.notes) == 1
    assert '"b"' in data.notes[0]


def test_images_outside_class_folders_are_noted(tmp_path: Path) -> None:
    write_images(tmp_path, "d/a/1.png", "d/stray.png")
    (note,) = open_data("folder:d", tmp_path).notes
    assert '"stray.png"' in note


@pytest.mark.parametrize("folders", [[], ["d"], ["d/a", "d/b"]])
def test_missing_or_empty_is_a_usage_error(tmp_path: Path, folders: list[str]) -> None:
    for name in folders:
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(UsageError, match="no folder" if not folders else "no image"):
        open_data("folder:d", tmp_path)


def test_split_folders_are_not_classes(tmp_path: Path) -> None:
    write_images(tmp_path, "pets/train/cat/1.png", "pets/test/cat/1.png")
    with pytest.raises(UsageError, match="write folder:pets/train"):
        open_data("folder:pets", tmp_path)
    write_images(tmp_path, "vehicles/train/1.png", "vehicles/car/1.png")
    assert open_data("folder:vehicles", tmp_path).classes == ("car", "train")


@pytest.mark.parametrize(
    ("folders", "first"),
    [
        (("train/cat", "test/cat", "annotations/masks"), "train"),
        (("Train/cat", "Validation/cat", "docs"), "Train"),
        (("train/cat", "test"), "train"),
        (("train_set/cat", "test_set/cat"), "train_set"),
        (("val/cat", "test/cat", "extra/cat"), "test"),
        (("training/cat",), "training"),
    ],
)
def test_splits_beside_anything_else_are_refused(tmp_path: Path, folders: tuple[str, ...], first: str) -> None:
    write_images(tmp_path, *(f"d/{folder}/1.png" for folder in folders))
    with pytest.raises(UsageError, match=f"contains splits .* write folder:d/{first}$"):
        open_data("folder:d", tmp_path)


@pytest.mark.parametrize("link", ["d/a/out.png", "d/b"])
def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path, link: str) -> None:
    write_images(tmp_path, "d/a/1.png", "elsewhere/1.png")
    target = "elsewhere" if link == "d/b" else "elsewhere/1.png"
    (tmp_path / link).symlink_to(tmp_path / target)
    with pytest.raises(ContractError, match=r"leaves the data folder.*follow_links = true.*--follow-links"):
        list(open_data("folder:d", tmp_path).samples())
    samples = list(open_data("folder:d", tmp_path, follow_links=True).samples())
    assert [s.path for s in samples] == ["d/a/1.png", f"{link}/1.png" if link == "d/b" else link]


def test_followed_links_may_not_lead_back(tmp_path: Path) -> None:
    write_images(tmp_path, "d/a/1.png")
    (tmp_path / "d/a/up").symlink_to(tmp_path)
    with pytest.raises(ContractError, match="leads back"):
        list(open_data("folder:d", tmp_path, follow_links=True).samples())


def test_inner_links_are_followed_and_loops_refused(tmp_path: Path) -> None:
    write_images(tmp_path, "d/a/1.png")
    (tmp_path / "d/b").symlink_to("a")
    assert [s.id for s in open_data("folder:d", tmp_path).samples()] == ["a/1.png", "b/1.png"]
    (tmp_path / "d/a/up").symlink_to("..")
    with pytest.raises(ContractError, match="leads back"):
        list(open_data("folder:d", tmp_path).samples())


def test_mutual_links_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path, "d/a/1.png", "d/b/1.png")
    (tmp_path / "d/a/z").symlink_to("../b")
    (tmp_path / "d/b/z").symlink_to("../a")
    with pytest.raises(ContractError, match="leads back"):
        list(open_data("folder:d", tmp_path).samples())


def test_only_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path, "d/a/line\nbreak.png", "d/a/" + "x" * 240 + ".png", "d/a/ .png")
    assert len(list(open_data("folder:d", tmp_path).samples())) == 3
    with open(os.fsencode(tmp_path / "d/a") + b"/\xff.png", "wb") as file:
        file.write(PNG)
    with pytest.raises(ContractError, match="not UTF-8") as caught:
        list(open_data("folder:d", tmp_path).samples())
    assert str(caught.value).isprintable()


def test_unknown_provider_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean folder"):
        open_data("foldr:x", tmp_path)
    with pytest.raises(UsageError, match="has no provider"):
        open_data("pets", tmp_path)


@pytest.mark.parametrize(
    ("spec", "right"),
    [
        ("x.parquet", "e.g. parquet:x.parquet"),
        ("x.csv", "e.g. csv:x.csv"),
        ("pets", "e.g. folder:pets"),
        ("folder:x.parquet", "write parquet:x.parquet"),
        ("folder:x.csv", "write csv:x.csv"),
        ("parquet:x.csv", "write csv:x.csv"),
        ("csv:x.parquet", "write parquet:x.parquet"),
    ],
)
def test_hints_name_the_provider_of_the_file(tmp_path: Path, spec: str, right: str) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1\xff\xfe")
    (tmp_path / "x.csv").write_text("path,label\n")
    with pytest.raises((UsageError, ContractError), match=right):
        open_data(spec, tmp_path)
