"""Whose fault an error of the store is: the record's, or the moment's.

A value that does not fit is the record's fault: it is parked. A database that is away, or in the
way, is nobody's: the same records may be applied later, and nothing is ever parked for it. What
is neither is a bug, and is raised.
"""

from __future__ import annotations

import sqlite3

import psycopg
from sqlalchemy.exc import DBAPIError

from headwater.schemas.errors import Retryable

#: The store said that a value does not fit: the record's fault, not the database's.
_DATA_ERRORS = (
    psycopg.DataError,
    psycopg.errors.ProgramLimitExceeded,
    sqlite3.DataError,
    OverflowError,
    UnicodeEncodeError,
)
#: The database, or another writer, was in the way: the same records may be applied later.
_PASSING_ERRORS = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.UniqueViolation,
    # A server that became a standby, and servers that end transactions that took too long.
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.IdleInTransactionSessionTimeout,
    sqlite3.OperationalError,
)
#: Another writer was first: the same transaction will find what that one left.
_CONTENTION = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.UniqueViolation,
)
#: What `cause_of` looks beneath a `Retryable` for; another cause (of a carrier) says no more than it does.
_BENEATH = (DBAPIError, Retryable, psycopg.Error, sqlite3.Error)


def cause_of(error: BaseException) -> BaseException:
    """The driver's own error under what SQLAlchemy or `Store` made of it."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig
    if isinstance(error, Retryable) and isinstance(error.__cause__, _BENEATH):
        return cause_of(error.__cause__)
    return error


def is_data_error(error: BaseException) -> bool:
    """Whether the record is at fault: the store cannot hold what it says."""
    return isinstance(cause_of(error), _DATA_ERRORS)


def is_passing(error: BaseException) -> bool:
    """Whether the same transaction may succeed later."""
    cause = cause_of(error)
    if isinstance(cause, sqlite3.OperationalError) and str(cause).startswith("no such"):
        return False  # the schema is gone: waiting brings nothing
    return isinstance(cause, (*_PASSING_ERRORS, Retryable)) and not isinstance(cause, _DATA_ERRORS)


def is_contention(error: BaseException) -> bool:
    """Whether another writer was in the way, of a database that is well."""
    return isinstance(cause_of(error), _CONTENTION)


def is_of_store(error: BaseException) -> bool:
    """Whether the database said it; else it is the log that did not answer."""
    return isinstance(cause_of(error), (psycopg.Error, sqlite3.Error))


def line_of(error: BaseException) -> str:
    """The first line of what the driver said."""
    cause = cause_of(error)
    text = str(cause).strip()
    return text.splitlines()[0] if text else type(cause).__name__
