"""Physical names are those of OpenLineage's own helpers, and hold no secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openlineage.client.naming import dataset as naming

from headwater.emitter.places import identify, shareable, without_credentials

SAME_PLACE = [
    ("s3://lake/raw/orders.csv", naming.S3("lake", "raw/orders.csv")),
    ("s3a://lake/raw/orders.csv", naming.S3("lake", "raw/orders.csv")),
    ("gs://lake/raw/orders.csv", naming.GCS("lake", "raw/orders.csv")),
    ("gcs://lake/raw/orders.csv", naming.GCS("lake", "raw/orders.csv")),
    ("abfss://c@acct.dfs.core.windows.net/raw/o.csv", naming.ABFSS("c", "acct", "raw/o.csv")),
    ("wasbs://c@acct.dfs.core.windows.net/raw/o.csv", naming.WASBS("c", "acct", "raw/o.csv")),
    ("hdfs://nn:8020/user/o", naming.HDFS("nn", "8020", "/user/o")),
    ("file:///data/o.csv", naming.LocalFileSystem("/data/o.csv")),
    ("/data/o.csv", naming.LocalFileSystem("/data/o.csv")),
    ("file://nas/data/o.csv", naming.RemoteFileSystem("nas", "/data/o.csv")),
    ("kafka://b1:9092/orders", naming.Kafka("b1", "9092", "orders")),
    (
        "postgresql+psycopg://u:p@db:5432/shop/public/orders",
        naming.Postgres("db", "5432", "shop", "public", "orders"),
    ),
    ("postgres://db/shop.public.orders", naming.Postgres("db", "5432", "shop", "public", "orders")),
    ("mysql://u@db:3306/shop/orders", naming.MySQL("db", "3306", "shop", "orders")),
    ("bigquery://proj/ds/orders", naming.BigQuery("proj", "ds", "orders")),
    (
        "snowflake://u:p@org-acct/shop/public/orders",
        naming.Snowflake("org", "acct", "shop", "public", "orders"),
    ),
    ("trino://t:8080/c/s/o", naming.Trino("t", "8080", "c", "s", "o")),
    ("hive://h:10000/db/o", naming.Hive("h", "10000", "db", "o")),
]


@pytest.mark.parametrize(("location", "theirs"), SAME_PLACE, ids=[row[0] for row in SAME_PLACE])
def test_a_place_is_named_as_openlineage_names_it(location: str, theirs: naming.DatasetNaming) -> None:
    ours = identify(location)
    assert ours is not None
    assert (ours.namespace, ours.name) == (theirs.get_namespace(), theirs.get_name())


def test_a_relative_path_is_the_absolute_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = identify("a/../b.csv")
    assert found is not None
    assert found.name == str(tmp_path / "b.csv")


@pytest.mark.parametrize(
    "location", ["", "postgres://db", "bigquery://p/ds", "s3://[bad", "x://", "pg://h:port/x"]
)
def test_what_no_rule_fits_has_no_physical_name_and_raises_nothing(location: str) -> None:
    found = identify(location)
    assert found is None or found.namespace


@given(st.text())
def test_any_text_is_a_place_or_none(text: str) -> None:
    found = identify(text.replace("\0", ""))
    assert found is None or (found.namespace and found.name)
    shareable(text)


@pytest.mark.parametrize(
    ("location", "kept"),
    [
        ("s3://key:secret@lake/o.csv?X-Amz-Signature=abc#f", "s3://lake/o.csv"),
        ("https://user:secret@host/o.csv?sig=abc", "https://host/o.csv"),
        (
            "abfss://container@acct.dfs.core.windows.net/o?sig=abc",
            "abfss://container@acct.dfs.core.windows.net/o",
        ),
        ("postgresql://u:p%40ss@db:5432/shop?sslpassword=x", "postgresql://db:5432/shop"),
        ("/data/what?is#this.csv", "/data/what?is#this.csv"),
        ("postgresql://u:p/w@h:5432/shop", "postgresql://h:5432/shop"),
        ("postgresql://u:p?w#x@h/shop", "postgresql://h/shop"),
        ("amqp://u:a/b@c@h/v@1", "amqp://h/v@1"),
        (
            "abfss://container:key@acct.dfs.core.windows.net/o",
            "abfss://container@acct.dfs.core.windows.net/o",
        ),
        ("http://h:8080/a@b", "http://h:8080/a@b"),
        ("http://[::1]:8080/a@b", "http://[::1]:8080/a@b"),
        ("kafka://b1:9092,b2:9092/t@1", "kafka://b1:9092,b2:9092/t@1"),
        ("s3://lake/users@2024.csv", "s3://lake/users@2024.csv"),
        ("https://host?x=a@b", "https://host"),
    ],
)
def test_a_location_is_recorded_without_credentials(location: str, kept: str) -> None:
    assert shareable(location) == kept


@pytest.mark.parametrize(
    "location",
    [
        "s3://AKIA:hunter2@lake/o.csv",
        "gs://key:hunter2/x@lake/o.csv",
        "abfss://c:hunter2@acct.dfs.core.windows.net/o",
        "postgresql://u:hun/hunter2@h/shop/orders",
        "bigquery://u:hunter2@proj/ds/orders",
        "ftp://u:x?hunter2@h/o.csv",
    ],
)
def test_a_physical_name_holds_no_credentials(location: str) -> None:
    found = identify(location)
    assert found is not None
    assert "hunter2" not in found.namespace + found.name
    assert "AKIA" not in found.namespace


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://ghp_token@github.com/o/r.git", "https://github.com/o/r.git"),
        ("https://user:secret@host:8443/o/r.git?x=secret", "https://host:8443/o/r.git"),
        ("ssh://git:secret@host:22/o/r.git", "ssh://git@host:22/o/r.git"),
        ("git@github.com:o/r.git", "git@github.com:o/r.git"),
        ("https://u:p/w@github.com/o/r.git", "https://github.com/o/r.git"),
        ("ssh://git:p/w@host:22/o/r.git", "ssh://git@host:22/o/r.git"),
        ("/srv/git/r.git", "/srv/git/r.git"),
    ],
)
def test_a_repository_url_holds_no_credentials(url: str, kept: str) -> None:
    assert without_credentials(url) == kept
