"""Whether an object is still what it was recorded as.

`sampled` looks at a small part of the content and finds most changes; `full` reads all of it
and finds every change that the canonical form sees. An object that was recorded before
verification was asked for is compared by its version.
"""

from __future__ import annotations

from headwater.emitter.describing import unidentified
from headwater.emitter.tracking import Known, Verification

# Versions that say nothing about content: it was stated by the author, or could not be identified.
_OPAQUE = "opaque1"


def version_of(data: object, kind: str) -> str:
    """The version of `data` as an asset of type `kind`, without the cost of describing it."""
    from headwater.emitter.extractors import UNIDENTIFIED, fingerprint

    version = fingerprint(data, sampled=False, asset_type=kind)
    return unidentified() if version == UNIDENTIFIED else version


def fingerprint_of(data: object, kind: str, mode: Verification) -> tuple[Verification, str] | None:
    """What `still_as_recorded` compares with later; None where nothing is verified."""
    if mode == "off" or data is None:
        return None
    from headwater.emitter.extractors import fingerprint

    return mode, fingerprint(data, sampled=mode == "sampled", asset_type=kind)


def still_as_recorded(known: Known, data: object, mode: Verification) -> bool:
    """Whether `data` holds what `known` says; what cannot be compared counts as unchanged."""
    if data is None:
        return True
    now = fingerprint_of(data, known.record.type, mode)
    before, known.fingerprint = known.fingerprint, now
    if before is not None and before[0] == mode:
        return before == now
    return same_version(known.record.version, version_of(data, known.record.type))


def same_version(before: str, now: str) -> bool:
    """Whether two versions of one object are of one content; what cannot be compared counts as unchanged."""
    form = now.partition(":")[0]
    return before == now or form == _OPAQUE or form != before.partition(":")[0]
