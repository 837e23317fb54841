"""Which partition Kafka's Java client gives a key: murmur2, the hash that librdkafka calls `murmur2_random`.

One key in two partitions is what producers with different partitioners leave behind; the order of the
events of a run is then lost. headwater's fold needs none, other consumers of the topic may.
"""

from __future__ import annotations

from collections.abc import Iterable

_MULTIPLIER, _WORD = 0x5BD1E995, 0xFFFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """Where `key` belongs (org.apache.kafka.common.utils.Utils.murmur2, without its sign)."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def misplaced(found: Iterable[tuple[bytes, int]], partitions: int) -> tuple[int, int]:
    """How many of the (key, partition) lie elsewhere than they belong, and how many were looked at.

    None, where all that lie elsewhere belong there by one smaller number of partitions: since they were
    written, partitions were added.
    """
    looked, wrong = 0, []
    for key, partition in found:
        looked += 1
        value = murmur2(key) & 0x7FFFFFFF
        if value % partitions != partition:
            wrong.append((value, partition))
    former = range(1, partitions)
    if any(all(value % count == partition for value, partition in wrong) for count in former):
        return 0, looked
    return len(wrong), looked


def murmur2(data: bytes) -> int:
    """The 32-bit hash, unsigned."""
    length = len(data)
    value = 0x9747B28C ^ length
    whole = length - length % 4
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * _MULTIPLIER & _WORD
        word = (word ^ word >> 24) * _MULTIPLIER & _WORD
        value = (value * _MULTIPLIER & _WORD) ^ word
    if rest := data[whole:]:
        value = (value ^ int.from_bytes(rest, "little")) * _MULTIPLIER & _WORD
    value = (value ^ value >> 13) * _MULTIPLIER & _WORD
    return value ^ value >> 15
