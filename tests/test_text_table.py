"""Tables on a narrow terminal: what is cut, and what the tables below each other leave whole."""

import os
import re
import shutil

import pytest

from zoo_cli.text_table import render_table

TITLES = ("source", "model", "trained_on", "note")
ROW = ("alpha", "m" * 40, "d" * 30, "n" * 30)


def render(monkeypatch: pytest.MonkeyPatch, columns: int) -> str:
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((columns, 50)))
    text = render_table(TITLES, [ROW], [False] * 4, [False, False, True, True], 1, True)
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_titles_of_cut_texts_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    text = render(monkeypatch, 66)
    assert max(map(len, text.splitlines())) <= 66
    assert "trained_on" in text
    assert "d" * 9 + "…" in text


def test_texts_of_a_further_table_take_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = render(monkeypatch, 50).split("\n\n")
    assert "trained_on" not in first
    assert re.search(r"d{15,}…", second)
    assert re.search(r"n{15,}…", second)
    assert max(map(len, second.splitlines())) <= 50
