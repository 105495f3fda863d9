"""Random records that fit a schema."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def values(node: Any, named: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Records that fit a schema."""
    if isinstance(node, list):
        return st.one_of([values(branch, named) for branch in node])
    if isinstance(node, dict):
        kind = node["type"]
        if kind == "record":
            named[node["name"]] = node
            fields = {field["name"]: values(field["type"], named) for field in node["fields"]}
            return st.fixed_dictionaries(fields)
        if kind == "enum":
            named[node["name"]] = node
            return st.sampled_from(node["symbols"])
        if kind == "array":
            # Of a long one of texts the bytes are remembered.
            size = st.sampled_from((0, 1, 3, 9)) if node["items"] == "string" else st.integers(0, 3)
            items = values(node["items"], named)
            return size.flatmap(lambda count: st.lists(items, min_size=count, max_size=count))
        if kind == "map":
            return st.dictionaries(TEXT, values(node["values"], named), max_size=3)
        return values(kind, named)
    plain = {
        "null": st.none(),
        "string": TEXT,
        "boolean": st.booleans(),
        "int": st.integers(-(2**31), 2**31 - 1),
        "long": st.integers(-(2**63), 2**63 - 1),
    }
    return plain[node] if node in plain else values(named[node.rpartition(".")[2]], named)
