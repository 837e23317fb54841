"""The documents as tests see them: blocks of code in fences, links, and how output is compared.

A comment on the line above a fence says what a reader cannot see:

    <!-- illustration: why -->   is not executed
    <!-- output varies -->       is executed; what it printed is not compared

A comment `<!-- world: name -->` anywhere in a document names the folder in which its blocks run
(`worlds.py`); without one they run in an empty one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("docs/**/*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))]
)

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>[^`\n]*)\n(?P<text>.*?)^(?P=indent)(?P=ticks) *$", re.S | re.M
)
_COMMENT = re.compile(r"<!--\s*(.*?)\s*-->", re.S)
_WORLD = re.compile(r"<!--\s*world:\s*([\w -]+?)\s*-->")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+?)(?: \{.*\})?$", re.M)


@dataclass(frozen=True)
class Block:
    """One fenced block. `says` is the comment above it."""

    document: Path
    line: int
    language: str
    title: str | None
    says: str
    text: str

    @property
    def executed(self) -> bool:
        return self.language in ("python", "console") and not self.says.startswith("illustration")

    @property
    def compared(self) -> bool:
        return not self.says.startswith("output varies")

    def commands(self) -> list[tuple[str, list[str]]]:
        """The commands of a console block, each with the lines that it is said to print."""
        found: list[tuple[str, list[str]]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif found and found[-1][0].endswith("\\"):
                found[-1] = (f"{found[-1][0]}\n{line}", [])
            elif found:
                found[-1][1].append(line)
            elif line.strip():
                raise ValueError(f"{self.document.name}:{self.line}: output before the first command")
        return found


def blocks_of(document: Path) -> list[Block]:
    """Every fenced block, in order."""
    text = document.read_text(encoding="utf-8")
    return [_block(document, text, match) for match in _FENCE.finditer(text)]


def _block(document: Path, text: str, match: re.Match[str]) -> Block:
    language, _, rest = match["info"].strip().partition(" ")
    title = re.search(r'title="([^"]+)"', rest)
    above = text[: match.start()].rstrip(" ").splitlines()
    comment = _COMMENT.fullmatch(above[-1].strip()) if above else None
    indent = len(match["indent"])
    body = "".join(
        line[indent:] if line.strip() else "\n" for line in match["text"].splitlines(keepends=True)
    )
    return Block(
        document=document,
        line=text.count("\n", 0, match.start()) + 1,
        language=language,
        title=title[1] if title else None,
        says=comment[1] if comment else "",
        text=body,
    )


def world_of(document: Path) -> str:
    """The name of the folder in which the document's blocks run."""
    match = _WORLD.search(document.read_text(encoding="utf-8"))
    return match[1] if match else "empty"


def prose_of(document: Path) -> str:
    """The text without fenced blocks."""
    return _FENCE.sub("", document.read_text(encoding="utf-8"))


def links_of(document: Path) -> Iterator[str]:
    """The targets of all links outside of code."""
    prose = re.sub(r"`[^`\n]*`", "", prose_of(document))
    return (match[1] for match in _LINK.finditer(prose))


def anchors_of(document: Path) -> set[str]:
    """The fragments that headings make."""
    return {_slug(match[1]) for match in _HEADING.finditer(prose_of(document))}


def _slug(heading: str) -> str:
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain)).strip("-")


# What is another in every run: ids, digests of fitted models, times, durations, the commit.
_MASKS = [
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "<id>"),
    (re.compile(r"\brun [0-9a-f]{8}-[0-9a-f]{4}…"), "run <id>"),
    (re.compile(r"\b(json1|bytes1|opaque1):[0-9a-f]{8,64}"), r"\1:<digest>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?Z"), "<time>"),
    (re.compile(r"\b\d[\d.,]* (?:µs|ms|s|min)\b(?:  git \w+(?: \(\w+\))?)?"), "<took>"),
]


def masked(text: str) -> str:
    """`text` without what is another in every run."""
    for pattern, with_ in _MASKS:
        text = pattern.sub(with_, text)
    return text


def prints(expected: list[str], printed: str) -> bool:
    """Whether `printed` is what a document shows, as far as it is the same in every run.

    `…` in a line stands for any text, alone for any number of lines.
    """
    wanted, printed = masked("\n".join(expected).strip()), masked(printed)
    if not wanted:
        return True
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "…" else f"{'.*'.join(map(re.escape, line.rstrip().split('…')))}\n"
        for line in wanted.splitlines()
    )
    actual = "".join(f"{line.rstrip()}\n" for line in printed.strip().splitlines())
    return re.fullmatch(pattern, actual) is not None
