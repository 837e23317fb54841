"""What is written for other programs: whole, typed, and the events byte for byte."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest

from headwater.consumers import Lineage, files, open_log, replay
from headwater.consumers.answers import Asset, Code, Direction, Edge, Graph, Job, Node, Run
from headwater.consumers.cli import main
from headwater.consumers.exporting import Missing, Position, read_back
from headwater.consumers.graphml import graphml
from headwater.consumers.log import Cursor, Partition, Record
from headwater.consumers.notebook import Listing
from headwater.consumers.sheets import csv_text, frame, sheet, sheets
from headwater.emitter.spool import Spool
from headwater.schemas.errors import Corrupt, Misconfigured
from headwater.schemas.ids import uuid7
from tests.replay import product
from tests.unit.test_columns import EVENTS, dataset, event

NOW = datetime(2026, 3, 3, 12, 0, 0, 1, tzinfo=UTC)
DOWN: tuple[Direction, ...] = ("down",)
HOSTILE = [
    "=1+1",
    "+1",
    "-1",
    "@x",
    "\tx",
    "\rx",
    "\nx",
    "'x",
    "＝1",
    'a,"b"\nc',
    "\x00\x1b[31m",
    "\ud800",
    "é\u202e",
]


def run(name: str) -> Run:
    return Run(
        id="r",
        external_id=None,
        job=Job(namespace="crm", name=name),
        state="COMPLETE",
        started_at=NOW,
        ended_at=NOW,
        first_at=NOW,
        last_at=NOW,
        streaming=False,
        parent_run_id=None,
        parent_job=None,
        root_run_id=None,
    )


def node(name: str, run: Run | None = None) -> Node:
    return Node(
        id=f"id of {name}",
        kind="production",
        namespace="lake",
        name=name,
        version=name,
        type="Dataset",
        summary=(name,),
        location=None,
        published_at=NOW,
        lifecycle=None,
        recalled=False,
        depth=0,
        more=False,
        run=run,
    )


def graph(names: list[str]) -> Graph:
    nodes = tuple(node(name, run(name)) for name in names)
    edges = tuple(Edge(source=a.id, target=b.id, inferred=True, role="listed") for a, b in pairwise(nodes))
    return Graph(
        direction="down", roots=(nodes[0].id,), depth=None, limit=9, truncated=None, nodes=nodes, edges=edges
    )


# -- sheets -----------------------------------------------------------------------------


def test_a_spreadsheet_is_given_no_formula_and_a_reader_gets_the_text_back() -> None:
    written = csv_text(sheet("nodes", graph(HOSTILE).nodes, Node))
    rows = list(csv.DictReader(io.StringIO(written, newline="")))
    names = [row["name"] for row in rows]
    assert not [name for name in names if name[:1] in "=+-@\t\r\n＝"]
    back = [name[1:] if name.startswith("'") else name for name in names]
    assert back == [name if name != "\ud800" else "\\ud800" for name in HOSTILE]


def test_a_sheet_has_its_columns_when_it_has_no_rows() -> None:
    empty, full = sheet("runs", [], Run), sheet("runs", [run("a")], Run)
    assert empty.columns == full.columns
    assert ("job_name", "text") in full.columns
    assert ("duration_s", "real") in full.columns
    assert csv_text(empty) == ",".join(column.name for column in empty.columns) + "\n"


def test_parquet_and_frames_keep_types_and_what_is_not_known() -> None:
    from headwater.consumers.sheets import arrow, parquet

    nodes, edges = sheets(graph(HOSTILE))
    read = pyarrow.parquet.read_table(io.BytesIO(parquet(nodes)))
    assert read.equals(arrow(nodes))
    assert read.schema.field("published_at").type == pyarrow.timestamp("us", tz="UTC")
    assert read["published_at"][0].as_py() == NOW
    assert read["location"].null_count == len(HOSTILE)
    table = frame(edges)
    assert list(table.columns) == [column.name for column in edges.columns]
    assert bool(table["inferred"].all())
    assert frame(nodes)["published_at"].dtype == "datetime64[us, UTC]"
    assert frame(sheet("runs", [], Run)).shape == (0, len(sheet("runs", [], Run).columns))


def test_an_integer_beyond_64_bits_leaves_its_cell_empty() -> None:
    wide = [replace(run("a"), code=Code(line=line)) for line in (1 << 63, (1 << 63) - 1)]
    found = Listing(wide, Run)
    assert found.to_arrow()["code_line"].to_pylist() == [None, (1 << 63) - 1]
    assert found.to_pandas()["code_line"].isna().tolist() == [True, False]


def test_graphml_is_xml_with_typed_attributes_whatever_the_names_are() -> None:
    written = graphml(graph(HOSTILE))
    root = ElementTree.fromstring(written.encode())
    space = {"g": "http://graphml.graphdrawing.org/xmlns"}
    types = {key.get("id"): key.get("attr.type") for key in root.findall("g:key", space)}
    assert (types["node.depth"], types["node.recalled"], types["node.run_duration_s"]) == (
        "long",
        "boolean",
        "double",
    )
    ids = [found.get("id") for found in root.findall("g:graph/g:node", space)]
    assert len(set(ids)) == len(HOSTILE)
    for edge in root.findall("g:graph/g:edge", space):
        assert {edge.get("source"), edge.get("target")} <= set(ids)
    data = root.findall("g:graph/g:node/g:data", space)
    assert {found.get("key") for found in data} <= set(types)
    assert "location" not in {str(found.get("key")).removeprefix("node.") for found in data}
    assert [d.text for d in data if d.get("key") == "node.name"][10] == "\\u0000\\u001b[31m"


# -- files ------------------------------------------------------------------------------


def half() -> Iterator[bytes]:
    yield b"half"
    raise RuntimeError


def test_a_file_is_replaced_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out.csv"
    files.write(target, [b"old"])
    with pytest.raises(RuntimeError):
        files.write(target, half())
    assert target.read_bytes() == b"old"
    files.write(target, [b"n", b"ew"])
    assert target.read_bytes() == b"new"
    assert [path.name for path in target.parent.iterdir()] == ["out.csv"]
    assert stat.S_IMODE(target.stat().st_mode) & 0o600 == 0o600


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Misconfigured, match=r"cannot write .*out\.csv"):
        files.write(tmp_path / "file" / "out.csv", [b"x"])


# -- events -----------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Two segments of foreign events; one event stands in both of them."""
    folder = tmp_path / "log"
    for values in (EVENTS[:3], EVENTS[2:]):
        spool = Spool(folder, emitter_id=uuid7())
        for value in values:
            spool.append(value)
        spool.close()
    return folder


