"""A network that fails when a test says so: between a consumer and its PostgreSQL, on a port of its own.

Bytes go through unchanged, until the COMMIT of a batch (of a transaction that moved a position) passes on
which the connection is to be cut: before the server hears of it, or after the server has answered it and
before the client hears that.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit, urlunsplit

# The command itself, and not the ON COMMIT of a temporary table.
_COMMIT = re.compile(rb"(?<!ON )COMMIT\x00")
_MOVE = b"UPDATE position"


class CommitCutter:
    """Cuts the connection at a batch's COMMIT, `cut_at` from 0 on; `kept` says whether the server has it."""

    def __init__(self, server_url: str) -> None:
        parts = urlsplit(server_url)
        folder = parse_qs(parts.query).get("host", [""])[0]
        self._server = (
            f"{folder}/.s.PGSQL.{parts.port or 5432}" if folder else (str(parts.hostname), parts.port or 5432)
        )
        self._listening = socket.create_server(("127.0.0.1", 0))
        port = self._listening.getsockname()[1]
        user = parts.username or "postgres"
        password = f":{parts.password}" if parts.password else ""
        place = parts._replace(netloc=f"{user}{password}@127.0.0.1:{port}", query="sslmode=disable")
        self.url = urlunsplit(place)
        self.cut_at = -1
        self.kept = True
        self.commits = 0
        self.cuts = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def __enter__(self) -> CommitCutter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.socket(socket.AF_UNIX if isinstance(self._server, str) else socket.AF_INET)
                server.connect(self._server)
                answers = threading.Event()
                answers.set()
                for pump in (self._requests, self._answers):
                    threading.Thread(target=pump, args=(client, server, answers), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, answers: threading.Event) -> None:
        moved = False
        for data in _arriving(client):
            moved = moved or _MOVE in data
            commits = _COMMIT.search(data) is not None
            is_the_one = commits and moved and self._is_the_one()
            moved = moved and not commits
            if is_the_one:
                if self.kept:
                    answers.clear()  # from here on the client hears nothing
                    server.sendall(data)
                else:
                    _end(client, server)
                continue
            with contextlib.suppress(OSError):
                server.sendall(data)
        _end(client, server)

    def _answers(self, client: socket.socket, server: socket.socket, answers: threading.Event) -> None:
        for data in _arriving(server):
            if not answers.is_set():
                break  # the server has answered the COMMIT
            with contextlib.suppress(OSError):
                client.sendall(data)
        _end(client, server)

    def _is_the_one(self) -> bool:
        with self._lock:
            number, self.commits = self.commits, self.commits + 1
            if number != self.cut_at:
                return False
            self.cuts += 1
            return True


def _arriving(source: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            yield data


def _end(*ends: socket.socket) -> None:
    for each in ends:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
