"""Everything that reads the log: the lineage store, and the questions one can ask of it.

    from headwater.consumers import Lineage

    Lineage("sqlite:///.headwater/lineage.db").upstream("churn-model", depth=5)

These names are the Python interface (docs/reference/python.md). Importing this package imports
nothing else: each name brings what it needs when it is first used, and says what to install
where that is missing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater.consumers import quarantine as quarantine
    from headwater.consumers.asking import Lineage as Lineage
    from headwater.consumers.completeness import EmitterReport as EmitterReport
    from headwater.consumers.completeness import emitters as emitters
    from headwater.consumers.governing import Curation as Curation
    from headwater.consumers.log import open_log as open_log
    from headwater.consumers.replaying import Verification as Verification
    from headwater.consumers.replaying import replay as replay
    from headwater.consumers.replaying import verify as verify
    from headwater.consumers.runner import Progress as Progress
    from headwater.consumers.runner import Runner as Runner
    from headwater.consumers.store import Store as Store
    from headwater.consumers.store import open_store as open_store

# No public name may be a module's too, or importing that module would hide it; `quarantine` is one.
_HOMES = {
    "Curation": "governing",
    "EmitterReport": "completeness",
    "Lineage": "asking",
    "Progress": "runner",
    "Runner": "runner",
    "Store": "store",
    "Verification": "replaying",
    "emitters": "completeness",
    "open_log": "log",
    "open_store": "store",
    "quarantine": "quarantine",
    "replay": "replaying",
    "verify": "replaying",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{home}")
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("headwater"):
            raise
        from headwater.schemas.errors import Misconfigured

        raise Misconfigured(
            f"{__name__}.{name} needs {missing.name}", remedy="pip install 'headwater[consumers]'"
        ) from missing
    value = module if home == name else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
