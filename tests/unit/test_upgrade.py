"""A store of the first release: it upgrades, keeps its rows, and is not folded further into."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import insert, select, text

from headwater.consumers import Lineage, cli, migrations, open_log, replay, tables, verify
from headwater.consumers.lineage import LineageProjection
from headwater.consumers.runner import Runner
from headwater.consumers.store import Store, connect, open_store
from headwater.schemas.errors import Misconfigured
from tests.support import schema
from tests.support.logs import run_event, write_segment


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = tmp_path / "log"
    tags = {"tags": {"tags": [{"key": "tier", "value": "1", "source": "dbt"}]}}
    write_segment(folder, [run_event(1, outputs=[{"namespace": "lake", "name": "x", "facets": tags}])])
    return folder


@pytest.fixture
def old(store_url: str) -> Iterator[Store]:
    """A store as migration 0001 made it and version 1 of the projection filled it."""
    with connect(store_url) as store:
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        with store.writing() as tx:
            config.attributes["connection"] = tx
            command.upgrade(config, "0001")
            tx.execute(text("CREATE VIEW assets AS SELECT dataset_id AS asset_id FROM dataset"))
            row = {"dataset_id": b"d" * 16, "namespace": "lake", "name": "x", "group_id": b"d" * 16}
            tx.execute(insert(tables.dataset), row)
            built = {"name": LineageProjection.name, "version": 1, "code_version": "0.1", "known_at": None}
            tx.execute(insert(tables.projection), built)
        yield store


# SQLAlchemy cannot reflect an index on an expression from SQLite, and warns.
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection")
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
def test_an_old_store_is_upgraded_in_place_and_keeps_its_rows(old: Store, store_url: str) -> None:
    with pytest.raises(Misconfigured, match="headwater store upgrade"):
        open_store(store_url)
    assert migrations.upgrade(old) == ("0001", migrations.HEAD)
    with open_store(store_url) as store, store.connecting() as connection:
        assert connection.execute(select(tables.dataset.c.name)).scalars().all() == ["x"]
        assert schema.differences(connection) == []
        assert connection.exec_driver_sql("SELECT count(*) FROM asset_tags").scalar_one() == 0


def test_no_consumer_goes_on_with_an_old_store_and_the_way_out_is_named(old: Store, log: Path) -> None:
    migrations.upgrade(old)
    with open_log(str(log)) as source:
        for refused in (
            lambda: Runner(old, source).run(),
            lambda: verify(old, source),
            lambda: replay(source, old.engine.url.render_as_string(hide_password=False)),
        ):
            with pytest.raises(Misconfigured, match="headwater replay --into") as caught:
                refused()
            assert "version 1" in str(caught.value)
    with old.connecting() as connection:
        assert connection.execute(select(tables.event.c.at)).all() == []


def test_a_store_of_a_newer_projection_asks_for_the_newer_headwater(store_url: str, log: Path) -> None:
    with open_store(store_url, create=True) as store, open_log(str(log)) as source:
        Runner(store, source).run()
        with store.writing() as tx:
            tx.execute(tables.projection.update().values(version=LineageProjection.version + 1))
        with pytest.raises(Misconfigured, match="newer headwater"):
            Runner(store, source).run()


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code = cli.main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_commands_lead_from_an_old_store_to_a_new_one(
    old: Store, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = old.engine.url.render_as_string(hide_password=False)
    places = ("--store", url, "--log", str(log))
    outdated = {"current": 1, "needed": LineageProjection.version, "fits": False}
    assert told(capsys, "store", "check", *places) == (
        cli.NO,
        {"current": "0001", "needed": migrations.HEAD, "projection": outdated, "fits": False},
    )
    assert told(capsys, "store", "upgrade", *places)[1]["projection"] == outdated
    assert cli.main(["store", "upgrade", *places]) == 0
    assert "headwater replay --into URL" in capsys.readouterr().out
    assert cli.main(["consume", *places]) == cli.MISCONFIGURED
    assert "headwater replay --into URL" in capsys.readouterr().err

    fresh = f"sqlite:///{tmp_path}/fresh.db"
    assert cli.main(["replay", "--into", fresh, "--log", str(log)]) == 0
    capsys.readouterr()
    assert told(capsys, "store", "check", "--store", fresh) == (
        0,
        {
            "current": migrations.HEAD,
            "needed": migrations.HEAD,
            "projection": {**outdated, "current": LineageProjection.version, "fits": True},
            "fits": True,
        },
    )
    assert cli.main(["consume", "--store", fresh, "--log", str(log)]) == 0
    with Lineage(fresh) as lineage:
        assert lineage.show("x").tags == {"tier": "1"}  # type: ignore[union-attr]
