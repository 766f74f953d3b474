"""Every kind of image has one defined result, and damage has a reason in one line."""

import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.pictures import HEIGHT, WIDTH, bomb, encoded, picture, turned
from zoo_cli.config import Preprocessing
from zoo_cli.errors import UsageError
from zoo_cli.images import decoding
from zoo_cli.images.decoding import (
    AHEAD,
    BadImage,
    decode,
    image_info,
    load_facts,
    load_views,
    make_view,
    view_geometry,
)

HALF = (0.5, 0.5, 0.5)
TRUE = np.asarray(picture())


def pixels(source: bytes | Path) -> np.ndarray:
    image = decode(source)
    assert image.mode == "RGB"
    return np.asarray(image)


def model(size: int, resize: int | None = None, **more: object) -> Preprocessing:
    return Preprocessing(size, HALF, HALF, resize=resize, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_a_lossless_file_gives_its_very_pixels(format: str, options: dict[str, object]) -> None:
    assert np.array_equal(pixels(encoded(picture(), format, **options)), TRUE)


def test_a_jpeg_gives_the_pixels_of_pillow() -> None:
    data = encoded(picture(), "JPEG", quality=90)
    assert np.array_equal(pixels(data), np.asarray(Image.open(io.BytesIO(data))))


def test_a_path_and_its_bytes_give_the_same(tmp_path: Path) -> None:
    data = encoded(picture())
    (tmp_path / "a.png").write_bytes(data)
    assert np.array_equal(pixels(tmp_path / "a.png"), pixels(data))


def test_gray_and_black_and_white_become_three_equal_channels() -> None:
    gray = picture().convert("L")
    assert np.array_equal(pixels(encoded(gray)), np.repeat(np.asarray(gray)[:, :, None], 3, 2))
    assert set(np.unique(pixels(encoded(gray.point(lambda v: 255 * (v > 90)).convert("1"))))) == {0, 255}


def test_a_cmyk_jpeg_becomes_rgb_of_about_the_same_colours() -> None:
    got = pixels(encoded(picture().convert("CMYK"), "JPEG", quality=95, subsampling=0)).astype(int)
    assert np.abs(got - TRUE).mean() < 6


def test_a_palette_gives_the_colours_it_lists() -> None:
    image = picture().convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    assert np.array_equal(pixels(encoded(image)), np.asarray(image.convert("RGB")))


def test_transparency_is_dropped_not_blended() -> None:
    palette = picture().convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    assert np.array_equal(pixels(encoded(palette, transparency=bytes(range(16)))), np.asarray(palette.convert("RGB")))
    rgba = picture().copy()
    rgba.putalpha(Image.new("L", rgba.size, 3))
    assert np.array_equal(pixels(encoded(rgba)), TRUE)
    la = picture().convert("L")
    gray = np.asarray(la)
    la.putalpha(Image.new("L", la.size, 0))
    assert np.array_equal(pixels(encoded(la))[:, :, 0], gray)


def test_sixteen_bits_become_eight_by_their_high_byte() -> None:
    deep = np.arange(WIDTH * HEIGHT, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 150
    for format in ("PNG", "TIFF"):
        got = pixels(encoded(Image.fromarray(deep), format))
        assert np.array_equal(got, np.repeat((deep >> 8).astype(np.uint8)[:, :, None], 3, 2))
    portable = b"P5 24 16 65535\n" + deep.astype(">u2").tobytes()
    assert np.array_equal(pixels(portable)[:, :, 0], (deep >> 8).astype(np.uint8))


def test_pixels_without_a_known_range_are_refused() -> None:
    wide = np.full((4, 4), 70_000, np.int32)
    with pytest.raises(BadImage, match="more than 16 bits"):
        decode(encoded(Image.fromarray(wide), "TIFF"))
    with pytest.raises(BadImage, match="floating-point"):
        decode(encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"))


def test_of_an_animation_the_first_frame_is_taken() -> None:
    first = picture().convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    second = Image.new("P", first.size)
    for format in ("GIF", "PNG", "WEBP"):
        options = {"lossless": True} if format == "WEBP" else {}
        got = pixels(
            encoded(
                first.convert("RGB") if format != "GIF" else first,
                format,
                save_all=True,
                append_images=[second.convert("RGB") if format != "GIF" else second],
                **options,
            )
        )
        assert np.array_equal(got, np.asarray(first.convert("RGB")))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_exif_orientation_turns_the_picture_once(orientation: int, format: str) -> None:
    upright = {
        1: TRUE,
        2: TRUE[:, ::-1],
        3: TRUE[::-1, ::-1],
        4: TRUE[::-1],
        5: TRUE.transpose(1, 0, 2),
        6: np.rot90(TRUE, -1),
        7: np.rot90(TRUE, 2).transpose(1, 0, 2),
        8: np.rot90(TRUE, 1),
    }[orientation]
    got = pixels(turned(orientation, format))
    assert got.shape == upright.shape
    assert np.abs(got.astype(int) - upright).mean() < 4


def test_damaged_exif_does_not_make_an_image_bad_nor_warn() -> None:
    data = bytearray(turned(6))
    begin = data.index(b"Exif")
    data[begin + 10 : begin + 24] = b"\xff" * 14
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixels(bytes(data)).shape == TRUE.shape


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 7), (30_000, 2), (2, 30_000)])
def test_extreme_shapes_decode_and_have_views(width: int, height: int) -> None:
    image = decode(encoded(picture(width, height)))
    assert image.size == (width, height)
    for preprocessing in (model(32), model(24, 32), model(224, 256)):
        side = preprocessing.input_size
        assert make_view(image, preprocessing).shape == (side, side, 3)


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"no image at all", "cannot be read as JPEG"),
        (b"%PDF-1.4 ...", "cannot be read as JPEG"),
        (half(encoded(picture(), "JPEG")), "damaged"),
        (encoded(picture(200, 200), "JPEG")[:-60], "damaged"),
        (half(encoded(picture())), "damaged"),
        (half(encoded(picture(), "BMP")), "damaged"),
        (encoded(picture(), "GIF")[:-60], "damaged"),
        (half(encoded(picture(), "PPM")), "damaged"),
        (encoded(picture())[:60] + b"\x00\x01\x02" * 20, "damaged"),
    ],
)
def test_damage_is_a_reason_in_one_line(data: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(data)
    for source in (data, file):
        with pytest.raises(BadImage) as caught:
            decode(source)
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("format", "options"), [("WEBP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})])
def test_half_a_file_of_any_other_format_is_bad_too(format: str, options: dict[str, object]) -> None:
    with pytest.raises(BadImage):
        decode(half(encoded(picture(100, 100), format, **options)))


def test_other_formats_of_pillow_stay_closed() -> None:
    with pytest.raises(BadImage, match="cannot be read as"):
        decode(encoded(picture(), "ICO"))


def test_a_path_that_is_no_readable_file_is_a_bad_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path, reason in (
        (tmp_path / "gone.png", "No such file"),
        (tmp_path, "no regular"),
        (tmp_path / "pipe.png", "no regular"),
    ):
        with pytest.raises(BadImage, match=reason):
            decode(path)
        with pytest.raises(BadImage, match=reason):
            image_info(path)
    with pytest.raises(BadImage):
        decode(Path("a\0b.png"))


def assert_one_line(bad: BadImage) -> None:
    assert "\n" not in str(bad)


def test_random_damage_raises_nothing_else() -> None:
    draw = random.Random(5)
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = [
        ("JPEG", {"exif": exif}),
        ("PNG", {"exif": exif}),
        ("WEBP", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("GIF", {}),
        ("PPM", {}),
    ]
    sound = [encoded(picture(), format, **options) for format, options in kinds]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(1500):
            data = bytearray(draw.choice(sound))
            for _ in range(draw.choice([1, 3, 10])):
                data[draw.randrange(min(len(data), draw.choice([60, len(data)])))] = draw.randrange(256)
            try:
                decode(bytes(data), max_pixels=1_000_000)
            except BadImage as bad:
                assert_one_line(bad)


def test_the_size_limit_is_on_pixels_and_holds_below_pillows_own() -> None:
    data = encoded(picture(40, 30))
    assert decode(data, max_pixels=1200).size == (40, 30)
    with pytest.raises(BadImage, match=r"40 x 30 is more than 1,199 pixels"):
        decode(data, max_pixels=1199)
    with pytest.raises(BadImage, match="more than 64,000,000 pixels"):
        decode(bomb(10_000))  # 100 million: Pillow would only warn


def test_a_bomb_is_refused_from_its_header_in_little_memory_and_time(tmp_path: Path) -> None:
    data = bomb()
    assert len(data) < 1_000_000
    (tmp_path / "bomb.png").write_bytes(data)
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom zoo_cli.images.decoding import BadImage, decode\n"
        "begin, path = time.perf_counter(), Path(sys.argv[1])\n"
        "for source in (path, path.read_bytes()):\n"
        "    try:\n        decode(source)\n    except BadImage as bad:\n        print(bad)\n"
        "seconds = time.perf_counter() - begin\n"
        "status = Path('/proc/self/status').read_text()\n"  # getrusage would count the memory of the test itself
        "print(seconds, status.split('VmHWM:')[1].split()[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path / "bomb.png")],
        capture_output=True,
        text=True,
        check=True,
    )
    *reasons, figures = done.stdout.splitlines()
    seconds, kilobytes = map(float, figures.split())
    assert reasons == ["more than 64,000,000 pixels"] * 2
    assert not done.stderr
    assert seconds < 2
    assert kilobytes < 300_000


def test_pillow_is_quiet_again_after_somebody_reset_the_warnings() -> None:
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("error")
        with pytest.raises(BadImage):
            decode(bomb(10_000))
        with pytest.raises(UserWarning):
            warnings.warn("other people's warnings still count", UserWarning, stacklevel=1)


def test_facts_are_the_hash_of_the_bytes_and_the_upright_size(tmp_path: Path) -> None:
    data = turned(6)
    (tmp_path / "a.jpg").write_bytes(data)
    for source in (data, tmp_path / "a.jpg"):
        told = image_info(source)
        assert told == decoding.ImageInfo(hashlib.sha256(data).hexdigest(), HEIGHT, WIDTH)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest", "lanczos"])
@pytest.mark.parametrize(("width", "height"), [(50, 37), (37, 50), (91, 33), (20, 64), (17, 17)])
@pytest.mark.parametrize(("resize", "size"), [(32, 28), (40, 25), (24, 24), (20, 27)])
def test_a_view_is_torchvisions_resize_and_centre_crop(
    width: int, height: int, resize: int, size: int, interpolation: str
) -> None:
    from torchvision.transforms import v2

    mode = getattr(v2.InterpolationMode, interpolation.upper())
    image = picture(width, height)
    theirs = v2.CenterCrop(size)(v2.Resize(resize, interpolation=mode, antialias=True)(image))
    assert np.array_equal(make_view(image, model(size, resize, interpolation=interpolation)), np.asarray(theirs))


def test_without_resize_the_whole_image_becomes_a_square() -> None:
    image = picture(50, 37)
    assert np.array_equal(make_view(image, model(16)), np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR)))


def test_gray_models_get_one_channel_of_luma() -> None:
    gray = Preprocessing(HEIGHT, (0.5,), (0.5,), resize=HEIGHT, channels=1)
    got = make_view(picture(), gray)
    assert got.shape == (HEIGHT, HEIGHT, 1)
    assert np.array_equal(got[:, :, 0], np.asarray(picture().convert("L"))[:, 4:20])


def test_an_image_too_long_to_resize_whole_gives_the_same_view_up_to_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(900, 30)
    for preprocessing in (model(48, 60), model(60, 60), model(70, 60), model(48, 60, interpolation="bicubic")):
        whole = make_view(image, preprocessing).astype(int)
        monkeypatch.setattr(decoding, "WIDEST", 0)
        part = make_view(image, preprocessing).astype(int)
        monkeypatch.undo()
        assert np.abs(whole - part).max() <= 1


def test_an_unknown_interpolation_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean bicubic"):
        make_view(picture(), model(8, interpolation="bicubik"))


def test_geometry_leaves_out_what_changes_no_pixel() -> None:
    one, other = Preprocessing(224, HALF, HALF, resize=256), Preprocessing(224, (0.1,) * 3, (1.0,) * 3, resize=256)
    assert view_geometry(one) == view_geometry(other)
    for different in (model(225, 256), model(224, 255), model(224), model(224, 256, interpolation="bicubic")):
        assert view_geometry(different) != view_geometry(one)


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_views_come_in_order_one_decode_an_image_bad_ones_in_their_place(workers: int) -> None:
    opened: list[int] = []

    def getter(number: int) -> bytes:
        opened.append(number)
        time.sleep(0.002 * (number % 3))
        return b"" if number == 7 else encoded(picture(seed=number))

    small, large = view_geometry(model(8)), view_geometry(model(12, 14))
    items = [(lambda number=number: getter(number)) for number in range(30)]
    seen = list(load_views(items, [small, large, small], workers))
    assert sorted(opened) == list(range(30))
    assert [index for index, _ in seen] == list(range(30))
    for number, found in seen:
        if number == 7:
            assert isinstance(found, BadImage)
            continue
        assert isinstance(found, dict)
        assert np.array_equal(found[small], make_view(picture(seed=number), small))
        assert np.array_equal(found[large], make_view(picture(seed=number), large))


def test_a_getter_may_call_an_image_bad_any_other_error_ends_the_work() -> None:
    def bad() -> bytes:
        raise BadImage("its hash has changed")

    def broken() -> bytes:
        raise ZeroDivisionError

    ((_, found),) = load_facts([bad], 2)
    assert str(found) == "its hash has changed"
    with pytest.raises(ZeroDivisionError):
        list(load_views([broken] * 50, [view_geometry(model(8))], 2))


def test_the_look_ahead_is_bounded_and_ends_with_the_consumer() -> None:
    opened: list[int] = []
    lock = threading.Lock()

    def getter() -> bytes:
        with lock:
            opened.append(1)
        return encoded(picture())

    views = load_views((getter for _ in range(1000)), [view_geometry(model(8))], 2)
    next(views)
    time.sleep(0.1)
    assert len(opened) <= AHEAD + 2
    views.close()  # type: ignore[attr-defined]
    ahead = len(opened)
    time.sleep(0.05)
    assert len(opened) <= ahead + 2


def test_an_interrupt_ends_loading_at_once() -> None:
    code = (
        "import time\nfrom zoo_cli.config import Preprocessing\n"
        "from zoo_cli.images.decoding import view_geometry, load_views\n"
        "def getter():\n    time.sleep(0.05)\n    return b''\n"
        "print('begun', flush=True)\n"
        "shape = view_geometry(Preprocessing(8, (0.5,), (0.5,)))\n"
        "for _ in load_views((getter for _ in range(10**6)), [shape], 4):\n    pass\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        time.sleep(0.3)
        running.send_signal(signal.SIGINT)
        begin = time.perf_counter()
        _, errors = running.communicate(timeout=10)
    assert time.perf_counter() - begin < 3
    assert "KeyboardInterrupt" in errors
