"""Topics are chosen by name and by pattern, and what is neither is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.consumers.log import kafka_address, open_log
from headwater.consumers.subscription import subscribed
from headwater.schemas.errors import Misconfigured

EXISTING = [
    "openlineage.dbt",
    "openlineage.spark",
    "xopenlineage.a",
    "__consumer_offsets",
    "headwater.events",
]


def test_names_come_first_and_patterns_match_whole_names() -> None:
    chosen = subscribed(["headwater.events", r"^openlineage\..*"])
    assert chosen.chosen(EXISTING) == ["headwater.events", "openlineage.dbt", "openlineage.spark"]
    assert chosen.native == "headwater.events"
    assert str(chosen) == r"headwater.events,^openlineage\..*"


def test_a_topic_that_is_named_and_matched_is_read_once_and_kafka_s_own_never() -> None:
    assert subscribed(["headwater.events", "^.*"]).chosen(EXISTING) == [
        "headwater.events",
        *("openlineage.dbt", "openlineage.spark", "xopenlineage.a"),
    ]


def test_patterns_alone_have_no_native_topic() -> None:
    assert subscribed(["^a"]).native is None


@pytest.mark.parametrize("topic", ["a b", "a/b", "ä", "^(", "openlineage.*"])
def test_what_is_no_name_and_no_pattern_is_refused(topic: str) -> None:
    with pytest.raises(Misconfigured, match="kafka"):
        subscribed([topic])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("kafka://h:1/..", "is no name of a topic"),
        ("kafka://h:1", "names no topic"),
        ("kafka://me:hunter2@h:1/t", "a user or a password"),
        ("file:///srv/log", "is a folder"),
        ("s3://bucket/log", "is not supported"),
    ],
)
def test_a_log_that_is_no_topic_is_refused(url: str, said: str) -> None:
    with pytest.raises(Misconfigured, match=said) as refused:
        kafka_address(url)
    assert "hunter2" not in str(refused.value)


def test_a_folder_may_be_a_url(tmp_path: Path) -> None:
    with open_log(f"file://{tmp_path}") as log:
        assert log.partitions() == []
