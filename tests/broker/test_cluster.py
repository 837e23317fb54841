"""Kafka on this machine: a start that fails leaves no broker behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.kafka.cluster import Cluster, Unavailable
from tests.support.needed import lacking


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cluster"


def test_a_start_that_fails_ends_the_brokers_that_it_started(folder: Path) -> None:
    cluster = Cluster(folder, brokers=2)
    try:
        cluster.start()
    except Unavailable as problem:
        lacking(f"no Kafka: {problem}")
    cluster.stop()
    (folder / "2" / "data" / "meta.properties").write_text("version=1\nnode.id=7\n")
    with pytest.raises(Unavailable, match="broker 2 did not start"):
        cluster.start()
    assert cluster.running() == ()


def test_a_start_that_fails_leaves_those_alone_that_ran_before(folder: Path) -> None:
    cluster = Cluster(folder, brokers=2)
    try:
        cluster.start()
    except Unavailable as problem:
        lacking(f"no Kafka: {problem}")
    try:
        cluster.stop_broker(2)
        (folder / "2" / "data" / "meta.properties").write_text("version=1\nnode.id=7\n")
        with pytest.raises(Unavailable):
            cluster.start()
        assert cluster.running() == (1,)
    finally:
        # One of two is no quorum, so it would wait for it in vain.
        cluster.kill(1)
