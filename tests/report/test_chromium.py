"""The page in a browser: nothing is wider than the screen, nothing leaves the page, and nothing is complained about."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.report.chromium import PROGRAM, Chromium
from tests.report.test_page import HOSTILE, build_target
from zoo_cli.report.blocks import Column, Section, Table
from zoo_cli.report.page import render_page
from zoo_cli.report.wording import show_name

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs the program chromium, which opens the page")

WIDEST = "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
OUTSIDE = """
[...document.querySelectorAll("main *")].filter(node => {
  if (node.closest(".scroll, svg, details:not([open])")) return false;
  const box = node.getBoundingClientRect();
  return box.width && (box.right > innerWidth + 1 || box.left < -1);
}).map(node => node.outerHTML.slice(0, 80))
"""
SCROLLING = """
[...document.querySelectorAll(".scroll")].filter(node => node.scrollWidth > node.clientWidth + 1)
  .map(node => node.getAttribute("aria-label"))
"""
COLOURS = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"


@pytest.fixture(scope="module")
def pages(reported: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of a whole workspace, and one with every kind of block, whose names are hard to show."""
    hostile = tmp_path_factory.mktemp("hostile") / "report.html"
    targets = [build_target(show_name(name)) for name in (HOSTILE, "w" * 10_000, "\u202e" + "m" * 70)]
    hostile.write_text(render_page(targets), encoding="utf-8")
    return {"whole": reported / "report.html", "hostile": hostile}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as chromium:
        yield chromium


@pytest.mark.parametrize("name", ["whole", "hostile"])
@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (1400, "dark")])
def test_page_fits_and_is_quiet(browser: Chromium, pages: dict[str, Path], name: str, width: int, scheme: str) -> None:
    page = pages[name]
    browser.open(page.as_uri(), width, scheme=scheme)
    assert browser.evaluate(WIDEST) == width
    assert browser.evaluate(OUTSIDE) == []
    urls = [event["request"]["url"] for event in browser.named("Network.requestWillBeSent")]
    assert urls[0] == page.as_uri()
    assert all(url.startswith("data:") for url in urls[1:])
    problems = browser.named("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
    assert problems == []
    paper, ink = (sum(map(int, colour[4:-1].split(","))) for colour in browser.evaluate(COLOURS))
    assert (paper > ink) == (scheme == "light")


def test_one_of_two_drawings_is_shown(browser: Chromium, pages: dict[str, Path]) -> None:
    count = '[...document.querySelectorAll(".%s")].filter(node => node.getBoundingClientRect().height).length'
    for width, shown, hidden in ((400, "narrow", "wide"), (1400, "wide", "narrow")):
        browser.open(pages["whole"].as_uri(), width)
        assert browser.evaluate(count % shown) == 12
        assert browser.evaluate(count % hidden) == 0


def test_no_open_table_scrolls_on_a_wide_screen(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.open(pages["whole"].as_uri(), 1400)
    assert browser.evaluate(SCROLLING) == []


def test_wide_tables_fit_on_paper(browser: Chromium, tmp_path: Path) -> None:
    names = [f"a-run-s{number}" for number in range(24)]
    table = Table("many", (Column("run", False), *map(Column, names)), tuple((name, *["12.3"] * 24) for name in names))
    page = tmp_path / "report.html"
    page.write_text(render_page([replace(build_target("plain"), sections=(Section("all", "All", (table,)),))]))
    browser.open(page.as_uri(), 700, media="print")
    assert browser.evaluate(WIDEST) == 700


def test_paper_is_light(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.open(pages["whole"].as_uri(), 700, scheme="dark", media="print")
    paper, ink = (sum(map(int, colour[4:-1].split(","))) for colour in browser.evaluate(COLOURS))
    assert paper > ink
    assert browser.evaluate('getComputedStyle(document.querySelector("nav")).display') == "none"
