"""How long a refusal takes tells nothing of a key: not even that some till's key begins like the one that was tried.

Tries of both kinds alternate in pairs, each pair in an order drawn by lot, so that whatever else the machine does meets
both alike. Two verdicts, neither of which a busy machine can upset: in how many pairs the right beginning took longer
(half of them, give or take five standard deviations), and by how much the medians differ.
"""

import random
import statistics
import time

import pytest

from tenants.network import auth, throttle
from tenants.network.models import KEY_PREFIX_LENGTH, Till

pytestmark = pytest.mark.slow

PAIRS = 2000
STANDARD_DEVIATIONS = 5
MEDIANS_ALLOWED = 0.03


@pytest.fixture(autouse=True)
def nobody_remembered(monkeypatch):
    auth.forget_tills()
    monkeypatch.setitem(throttle._away, "until", 0.0)


def seconds_of_a_refusal(key: str, address: str) -> float:
    start = time.perf_counter()
    with pytest.raises(auth.UnknownTill):
        auth.till_of_key(f"Till {key}", address)
    return time.perf_counter() - start


def measured(known: str, pairs: int) -> tuple[list[float], list[float]]:
    """The seconds of a right beginning and of an unknown one, pair by pair. Each try comes from an address of its own,
    or the limit for those who guess would end the measurement."""
    chance = random.Random(7)
    tries = {"right": [], "unknown": []}
    for number in range(-50, pairs):
        rest = f"{chance.getrandbits(200):051x}"
        keys = {"right": known + rest, "unknown": f"{chance.getrandbits(32):08x}"[:KEY_PREFIX_LENGTH] + rest}
        order = chance.sample(list(keys), 2)
        for kind in order:
            seconds = seconds_of_a_refusal(keys[kind], f"{kind}-{number}")
            if number >= 0:  # the first ones find everything cold
                tries[kind].append(seconds)
    return tries["right"], tries["unknown"]


def told_apart(right: list[float], unknown: list[float]) -> tuple[float, float]:
    """By how many standard deviations the number of pairs in which the right beginning took longer is not a half of
    them, and the difference of the medians as a share of the time taken."""
    longer, half = sum(a > b for a, b in zip(right, unknown, strict=True)), len(right) / 2
    medians = statistics.median(right), statistics.median(unknown)
    return abs(longer - half) / (half / 2) ** 0.5, abs(medians[0] - medians[1]) / medians[1]


def test_a_right_beginning_takes_no_longer_to_refuse(lille_till, lyon_till):
    deviations, medians = told_apart(*measured(lille_till[1][:KEY_PREFIX_LENGTH], PAIRS))
    assert deviations < STANDARD_DEVIATIONS
    assert medians < MEDIANS_ALLOWED


def test_the_measurement_sees_a_lookup_by_the_beginning_alone(lille_till, lyon_till, monkeypatch):
    """What this page would have said of a key that is looked up by its beginning and compared afterwards."""

    def careless(key, hashed):
        till = Till.objects.select_related("store").filter(key_prefix=key[:KEY_PREFIX_LENGTH]).first()
        if till is None or till.key_hash != hashed:
            raise auth.UnknownTill("this key belongs to no till of this brand")
        return till

    monkeypatch.setattr(auth, "_recognised", careless)
    deviations, medians = told_apart(*measured(lille_till[1][:KEY_PREFIX_LENGTH], PAIRS // 5))
    assert deviations > STANDARD_DEVIATIONS
    assert medians > MEDIANS_ALLOWED
