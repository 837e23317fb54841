"""The key and the headers that a drain derives from bytes are those of the fact, and never an error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.schemas.records import Labels, labels_of
from headwater.schemas.rendering import encode, headers, kafka_key
from tests.contract import strategies


@pytest.mark.parametrize("kind", strategies.ALL, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_of_a_fact_they_are_what_the_fact_says(kind: type, data: st.DataObject) -> None:
    event = data.draw(strategies.BY_TYPE[kind])
    assert labels_of(encode(event)) == Labels(kafka_key(event), list(headers(event).items()))


def foreign(**parts: Any) -> bytes:
    return json.dumps(
        {"eventTime": "2026-03-01T09:00:00Z", "producer": "https://dbt.example", **parts}
    ).encode()


JOB = {"namespace": "dbt", "name": "orders"}
PARENT = {"run": {"runId": "1"}, "job": {"namespace": "air", "name": "dag.task"}}
ROOT = {"run": {"runId": "2"}, "job": {"namespace": "air", "name": "dag"}}


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (foreign(eventType="START", run={"runId": "1"}, job=JOB), b"run:dbt/orders"),
        (foreign(run={"runId": "1", "facets": {"parent": PARENT}}, job=JOB), b"run:air/dag.task"),
        (foreign(run={"runId": "1", "facets": {"parent": PARENT | {"root": ROOT}}}, job=JOB), b"run:air/dag"),
        (foreign(dataset={"namespace": "lake", "name": "orders"}), b"dataset:lake/orders"),
        (foreign(job=JOB), b"job:dbt/orders"),
    ],
)
def test_of_any_other_event_the_key_is_the_one_of_openlineages_clients(value: bytes, key: bytes) -> None:
    assert labels_of(value) == Labels(key)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff",
        b"[]",
        b"5",
        b'{"run": 5}',
        b'{"run": {}}',
        b'{"job": {}}',
        b'{"dataset": []}',
        b"{" * 5000,
    ],
)
def test_what_is_no_event_has_neither(value: bytes) -> None:
    assert labels_of(value) == Labels(None)


def test_what_orjson_refuses_and_the_parser_takes_has_a_key() -> None:
    value = foreign(run={"runId": "1"}, job=JOB, x=1)[:-2] + b"NaN}"
    assert labels_of(value).key == b"run:dbt/orders"
