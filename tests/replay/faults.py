"""Stores that fail at a chosen moment, and otherwise keep every promise of `Store`.

They count the transactions that write; the fault comes in the one chosen, once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

import psycopg
from sqlalchemy import Connection, Engine, text

from headwater.consumers.store import Store


class Killed(BaseException):
    """The process ends here: nothing that catches errors sees it."""


class Fault(Enum):
    """Where in a transaction it happens, and what its writer learns of it."""

    KILLED_BEFORE = "killed before anything is written"
    KILLED_UNCOMMITTED = "killed with everything written and nothing committed"
    KILLED_COMMITTED = "killed after the commit"
    WRITE_LOST = "disconnected, and nothing kept"
    ANSWER_LOST = "disconnected, and everything kept"


KILLS = (Fault.KILLED_BEFORE, Fault.KILLED_UNCOMMITTED, Fault.KILLED_COMMITTED)
DISCONNECTS = (Fault.WRITE_LOST, Fault.ANSWER_LOST)


class FailingStore(Store):
    """A store in which transaction number `moment` (from 0) meets `fault`; `met` tells whether it did."""

    def __init__(self, engine: Engine, fault: Fault, moment: int) -> None:
        super().__init__(engine)
        self.met = False
        self._fault = fault
        self._until = moment

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        self._until -= 1
        fault = self._fault if self._until == -1 else None
        self.met = self.met or fault is not None
        if fault is Fault.KILLED_BEFORE:
            raise Killed
        with super().writing() as connection:
            yield connection
            if fault is Fault.KILLED_UNCOMMITTED:
                raise Killed
            if fault is Fault.WRITE_LOST:
                raise psycopg.OperationalError("the connection is gone")
        if fault is Fault.KILLED_COMMITTED:
            raise Killed
        if fault is Fault.ANSWER_LOST:
            raise psycopg.OperationalError("the connection is gone")


class InterruptedStore(Store):
    """A SQLite store in which one statement is interrupted, after `instructions` of SQLite's machine."""

    def __init__(self, engine: Engine, instructions: int) -> None:
        super().__init__(engine)
        self.met = False
        self._instructions = instructions

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with super().writing() as connection:
            driver = connection.connection.driver_connection
            if driver is None:
                raise RuntimeError("the connection is closed")
            if not self.met:
                driver.set_progress_handler(self._count, 1)
            try:
                yield connection
            finally:
                driver.set_progress_handler(None, 1)

    def _count(self) -> int:
        self._instructions -= 1
        self.met = self._instructions <= 0
        return 1 if self._instructions == 0 else 0


class TerminatedStore(Store):
    """A PostgreSQL store whose server ends the session of transaction number `moment` before its commit."""

    def __init__(self, engine: Engine, moment: int) -> None:
        super().__init__(engine)
        self.met = False
        self._until = moment

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        self._until -= 1
        with super().writing() as connection:
            yield connection
            if self._until == -1:
                self.met = True
                session = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
                with self.engine.connect() as other:
                    other.execute(text("SELECT pg_terminate_backend(:session, 5000)"), {"session": session})
