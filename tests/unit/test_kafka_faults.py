"""A cluster that never let us in ends the program; one that did, and refuses for a moment, does not."""

from __future__ import annotations

import pytest

pytest.importorskip("confluent_kafka")

from confluent_kafka import KafkaError

from headwater.emitter.kafka_faults import Faults
from headwater.schemas.errors import Misconfigured, Retryable

REFUSED = KafkaError(KafkaError._SSL, "ssl://b2:9093/2: SSL handshake failed: certificate verify failed")


def test_a_cluster_that_never_let_us_in_is_a_person_s_to_mend() -> None:
    faults = Faults("b:9093", {})
    faults(REFUSED)
    assert not faults.is_hopeless()  # another broker may still answer
    with pytest.raises(Misconfigured, match="certificate"):
        faults.raise_refused()


def test_a_refusal_after_an_answer_is_waited_for_and_the_next_answer_ends_it() -> None:
    faults = Faults("b:9093", {})
    faults.answered()
    faults(REFUSED)
    assert not faults.is_hopeless()
    with pytest.raises(Retryable, match="certificate"):
        faults.raise_refused()
    faults.answered()
    faults.raise_refused()
