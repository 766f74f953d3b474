"""Every kind of image has one defined result; a damaged one gives a reason on one line."""

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
from torchvision.transforms import v2

from tests.data.encoded_images import HEIGHT, WIDTH, encode, encode_with_orientation, make_bomb, make_image
from zoo_cli.config import Preprocessing
from zoo_cli.errors import UsageError
from zoo_cli.images import decoding
from zoo_cli.images.decoding import BadImage, decode, image_info, load_views, make_view, view_geometry
from zoo_cli.images.image_info import ImageInfo
from zoo_cli.images.in_order import AHEAD

HALF = (0.5, 0.5, 0.5)
PIXELS = np.asarray(make_image())


def decode_pixels(source: bytes | Path) -> np.ndarray:
    image = decode(source)
    assert image.mode == "RGB"
    return np.asarray(image)


def make_preprocessing(size: int, resize: int | None = None, **options: object) -> Preprocessing:
    return Preprocessing(size, HALF, HALF, resize=resize, **options)  # type: ignore[arg-type]


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
def test_lossless_formats_give_exact_pixels(format: str, options: dict[str, object]) -> None:
    assert np.array_equal(decode_pixels(encode(make_image(), format, **options)), PIXELS)


def test_jpeg_gives_pillows_pixels() -> None:
    data = encode(make_image(), "JPEG", quality=90)
    assert np.array_equal(decode_pixels(data), np.asarray(Image.open(io.BytesIO(data))))


def test_a_path_and_its_bytes_decode_alike(tmp_path: Path) -> None:
    data = encode(make_image())
    (tmp_path / "a.png").write_bytes(data)
    assert np.array_equal(decode_pixels(tmp_path / "a.png"), decode_pixels(data))


def test_gray_and_bilevel_become_three_equal_channels() -> None:
    gray = make_image().convert("L")
    assert np.array_equal(decode_pixels(encode(gray)), np.repeat(np.asarray(gray)[:, :, None], 3, 2))
    assert set(np.unique(decode_pixels(encode(gray.point(lambda v: 255 * (v > 90)).convert("1"))))) == {0, 255}


def test_cmyk_becomes_similar_rgb() -> None:
    decoded = decode_pixels(encode(make_image().convert("CMYK"), "JPEG", quality=95, subsampling=0)).astype(int)
    assert np.abs(decoded - PIXELS).mean() < 6


def test_a_palette_gives_its_colours() -> None:
    image = make_image().convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    assert np.array_equal(decode_pixels(encode(image)), np.asarray(image.convert("RGB")))


def test_transparency_is_dropped_not_blended() -> None:
    palette = make_image().convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    assert np.array_equal(
        decode_pixels(encode(palette, transparency=bytes(range(16)))), np.asarray(palette.convert("RGB"))
    )
    rgba = make_image().copy()
    rgba.putalpha(Image.new("L", rgba.size, 3))
    assert np.array_equal(decode_pixels(encode(rgba)), PIXELS)
    la = make_image().convert("L")
    gray = np.asarray(la)
    la.putalpha(Image.new("L", la.size, 0))
    assert np.array_equal(decode_pixels(encode(la))[:, :, 0], gray)


def test_sixteen_bits_become_eight_by_their_high_byte() -> None:
    deep = np.arange(WIDTH * HEIGHT, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 150
    for format in ("PNG", "TIFF"):
        decoded = decode_pixels(encode(Image.fromarray(deep), format))
        assert np.array_equal(decoded, np.repeat((deep >> 8).astype(np.uint8)[:, :, None], 3, 2))
    portable = b"P5 24 16 65535\n" + deep.astype(">u2").tobytes()
    assert np.array_equal(decode_pixels(portable)[:, :, 0], (deep >> 8).astype(np.uint8))


def test_pixels_without_a_known_range_are_refused() -> None:
    wide = np.full((4, 4), 70_000, np.int32)
    with pytest.raises(BadImage, match="more than 16 bits"):
        decode(encode(Image.fromarray(wide), "TIFF"))
    with pytest.raises(BadImage, match="floating-point"):
        decode(encode(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"))


def test_an_animation_gives_its_first_frame() -> None:
    first = make_image().convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    second = Image.new("P", first.size)
    for format in ("GIF", "PNG", "WEBP"):
        options = {"lossless": True} if format == "WEBP" else {}
        decoded = decode_pixels(
            encode(
                first.convert("RGB") if format != "GIF" else first,
                format,
                save_all=True,
                append_images=[second.convert("RGB") if format != "GIF" else second],
                **options,
            )
        )
        assert np.array_equal(decoded, np.asarray(first.convert("RGB")))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(orientation: int, format: str) -> None:
    upright = {
        1: PIXELS,
        2: PIXELS[:, ::-1],
        3: PIXELS[::-1, ::-1],
        4: PIXELS[::-1],
        5: PIXELS.transpose(1, 0, 2),
        6: np.rot90(PIXELS, -1),
        7: np.rot90(PIXELS, 2).transpose(1, 0, 2),
        8: np.rot90(PIXELS, 1),
    }[orientation]
    decoded = decode_pixels(encode_with_orientation(orientation, format))
    assert decoded.shape == upright.shape
    assert np.abs(decoded.astype(int) - upright).mean() < 4


def test_damaged_exif_is_ignored_without_a_warning() -> None:
    data = bytearray(encode_with_orientation(6))
    begin = data.index(b"Exif")
    data[begin + 10 : begin + 24] = b"\xff" * 14
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_pixels(bytes(data)).shape == PIXELS.shape


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 7), (30_000, 2), (2, 30_000)])
def test_extreme_shapes_decode_and_have_views(width: int, height: int) -> None:
    image = decode(encode(make_image(width, height)))
    assert image.size == (width, height)
    for preprocessing in (make_preprocessing(32), make_preprocessing(24, 32), make_preprocessing(224, 256)):
        side = preprocessing.input_size
        assert make_view(image, preprocessing).shape == (side, side, 3)


