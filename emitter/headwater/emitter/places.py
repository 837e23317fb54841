"""Where an asset physically is, named as every other OpenLineage producer names it.

`identify` gives the namespace and name that the naming rules of OpenLineage
(spec/Naming.md) give a location, so that a Spark job that wrote a table and a step that
read it meet in one node. Nothing is opened and nothing is looked up. Credentials and
query strings never leave this module.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from headwater.schemas.events import Identifier

_DEFAULT_PORTS = {
    "postgres": 5432,
    "mysql": 3306,
    "redshift": 5439,
    "trino": 8080,
    "hive": 10000,
    "kafka": 9092,
    "cassandra": 9042,
    "oracle": 1521,
    "sqlserver": 1433,
    "hdfs": 8020,
    "teradata": 1025,
    "db2": 50000,
    "crate": 5432,
    "oceanbase": 2881,
}
_SAME_SCHEME = {
    "s3a": "s3",
    "s3n": "s3",
    "gcs": "gs",
    "abfs": "abfss",
    "wasb": "wasbs",
    "postgresql": "postgres",
    "mariadb": "mysql",
    "mssql": "sqlserver",
    "presto": "trino",
}

# A colon after a host begins a port, or is part of an IPv6 address or of a list of brokers.
NO_PORT = r"(?!\d{0,5}(?:,[\w.-]+(?::\d{1,5})?)*[/?#])"
NO_ADDRESS = r"(?!\[[0-9A-Fa-f:.%]*\])"
# A password may hold any of `/?#@` unescaped, as people paste them.
_WITH_PASSWORD = re.compile(rf"{NO_ADDRESS}[^/\s?#:@]*:{NO_PORT}[^@]*@(?:[^/?#@]*@)*")
_USER = re.compile(r"[^/?#]*@")


def identify(location: str | os.PathLike[str]) -> Identifier | None:
    """The OpenLineage name of `location`, or None when no naming rule fits it."""
    text = os.fspath(location)
    if "://" not in text:
        return _local_file(text) if text else None
    try:
        # What is no user part for urlsplit may still hold a password.
        url = urlsplit(shareable(text))
        scheme = _scheme(url)
        return _RULES.get(scheme, _any_authority)(scheme, url)
    except ValueError:  # a malformed port or IPv6 address: no place that a rule could name
        return None


def shareable(location: str | os.PathLike[str]) -> str:
    """`location` without user, password, query and fragment, fit for an event that nobody can take back."""
    text = os.fspath(location)
    if "://" not in text:
        return text
    scheme, _, rest = text.partition("://")
    user, rest = _without_user(rest)
    authority, slash, path = rest.partition("/")
    if user and _same(scheme) in _CONTAINER_SCHEMES:
        authority = f"{user}@{authority}"
    return f"{scheme}://{_before(authority, '?#')}{slash}{_before(path, '?#')}"


def _without_user(rest: str) -> tuple[str, str]:
    """The user's name, and what follows the user part, of a URL's text after `://`."""
    found = _WITH_PASSWORD.match(rest) or _USER.match(rest)
    if found is None:
        return "", rest
    return found[0][:-1].partition(":")[0], rest[found.end() :]


def absolute(location: str | os.PathLike[str]) -> str:
    """`location` as it is recorded: a local path made absolute, a URL made shareable."""
    text = os.fspath(location)
    return shareable(text) if "://" in text else os.path.abspath(text)


def without_credentials(url: str) -> str:
    """A repository's URL without what would let its reader in.

    Over http(s) the whole user part goes (a token is often the user name); over ssh the
    user stays, the password goes; the scp form `git@host:path` holds no secret.
    """
    if "://" not in url:
        return url
    scheme, _, rest = url.partition("://")
    user = _without_user(rest)[0] if scheme.lower().endswith("ssh") else ""
    clean = shareable(url)
    return f"{scheme}://{user}@{clean.partition('://')[2]}" if user else clean


def _before(text: str, stops: str) -> str:
    ends = [at for at in map(text.find, stops) if at >= 0]
    return text[: min(ends)] if ends else text


def _same(scheme: str) -> str:
    plain = scheme.lower().partition("+")[0]
    return _SAME_SCHEME.get(plain, plain)


def _scheme(url: SplitResult) -> str:
    return _same(url.scheme)


def _local_file(path: str) -> Identifier:
    return Identifier(namespace="file", name=str(Path(os.path.abspath(path))), type="LOCATION")


def _file_url(_scheme: str, url: SplitResult) -> Identifier:
    host = url.hostname or ""
    namespace = "file" if host in ("", "localhost") else f"file://{host}"
    return Identifier(namespace=namespace, name=unquote(url.path), type="LOCATION")


def _object_store(scheme: str, url: SplitResult) -> Identifier:
    return Identifier(namespace=f"{scheme}://{url.netloc}", name=url.path.lstrip("/") or "/", type="LOCATION")


def _host(scheme: str, url: SplitResult) -> str:
    port = url.port or _DEFAULT_PORTS.get(scheme)
    host = url.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{port}" if port else host


def _file_system(scheme: str, url: SplitResult) -> Identifier:
    return Identifier(namespace=f"{scheme}://{_host(scheme, url)}", name=url.path or "/", type="LOCATION")


def _table(scheme: str, url: SplitResult) -> Identifier | None:
    """`postgres://h/db/schema/table` and `postgres://h/db.schema.table` are one table."""
    name = _dotted(url)
    return Identifier(namespace=f"{scheme}://{_host(scheme, url)}", name=name) if name else None


def _account_table(scheme: str, url: SplitResult) -> Identifier | None:
    name = _dotted(url)
    return Identifier(namespace=f"{scheme}://{url.hostname}", name=name) if name else None


def _bigquery(_scheme: str, url: SplitResult) -> Identifier | None:
    name = ".".join(part for part in (url.netloc, _dotted(url)) if part)
    return Identifier(namespace="bigquery", name=name) if name.count(".") >= 2 else None


def _any_authority(scheme: str, url: SplitResult) -> Identifier | None:
    authority = url.netloc.rpartition("@")[2]
    if not authority:
        return None
    return Identifier(namespace=f"{scheme}://{authority}", name=url.path.lstrip("/") or "/", type="LOCATION")


def _dotted(url: SplitResult) -> str:
    return ".".join(part for part in unquote(url.path).split("/") if part)


# The part before "@" is a container there, not a user.
_CONTAINER_SCHEMES = frozenset({"abfss", "wasbs"})
_TABLES = (
    *("postgres", "mysql", "redshift", "trino", "hive", "kafka", "cassandra"),
    *("oracle", "sqlserver", "teradata", "db2", "crate", "oceanbase"),
)
_RULES: dict[str, Callable[[str, SplitResult], Identifier | None]] = {
    "file": _file_url,
    **dict.fromkeys(("s3", "gs", "abfss", "wasbs"), _object_store),
    "hdfs": _file_system,
    "dbfs": _file_system,
    **dict.fromkeys(_TABLES, _table),
    "snowflake": _account_table,
    "bigquery": _bigquery,
}
