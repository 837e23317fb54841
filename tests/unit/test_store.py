"""Opening a store: safe for many at once, and clear about what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from headwater.consumers import migrations, tables
from headwater.consumers.store import connect, open_store
from headwater.schemas.errors import Misconfigured, Retryable
from tests.support import schema

OPEN = """
import sys
from headwater.consumers.store import open_store
open_store(sys.argv[1], create=True).close()
"""


# SQLAlchemy cannot reflect an index on an expression from SQLite, and warns.
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection")
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
def test_the_migrations_make_the_schema_that_the_code_writes(store_url: str) -> None:
    with open_store(store_url, create=True) as store, store.connecting() as connection:
        assert schema.differences(connection) == []
        assert migrations.current(store) == migrations.HEAD


def test_the_migrations_and_the_code_spell_the_same_tables_and_indexes(tmp_path: Path) -> None:
    def spelled(url: str) -> set[str]:
        with connect(url) as store, store.connecting() as connection:
            query = "SELECT sql FROM sqlite_master WHERE type <> 'view' AND name NOT LIKE 'alembic%'"
            return {" ".join(sql.split()) for (sql,) in connection.execute(text(query)) if sql}

    open_store(f"sqlite:///{tmp_path}/migrated.db").close()
    with connect(f"sqlite:///{tmp_path}/made.db") as store, store.writing() as tx:
        tables.metadata.create_all(tx)
    assert spelled(f"sqlite:///{tmp_path}/migrated.db") == spelled(f"sqlite:///{tmp_path}/made.db")


def test_four_processes_that_open_one_empty_store_at_once_all_succeed(store_url: str) -> None:
    started = [subprocess.Popen([sys.executable, "-c", OPEN, store_url]) for _ in range(4)]
    assert [process.wait(timeout=120) for process in started] == [0] * 4


def test_an_empty_postgresql_database_is_not_changed_by_opening_it(postgres_url: str) -> None:
    with pytest.raises(Misconfigured, match="headwater store upgrade"):
        open_store(postgres_url)
    with connect(postgres_url) as store, store.connecting() as connection:
        assert inspect(connection).get_table_names() == []


@pytest.mark.parametrize(
    ("revision", "said"), [("0000", "headwater store upgrade"), ("9999", "newer headwater")]
)
def test_a_schema_of_another_version_says_what_to_do(store_url: str, revision: str, said: str) -> None:
    with open_store(store_url, create=True) as store, store.writing() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    with pytest.raises(Misconfigured, match=said):
        open_store(store_url)


def test_upgrading_an_upgraded_store_changes_nothing(store_url: str) -> None:
    with open_store(store_url, create=True) as store:
        assert migrations.upgrade(store) == (migrations.HEAD, migrations.HEAD)


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://host/db", "sqlite"])
def test_a_url_that_is_none_is_refused_with_the_forms_that_are(url: str) -> None:
    with pytest.raises(Misconfigured, match="sqlite:///path"):
        open_store(url)


def test_an_unreachable_server_is_retryable_and_shows_no_password() -> None:
    with pytest.raises(Retryable) as caught:
        open_store("postgresql://user:hunter2@127.0.0.1:1/nothing")
    assert "127.0.0.1" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_password_in_the_query_is_not_shown_either() -> None:
    with connect("postgresql://user@127.0.0.1/db?password=hunter2") as store:
        assert "hunter2" not in store.url


def test_what_the_url_sets_is_kept_beside_our_own_settings(postgres_url: str) -> None:
    with connect(postgres_url) as store, store.writing() as tx:
        tx.execute(text("CREATE SCHEMA lineage"))
    separator = "&" if "?" in postgres_url else "?"
    url = f"{postgres_url}{separator}options=-csearch_path%3Dlineage"
    with open_store(url, create=True) as store, store.connecting() as connection:
        query = "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename = 'run_fold'"
        assert connection.execute(text(query)).scalars().all() == ["lineage"]
        assert connection.execute(text("SHOW jit")).scalar_one() == "off"
        assert connection.execute(text("SHOW transaction_isolation")).scalar_one() == "read committed"


def test_a_folder_that_cannot_be_made_names_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match="file"):
        open_store(f"sqlite:///{tmp_path}/file/below/lineage.db")


def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    path = tmp_path / "lineage.db"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(Misconfigured, match=str(path)):
        open_store(f"sqlite:///{path}")
