"""The routes against their own description: OpenAPI, fuzzed by schemathesis."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_whatever_the_routes_are_sent_they_do_not_fail(tiny_served, mode):
    # Its own pytest plugin does not know pytest 9.1 and later.
    schema = schemathesis.openapi.from_url(f"{tiny_served.http}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {operation.path for operation in operations} >= {
        "/v1/audio/transcriptions",
        "/v1/models",
        "/metrics",
    }
    seen: set[int] = set()

    @settings(max_examples=100, suppress_health_check=[*HealthCheck])
    @given(st.sampled_from(operations).flatmap(lambda o: o.as_strategy(generation_mode=mode)))
    def ask(case: schemathesis.Case) -> None:
        answer = case.call(timeout=10)
        seen.add(answer.status_code)
        assert answer.status_code < 500, answer.text

    ask()
    assert seen & {200, 400}
    tiny_served.wait_until_empty()
