"""The command `headwater`: its entry, how it ends, and what it says when it cannot begin.

Exit codes (docs/reference/cli.md):

    0    done; a question was answered
    1    the answer is no: the store is not what the log says, an event is missing, the log is damaged
    2    the command line is wrong
    3    something must be changed first: configuration, schema, a missing package
    4    nothing, or more than one thing, has that name
    5    an input that can never be accepted, or stored bytes that are damaged
    6    try again later: a database is away, another worker took over
    7    it cannot be told here: something that it takes to make a version again is missing or differs
    70   a bug: --debug shows where
    130  interrupted

What a command prints goes to standard output, everything else to standard error. The base
installation has this script but not what it needs; it says so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

NO = 1
USAGE = 2
MISCONFIGURED = 3
UNKNOWN = 4
UNACCEPTABLE = 5
RETRY = 6
NOT_TOLD = 7
BUG = 70
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Never raises, except with --debug."""
    try:
        import click
        import rich  # noqa: F401 - both are needed, and both come with the same extra
    except ImportError as missing:
        _say(f"the command line needs {missing.name} (pip install 'headwater[consumers]')")
        return MISCONFIGURED
    from headwater.consumers.cli.app import Unread, app

    wanted = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app.main(wanted, prog_name="headwater", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as wrong:
        wrong.show()
        return wrong.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        return INTERRUPTED
    except (Unread, BrokenPipeError):
        # Whoever read our output has seen enough; the interpreter must not flush into the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the outermost frame: every failure becomes a line and a code
        return _failed(error, debug="--debug" in wanted or bool(os.environ.get("HEADWATER_DEBUG")))


def _failed(error: Exception, *, debug: bool) -> int:
    """One line for a person, and the code for a program."""
    from headwater.schemas.errors import HeadwaterError

    if debug:
        raise error
    if isinstance(error, HeadwaterError):
        _say(str(error))
        return code_of(error)
    if isinstance(error, ImportError):
        _say(f"{error.name} cannot be imported (pip install 'headwater[consumers]')")
        return MISCONFIGURED
    _say(f"{type(error).__name__}: {_line(error)} (this is a bug; the same command with --debug shows where)")
    return BUG


def code_of(error: Exception) -> int:
    from headwater.consumers.answers import Ambiguous, Unknown
    from headwater.schemas.errors import Corrupt, Misconfigured, Rejected, Retryable

    codes = (
        ((Unknown, Ambiguous), UNKNOWN),
        (Misconfigured, MISCONFIGURED),
        ((Rejected, Corrupt), UNACCEPTABLE),
        (Retryable, RETRY),
    )
    return next((code for kinds, code in codes if isinstance(error, kinds)), BUG)


def _line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else "no message"


def _say(message: str) -> None:
    sys.stderr.write(f"headwater: {message}\n")