@pytest.fixture
def places(log: Path, store_url: str) -> list[str]:
    with open_log(str(log)) as opened:
        replay(opened, store_url)
    return ["--store", store_url, "--log", str(log)]


def exported(places: list[str], capsysbinary: pytest.CaptureFixture[bytes], *more: str) -> list[bytes]:
    assert main([*places, "export", *more, "--format", "openlineage"]) == 0
    return capsysbinary.readouterr().out.splitlines()


def test_the_events_of_a_cone_are_those_of_its_runs_as_they_stand_in_the_log(
    places: list[str], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert exported(places, capsysbinary, "total") == EVENTS[:3]
    assert exported(places, capsysbinary, "orders", "--down") == EVENTS
    assert exported(places, capsysbinary, "total", "--depth", "0") == [EVENTS[2]]


def test_an_export_is_of_the_time_that_is_asked_about(
    places: list[str], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    then = ("--as-of", "2024-03-01T10:02:30Z")
    assert exported(places, capsysbinary, "orders", "--down", *then) == EVENTS[:2]
    assert exported(places, capsysbinary, "orders", "--down", "--known-at", "now") == EVENTS
    assert main([*places, "export", "orders", "--known-at", "2020-01-01", "--format", "openlineage"]) == 4
    capsysbinary.readouterr()
    for known_at, code in (("now", 0), ("2020-01-01", 4)):
        assert main([*places, "lineage", "total#sum", "--known-at", known_at]) == code
        assert (b"clean#amount" in capsysbinary.readouterr().out) == (code == 0)


def test_exported_events_make_a_store_that_answers_the_same(
    places: list[str], tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    spool = Spool(tmp_path / "again", emitter_id=uuid7())
    for value in exported(places, capsysbinary, "total"):
        spool.append(value)
    spool.close()
    url = f"sqlite:///{tmp_path / 'again.db'}"
    with open_log(str(tmp_path / "again")) as log:
        replay(log, url)
    with Lineage(url) as again, Lineage(places[1]) as whole:
        assert again.upstream("total") == whole.upstream("total")
        assert again.columns("total#sum") == whole.columns("total#sum")


def test_every_line_is_an_event_of_the_store(
    places: list[str], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    with Lineage(places[1]) as lineage:
        known = {position.event_id for position in lineage.events("orders", DOWN).positions}
    lines = exported(places, capsysbinary, "orders", "--down")
    assert {hashlib.sha256(line).digest() for line in lines} == known


def test_an_event_that_the_log_does_not_hold_any_more_is_named(
    places: list[str], log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    next(log.rglob("*.seg")).unlink()
    assert main([*places, "export", "orders", "--down", "--format", "openlineage"]) == 1
    told = capsys.readouterr()
    assert "it is not in the log any more" in told.err
    assert "of 5 events could not be read" in told.err
    assert all(line.encode() in EVENTS for line in told.out.splitlines())


def test_damage_is_named_with_what_stands_behind_it(
    places: list[str], log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = next(path for path in log.rglob("*.seg") if EVENTS[0] in path.read_bytes())
    content = bytearray(first.read_bytes())
    content[content.index(EVENTS[1]) + 10] ^= 1
    first.write_bytes(content)
    out = tmp_path / "events.ndjson"
    assert main([*places, "export", "total", "--format", "openlineage", "--output", str(out)]) == 1
    assert "the log is damaged before it" in capsys.readouterr().err
    assert EVENTS[0] in out.read_bytes().splitlines()


def test_another_event_at_the_place_is_not_taken_for_it(places: list[str], log: Path) -> None:
    with Lineage(places[1]) as lineage:
        (first, *_) = lineage.events("orders").positions
    missing: list[Missing] = []
    other = first._replace(event_id=bytes(32))
    with open_log(str(log)) as opened:
        assert list(read_back(opened, [other], missing)) == []
    (one,) = missing
    assert (one.event_id, one.why) == ("00" * 32, "another event stands there")


class Retained(product.MemoryLog):
    """A log that can be read from any offset, and has lost what stands before `first`."""

    first = 2

    def read(self, partition: Partition, cursor: Cursor, *, records: int, size: int) -> list[Record]:
        if cursor.offset < self.first:
            raise Corrupt(place="memory", start=0, end=1, offset=cursor.offset)
        return super().read(partition, cursor, records=records, size=size)


def test_what_a_log_retained_is_read_though_it_lost_what_came_before() -> None:
    wanted = [
        Position("memory", "0", offset, hashlib.sha256(value).digest()) for offset, value in enumerate(EVENTS)
    ]
    missing: list[Missing] = []
    assert list(read_back(Retained(EVENTS), wanted, missing)) == EVENTS[2:]
    assert [one.offset for one in missing] == [0, 1]
    assert "damaged" in missing[0].why


def test_an_event_of_several_lines_is_named_and_not_bent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spool = Spool(tmp_path / "log", emitter_id=uuid7())
    spool.append(json.dumps(json.loads(event(1, [], [dataset("a")])), indent=2).encode())
    spool.close()
    url = f"sqlite:///{tmp_path / 'lineage.db'}"
    with open_log(str(tmp_path / "log")) as log:
        replay(log, url)
    places = ["--store", url, "--log", str(tmp_path / "log")]
    assert main([*places, "export", "a", "--format", "openlineage"]) == 1
    assert "no line holds it" in capsys.readouterr().err


# -- the command ------------------------------------------------------------------------


def test_a_lineage_is_written_in_every_format(
    places: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for format_ in ("mermaid", "dot", "graphml", "json"):
        assert main([*places, "export", "total", "--format", format_, "--output", str(tmp_path / "one")]) == 0
        assert "total" in (tmp_path / "one").read_text()
    for format_ in ("csv", "parquet"):
        assert main([*places, "export", "total#sum", "--format", format_, "--output", str(tmp_path)]) == 0
    table = pyarrow.parquet.read_table(tmp_path / "nodes.parquet")
    assert table["column"].to_pylist()[:2] == ["sum", "amount"]
    with (tmp_path / "edges.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 4
    assert capsys.readouterr().err == ""


def test_what_cannot_be_written_so_is_refused(places: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*places, "export", "total", "--format", "csv"]) == 2
    assert "name a folder with --output" in capsys.readouterr().err
    assert main([*places, "export", "total"]) == 2
    assert "say what to write" in capsys.readouterr().err
    assert main([*places, "export", "total", "--column", "sum", "--format", "openlineage"]) == 2
    assert "leave out --column" in capsys.readouterr().err
    assert main([*places, "runs", "--format", "parquet"]) == 2
    assert "name a file with --output" in capsys.readouterr().err


def test_a_cut_export_says_so(places: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*places, "export", "total", "--depth", "1", "--json"]) == 0
    assert "cut at depth" in capsys.readouterr().err
    assert main([*places, "export", "total", "--limit", "1", "--format", "openlineage"]) == 0
    assert "and so do its events" in capsys.readouterr().err


def test_listings_are_written_as_sheets(
    places: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*places, "assets", "--format", "csv", "--limit", "2"]) == 0
    told = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(told.out)))
    assert [row["name"] for row in rows] == ["clean", "orders"]
    assert "the first 2: there are more" in told.err
    out = tmp_path / "runs.parquet"
    assert main([*places, "runs", "--format", "parquet", "--output", str(out)]) == 0
    assert pyarrow.parquet.read_table(out).num_rows == 5
    assert main([*places, "runs", "--format", "json", "--output", str(out)]) == 0
    assert len(json.loads(out.read_text())["runs"]) == 5
    assert [column.name for column in sheet("assets", [], Asset).columns][:2] == ["namespace", "name"]


def test_half_of_a_surrogate_pair_is_printed_as_json_can_say_it(capsys: pytest.CaptureFixture[str]) -> None:
    from headwater.consumers.cli.output import print_json

    print_json({"name": "\ud800"})
    assert json.loads(capsys.readouterr().out) == {"name": "\ud800"}