def truncate(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"no image at all", "cannot be read as JPEG"),
        (b"%PDF-1.4 ...", "cannot be read as JPEG"),
        (truncate(encode(make_image(), "JPEG")), "damaged"),
        (encode(make_image(200, 200), "JPEG")[:-60], "damaged"),
        (truncate(encode(make_image())), "damaged"),
        (truncate(encode(make_image(), "BMP")), "damaged"),
        (encode(make_image(), "GIF")[:-60], "damaged"),
        (truncate(encode(make_image(), "PPM")), "damaged"),
        (encode(make_image())[:60] + b"\x00\x01\x02" * 20, "damaged"),
    ],
)
def test_damage_is_reported_on_one_line(data: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(data)
    for source in (data, file):
        with pytest.raises(BadImage) as caught:
            decode(source)
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("format", "options"), [("WEBP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})])
def test_truncated_files_of_other_formats_are_bad(format: str, options: dict[str, object]) -> None:
    with pytest.raises(BadImage):
        decode(truncate(encode(make_image(100, 100), format, **options)))


def test_other_pillow_formats_are_refused() -> None:
    with pytest.raises(BadImage, match="cannot be read as"):
        decode(encode(make_image(), "ICO"))


def test_unreadable_paths_are_bad_images(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path, reason in (
        (tmp_path / "gone.png", "No such file"),
        (tmp_path, "not a regular"),
        (tmp_path / "pipe.png", "not a regular"),
    ):
        with pytest.raises(BadImage, match=reason):
            decode(path)
        with pytest.raises(BadImage, match=reason):
            image_info(path)
    with pytest.raises(BadImage):
        decode(Path("a\0b.png"))


def assert_one_line(bad: BadImage) -> None:
    assert "\n" not in str(bad)


def test_random_damage_raises_only_bad_image() -> None:
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
    undamaged = [encode(make_image(), format, **options) for format, options in kinds]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(1500):
            data = bytearray(draw.choice(undamaged))
            for _ in range(draw.choice([1, 3, 10])):
                data[draw.randrange(min(len(data), draw.choice([60, len(data)])))] = draw.randrange(256)
            try:
                decode(bytes(data), max_pixels=1_000_000)
            except BadImage as bad:
                assert_one_line(bad)


def test_the_pixel_limit_holds_below_pillows_own() -> None:
    data = encode(make_image(40, 30))
    assert decode(data, max_pixels=1200).size == (40, 30)
    with pytest.raises(BadImage, match=r"40 x 30 is more than 1,199 pixels"):
        decode(data, max_pixels=1199)
    with pytest.raises(BadImage, match="more than 64,000,000 pixels"):
        decode(make_bomb(10_000))  # 100 million pixels: Pillow alone would only warn


def test_a_bomb_is_refused_from_its_header(tmp_path: Path) -> None:
    data = make_bomb()
    assert len(data) < 1_000_000
    (tmp_path / "bomb.png").write_bytes(data)
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom zoo_cli.images.decoding import BadImage, decode\n"
        "begin, path = time.perf_counter(), Path(sys.argv[1])\n"
        "for source in (path, path.read_bytes()):\n"
        "    try:\n        decode(source)\n    except BadImage as bad:\n        print(bad)\n"
        "seconds = time.perf_counter() - begin\n"
        "status = Path('/proc/self/status').read_text()\n"  # getrusage would count the memory of the test
        "print(seconds, status.split('VmHWM:')[1].split()[0])\n"
    )
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path / "bomb.png")],
        capture_output=True,
        text=True,
        check=True,
    )
    *reasons, figures = process.stdout.splitlines()
    seconds, kilobytes = map(float, figures.split())
    assert reasons == ["more than 64,000,000 pixels"] * 2
    assert not process.stderr
    assert seconds < 2
    assert kilobytes < 300_000


def test_pillow_stays_silent_after_warnings_are_reset() -> None:
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("error")
        with pytest.raises(BadImage):
            decode(make_bomb(10_000))
        with pytest.raises(UserWarning):
            warnings.warn("not from Pillow", UserWarning, stacklevel=1)


