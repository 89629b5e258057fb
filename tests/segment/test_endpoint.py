"""Where segments end: the rules, and that chunking changes nothing."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.errors import ConfigError
from streamasr.segment import EndpointConfig, Endpointer

STEP = 0.04
SECOND = 25  # timesteps


def endpoints(speech, cuts=(), **rules) -> list[tuple[int, int]]:
    """Return (timestep, lead) of every endpoint; the next segment begins ``lead`` before it."""
    endpointer = Endpointer(EndpointConfig(**rules), STEP)
    found = []
    position, state = 0, endpointer.initial_state()
    bounds = sorted({min(c, len(speech)) for c in cuts} | {len(speech)})
    for bound in bounds:
        while position < bound:
            end, state = endpointer(speech[position:bound], state)
            if end is None:
                position = bound
                continue
            position += end.steps
            found.append((position, end.lead))
            # As a listener does: what is heard again comes again.
            position -= end.lead
            state = endpointer.initial_state()
    return found


def test_speech_ends_a_silence_after_it():
    speech = [1.0] * SECOND + [0.0] * SECOND
    assert endpoints(speech) == [(SECOND + 19, 9)]
    assert endpoints(speech, silence_seconds=0.4) == [(SECOND + 9, 4)]
    assert endpoints(speech, lead_seconds=0.2) == [(SECOND + 19, 5)]


def test_a_pause_that_is_too_short_ends_nothing():
    assert endpoints([1.0] * 10 + [0.0] * 18 + [1.0] * 10) == []


def test_silence_ends_by_itself_and_each_time_as_late():
    found = endpoints([0.0] * 6 * SECOND)
    assert found[0] == (50, 10)
    assert [b - a for (a, _), (b, _) in itertools.pairwise(found)] == [40] * (len(found) - 1)


def test_a_long_segment_ends_at_its_next_gap():
    speech = ([1.0] * 40 + [0.0] * 8) * 20
    assert endpoints(speech, longest_seconds=5) != []
    first = endpoints(speech, longest_seconds=5)[0][0]
    assert first == 3 * 48
    assert endpoints(speech, longest_seconds=60) == []


@given(
    st.lists(st.sampled_from([0.0, 0.2, 0.4, 0.9]), min_size=1, max_size=12),
    st.lists(st.integers(1, 400), max_size=6),
)
def test_chunking_changes_nothing(levels, cuts):
    speech = [level for level in levels for _ in range(17)] * 2
    assert endpoints(speech, cuts) == endpoints(speech)


def test_what_never_reaches_the_probability_of_noise_is_noise():
    endpointer = Endpointer(EndpointConfig(), STEP)
    _, unsure = endpointer([0.1, 0.35, 0.1], endpointer.initial_state())
    _, quiet = endpointer([0.1, 0.29, 0.1], endpointer.initial_state())
    assert not endpointer.is_noise(unsure)
    assert endpointer.is_noise(quiet)


@pytest.mark.parametrize("rules", [{"silence_seconds": 0.1}, {"no_speech_seconds": 0}, {"no": 1}])
def test_impossible_rules_are_refused(rules):
    with pytest.raises(ConfigError, match=f"^EndpointConfig: {next(iter(rules))}: "):
        EndpointConfig(**rules)
