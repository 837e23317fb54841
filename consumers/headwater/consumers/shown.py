"""What an answer needs to be shown by a notebook; how it is shown is in `headwater.consumers.notebook`.

Bases of the frozen answers, without fields and without imports of their own: an answer that nobody
looks at costs nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Frames(NamedTuple):
    """The nodes and the edges of a graph, each a `pandas.DataFrame` or a `pyarrow.Table`."""

    nodes: Any
    edges: Any


class Shown:
    """An answer that a notebook shows."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        from headwater.consumers.notebook import html

        return html(self)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Text as the command line has it: beside HTML, and alone in a terminal."""
        from headwater.consumers.notebook import text

        return {"text/plain": text(self)}

    def to_pandas(self) -> Any:
        """Its tables as `pandas.DataFrame`s: a named tuple, or the one that there is.

        `headwater.consumers.answer_sheets` says which tables an answer has. Raises `Misconfigured` where
        pandas is missing.
        """
        from headwater.consumers.answer_sheets import frames

        return frames(self)

    def to_arrow(self) -> Any:
        """As `to_pandas`, with `pyarrow.Table`s."""
        from headwater.consumers.answer_sheets import tables

        return tables(self)


class Tabular(Shown):
    """A graph: it is a picture as well, and two data frames."""

    __slots__ = ()

    def _repr_svg_(self) -> str:
        from headwater.consumers.svg import svg

        return svg(self)  # type: ignore[arg-type]

    def to_pandas(self) -> Frames:
        """Nodes and edges as `pandas.DataFrame`s. Raises `Misconfigured` where pandas is missing."""
        from headwater.consumers.sheets import frame, sheets

        return Frames(*map(frame, sheets(self)))  # type: ignore[arg-type]

    def to_arrow(self) -> Frames:
        """Nodes and edges as `pyarrow.Table`s. Raises `Misconfigured` where pyarrow is missing."""
        from headwater.consumers.sheets import arrow, sheets

        return Frames(*map(arrow, sheets(self)))  # type: ignore[arg-type]
