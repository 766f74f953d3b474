"""The text of an answer is that of `json.dumps(value, indent=1)`."""

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from zoo_cli.json_layout import to_indented_json

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(VALUES)
@example({"a": {}, "b": [], "c": {"d": [1, 2.5, None, True]}, 'é"\n': [[], [1], {"x": "{,\n"}]})
@example([])
@example((1, (2, "x"), {"y": (3,)}))
def test_text_is_that_of_json_dumps_with_an_indent(value: Any) -> None:
    assert to_indented_json(value) == json.dumps(value, indent=1)