def test_image_info_is_hash_and_upright_size(tmp_path: Path) -> None:
    data = encode_with_orientation(6)
    (tmp_path / "a.jpg").write_bytes(data)
    for source in (data, tmp_path / "a.jpg"):
        assert image_info(source) == ImageInfo(hashlib.sha256(data).hexdigest(), HEIGHT, WIDTH)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest", "lanczos"])
@pytest.mark.parametrize(("width", "height"), [(50, 37), (37, 50), (91, 33), (20, 64), (17, 17)])
@pytest.mark.parametrize(("resize", "size"), [(32, 28), (40, 25), (24, 24), (20, 27)])
def test_a_view_matches_torchvisions_resize_and_crop(
    width: int, height: int, resize: int, size: int, interpolation: str
) -> None:
    mode = getattr(v2.InterpolationMode, interpolation.upper())
    image = make_image(width, height)
    reference = v2.CenterCrop(size)(v2.Resize(resize, interpolation=mode, antialias=True)(image))
    view = make_view(image, make_preprocessing(size, resize, interpolation=interpolation))
    assert np.array_equal(view, np.asarray(reference))


def test_without_resize_the_whole_image_becomes_a_square() -> None:
    image = make_image(50, 37)
    assert np.array_equal(
        make_view(image, make_preprocessing(16)), np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR))
    )


def test_gray_models_get_one_channel_of_luma() -> None:
    gray = Preprocessing(HEIGHT, (0.5,), (0.5,), resize=HEIGHT, channels=1)
    view = make_view(make_image(), gray)
    assert view.shape == (HEIGHT, HEIGHT, 1)
    assert np.array_equal(view[:, :, 0], np.asarray(make_image().convert("L"))[:, 4:20])


def test_extreme_shapes_are_cropped_before_resizing(monkeypatch: pytest.MonkeyPatch) -> None:
    image = make_image(900, 30)
    for preprocessing in (
        make_preprocessing(48, 60),
        make_preprocessing(60, 60),
        make_preprocessing(70, 60),
        make_preprocessing(48, 60, interpolation="bicubic"),
    ):
        whole = make_view(image, preprocessing).astype(int)
        monkeypatch.setattr(decoding, "WIDEST", 0)
        part = make_view(image, preprocessing).astype(int)
        monkeypatch.undo()
        assert np.abs(whole - part).max() <= 1


def test_unknown_interpolation_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean bicubic"):
        make_view(make_image(), make_preprocessing(8, interpolation="bicubik"))


def test_geometry_ignores_normalisation_only() -> None:
    geometry = view_geometry(Preprocessing(224, HALF, HALF, resize=256))
    assert view_geometry(Preprocessing(224, (0.1,) * 3, (1.0,) * 3, resize=256)) == geometry
    for different in (
        make_preprocessing(225, 256),
        make_preprocessing(224, 255),
        make_preprocessing(224),
        make_preprocessing(224, 256, interpolation="bicubic"),
    ):
        assert view_geometry(different) != geometry


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_views_come_in_order_with_one_decode_per_image(workers: int) -> None:
    opened: list[int] = []

    def getter(number: int) -> bytes:
        opened.append(number)
        time.sleep(0.002 * (number % 3))
        return b"" if number == 7 else encode(make_image(seed=number))

    small, large = view_geometry(make_preprocessing(8)), view_geometry(make_preprocessing(12, 14))
    items = [(lambda number=number: getter(number)) for number in range(30)]
    loaded = list(load_views(items, [small, large, small], workers))
    assert sorted(opened) == list(range(30))
    assert [index for index, _ in loaded] == list(range(30))
    for number, views in loaded:
        if number == 7:
            assert isinstance(views, BadImage)
            continue
        assert isinstance(views, dict)
        assert np.array_equal(views[small], make_view(make_image(seed=number), small))
        assert np.array_equal(views[large], make_view(make_image(seed=number), large))


def test_only_bad_image_is_caught_from_a_getter() -> None:
    def bad() -> bytes:
        raise BadImage("its hash has changed")

    def broken() -> bytes:
        raise ZeroDivisionError

    geometries = [view_geometry(make_preprocessing(8))]
    ((_, reason),) = load_views([bad], geometries, 2)
    assert str(reason) == "its hash has changed"
    with pytest.raises(ZeroDivisionError):
        list(load_views([broken] * 50, geometries, 2))


def test_look_ahead_is_bounded_and_ends_with_the_consumer() -> None:
    opened: list[int] = []
    lock = threading.Lock()

    def getter() -> bytes:
        with lock:
            opened.append(1)
        return encode(make_image())

    views = load_views((getter for _ in range(1000)), [view_geometry(make_preprocessing(8))], 2)
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
        "print('started', flush=True)\n"
        "shape = view_geometry(Preprocessing(8, (0.5,), (0.5,)))\n"
        "for _ in load_views((getter for _ in range(10**6)), [shape], 4):\n    pass\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        begin = time.perf_counter()
        _, errors = process.communicate(timeout=10)
    assert time.perf_counter() - begin < 3
    assert "KeyboardInterrupt" in errors
