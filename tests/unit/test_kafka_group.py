"""A store has one group, however it is named, and shares it with no other store."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("confluent_kafka")

from headwater.consumers.kafka_group import KafkaGroup, group_of
from headwater.consumers.kafka_log import KafkaLog
from headwater.consumers.log import Partition
from headwater.consumers.store import open_store
from headwater.schemas.errors import Misconfigured


def made(url: str) -> str:
    open_store(url, create=True).close()
    return url


class TestTheGroupOfAStore:
    def test_the_default_store_of_two_folders_is_two(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        groups = set()
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            monkeypatch.chdir(tmp_path / folder)
            groups.add(group_of(made("sqlite:///lineage.db")))
        groups.add(group_of(f"sqlite:///{tmp_path}/two/../two/lineage.db"))
        assert len(groups) == 2

    def test_another_file_at_its_place_is_another_store(self, tmp_path: Path) -> None:
        url = made(f"sqlite:///{tmp_path}/lineage.db")
        before = group_of(url)
        shutil.copy(tmp_path / "lineage.db", tmp_path / "copy.db")
        (tmp_path / "copy.db").replace(tmp_path / "lineage.db")
        assert group_of(url) != before

    def test_two_schemas_of_a_database_are_two_and_one_has_one_under_every_name(
        self, postgres_url: str
    ) -> None:
        from sqlalchemy import create_engine

        engine = create_engine(postgres_url)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE SCHEMA other")
        engine.dispose()
        other = made(f"{postgres_url}{'&' if '?' in postgres_url else '?'}options=-csearch_path%3Dother")
        one = group_of(made(postgres_url))
        assert group_of(other) not in (one, None)
        assert group_of(f"{postgres_url}{'&' if '?' in postgres_url else '?'}application_name=x") == one


class TestSettings:
    def test_a_strategy_that_the_group_cannot_have_is_refused_with_its_place(self) -> None:
        settings = {"partition.assignment.strategy": "range"}
        with (
            KafkaLog("127.0.0.1:1", ["t"], settings) as source,
            pytest.raises(Misconfigured, match=r"kafka: partition\.assignment\.strategy: 'range'"),
        ):
            KafkaGroup(source, "g", settings)

    def test_who_was_not_answered_says_so(self) -> None:
        with KafkaLog("127.0.0.1:1", ["t"]) as source:
            member = KafkaGroup(source, "g")
            member.assigned([Partition("t@1", "0")])
            assert member.awaited.startswith("not yet in group g")
            assert not member.joined
            member.close()
