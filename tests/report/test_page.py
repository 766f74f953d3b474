"""The page of a report: every text is escaped, nothing is loaded, and equal input gives equal bytes."""

import base64
import hashlib
import itertools
from functools import partial

import pytest

from tests.report.html_reader import read_page
from zoo_cli.report import page
from zoo_cli.report.blocks import (
    Column,
    Fact,
    Facts,
    Gallery,
    Missing,
    Paragraph,
    Picture,
    PictureRow,
    Plot,
    Section,
    Table,
    Target,
)
from zoo_cli.report.interval_plot import IntervalPanel, IntervalRow, plot_intervals
from zoo_cli.report.wording import show_name

HOSTILE = "</title></style><script>alert(1)</script>\"'><img src=x onerror=alert(1)> $x_{1}$ &amp; {{ 7*7 }}"


def build_target(name: str) -> Target:
    """A target with every kind of block, all texts of which are a name."""
    rows = [IntervalRow(name, 0.5, 0.4, 0.6, 0.1, True), IntervalRow(name, None)]
    blocks = (
        Paragraph(name),
        Missing(name, name),
        Facts((Fact(name, name, name),)),
        Table(name, (Column(name, False), Column(name)), ((name, name),), frozenset({0})),
        Table(name, (Column(name),), ((name,),), folded=True),
        Plot("plot", name, name, partial(plot_intervals, [IntervalPanel(name, rows)])),
        Gallery((PictureRow(name, name, (Picture("data:,", name, "gained", True), Picture(None, name))),), name),
    )
    return Target(name, name, Facts((Fact(name, name),)), (Section("all", name, blocks),), {"a": name})


@pytest.mark.parametrize("count", [1, 2])
def test_no_text_becomes_markup(count: int) -> None:
    text = page.render_page([build_target(HOSTILE)] * count)
    parsed = read_page(text)
    tags = {tag for tag, _ in parsed.elements}
    assert "script" not in tags
    assert parsed.attributes("img", "src") == ["data:,"] * count
    keys = {key for _, values in parsed.elements for key in values}
    assert not [key for key in keys if key.startswith("on") or key == "style"]
    assert "{{ 7*7 }}" in text
    assert "$x_{1}$" in text


def test_policy_allows_the_one_style_sheet_alone() -> None:
    parsed = read_page(page.render_page([build_target("plain")]))
    digest = base64.b64encode(hashlib.sha256(parsed.style.encode()).digest()).decode()
    (policy,) = [values["content"] for _, values in parsed.elements if "http-equiv" in values]
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert [tag for tag, _ in parsed.elements].count("style") == 1


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = page.render_page([build_target("plain")])
    parsed = read_page(text)
    for _, values in parsed.elements:
        for key in ("src", "href", "srcset", "action", "data", "poster"):
            assert values.get(key, "#").startswith(("#", "data:"))
    assert "url(" not in parsed.style
    assert "@import" not in parsed.style


def test_ids_differ_and_links_resolve() -> None:
    parsed = read_page(page.render_page([build_target("plain"), build_target("other")]))
    ids = [values["id"] for _, values in parsed.elements if "id" in values]
    assert len(ids) == len(set(ids))
    links = [link for tag in ("a", "use") for link in parsed.attributes(tag, "href")]
    assert {link.removeprefix("#") for link in links} <= set(ids)
    clips = {values["clip-path"] for _, values in parsed.elements if "clip-path" in values}
    assert {clip.removeprefix("url(#").removesuffix(")") for clip in clips} <= set(ids)


def test_every_picture_has_a_description() -> None:
    parsed = read_page(page.render_page([build_target("plain")]))
    images = [values for tag, values in parsed.elements if tag == "img"]
    assert all(values["alt"] for values in images)
    described = [values["aria-label"] for _, values in parsed.elements if values.get("role") == "img"]
    assert described == ["plain", "plain: the image is gone"]
    assert all(values["aria-hidden"] == "true" for tag, values in parsed.elements if tag == "svg")


def test_headings_go_down_by_one() -> None:
    for count in (1, 2):
        parsed = read_page(page.render_page([build_target("plain")] * count))
        levels = [int(tag[1]) for tag, _ in parsed.elements if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit()]
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_same_blocks_same_bytes() -> None:
    first, second = (page.render_page([build_target("plain")]) for _ in range(2))
    assert first == second
    first_files, second_files = (list(page.render_plots([build_target("plain")])) for _ in range(2))
    assert first_files == second_files
    assert "<metadata>" not in first_files[0].svg


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain", "plain"),
        ("a\u202eb", r"a\u202eb"),
        ("tab\tline\n", r"tab\tline\n"),
        ("שלום", "שלום"),
        ("x" * 10_000, "x" * 53 + "…" + "x" * 26),
    ],
)
def test_names_are_readable(name: str, shown: str) -> None:
    assert show_name(name) == shown
    assert len(show_name(name)) <= 80
