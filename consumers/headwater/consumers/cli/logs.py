"""Log lines of long-running commands: JSON for machines, one line of text for a person who looks."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from headwater.consumers.drawing import printable

FORMATS = ("auto", "json", "text")
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def configure(format: str = "auto", level: int = logging.INFO) -> None:
    """Write the log of headwater to standard error; `auto` is text on a terminal, else JSON."""
    handler = logging.StreamHandler(sys.stderr)
    as_text = format == "text" or (format == "auto" and sys.stderr.isatty())
    handler.setFormatter(Text() if as_text else Json())
    root = logging.getLogger("headwater")
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel(level)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    found = {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
    if record.exc_info and record.exc_info[1] is not None:
        found["exception"] = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
    return found


class Json(logging.Formatter):
    """`{"time": …, "level": …, "event": …, …fields}`, one object a line."""

    def format(self, record: logging.LogRecord) -> str:
        head = {"time": _time(record), "level": record.levelname.lower(), "event": record.getMessage()}
        return json.dumps({**head, **_fields(record)}, default=str)


class Text(logging.Formatter):
    """`2026-03-03T09:00:00.000Z warning store_unavailable pause_s=0.4`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = (f"{key}={value}" for key, value in _fields(record).items())
        return printable(" ".join((_time(record), record.levelname.lower(), record.getMessage(), *fields)))
