"""A graph as GraphML: for Gephi, yEd, Cytoscape, networkx.

Every field of a node and an edge is an attribute with a type (see `headwater.consumers.sheets`);
what is not known is left out. Ids are those of the answer. XML knows no control characters: they are
written as `\\u0001`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from headwater.consumers.answers import Graph, as_json
from headwater.consumers.columns import ColumnGraph
from headwater.consumers.sheets import Sheet, sheets

_NAMESPACE = "http://graphml.graphdrawing.org/xmlns"
_TYPES = {"text": "string", "json": "string", "time": "string"}
_TYPES |= {"integer": "long", "real": "double", "boolean": "boolean"}
#: A reader makes a line feed of a carriage return that stands as it is.
_LINE_ENDS = {"\r": "&#13;"}
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def graphml(graph: Graph | ColumnGraph) -> str:
    """`graph` as a GraphML document; edges go from source to target."""
    return "\n".join(_lines(graph))


def _lines(graph: Graph | ColumnGraph) -> Iterator[str]:
    nodes, edges = sheets(graph)
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield f'<graphml xmlns="{_NAMESPACE}">'
    for sheet, element in ((nodes, "node"), (edges, "edge")):
        for column in sheet.columns:
            yield (
                f'  <key id="{element}.{column.name}" for="{element}" attr.name="{column.name}" '
                f'attr.type="{_TYPES[column.kind]}"/>'
            )
    yield '  <graph id="lineage" edgedefault="directed">'
    yield from _elements(nodes, "node", {"id": "id"})
    yield from _elements(edges, "edge", {"source": "source", "target": "target"})
    yield "  </graph>"
    yield "</graphml>"


def _elements(sheet: Sheet, element: str, ends: dict[str, str]) -> Iterator[str]:
    places = {column.name: at for at, column in enumerate(sheet.columns)}
    for row in sheet.rows:
        own = " ".join(f"{name}={quoteattr(_text(row[places[of]]))}" for name, of in ends.items())
        yield f"    <{element} {own}>"
        for column, value in zip(sheet.columns, row, strict=True):
            if value is not None:
                yield f'      <data key="{element}.{column.name}">{escape(_text(value), _LINE_ENDS)}</data>'
        yield f"    </{element}>"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        # As Java and Python read them; XML Schema's own INF is read by neither Gephi nor yEd.
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return _NO_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", str(as_json(value)))
