"""How long a refusal takes tells nothing of a key: not even that some till's key begins like the one that was tried.

Tries of both kinds alternate in pairs, each pair in an order drawn by lot, so that whatever else the machine does meets
both alike. Two verdicts, neither of which a busy machine can upset, for both are measured by what chance alone would
make of the same times: in how many pairs the right beginning took longer, and by how much the medians differ.
"""

import hashlib
import random
import statistics
import time

import pytest
from django.core.cache import cache

from tenants.network import auth, throttle
from tenants.network.models import KEY_PREFIX_LENGTH, Till

pytestmark = pytest.mark.slow

PAIRS = 2000
STANDARD_DEVIATIONS = 5


@pytest.fixture(autouse=True)
def nobody_remembered(monkeypatch):
    auth.forget_tills()
    monkeypatch.setitem(throttle._away, "until", 0.0)


def seconds_of_a_refusal(key: str, address: str) -> float:
    start = time.perf_counter()
    try:
        auth.till_of_key(f"Till {key}", address)
    except auth.UnknownTill:
        return time.perf_counter() - start
    raise AssertionError("a guess was taken for a key")


def measured(known: str, pairs: int) -> tuple[list[float], list[float]]:
    """The seconds of a right beginning and of an unknown one, pair by pair. What was counted of those who guess is
    forgotten after each pair: the limit would end the measurement."""
    chance = random.Random(7)
    tries = {"right": [], "unknown": []}
    for number in range(-50, pairs):
        rest = f"{chance.getrandbits(200):051x}"
        keys = {"right": known + rest, "unknown": f"{chance.getrandbits(32):08x}"[:KEY_PREFIX_LENGTH] + rest}
        order = chance.sample(list(keys), 2)
        cache.clear()
        for kind in order:
            seconds = seconds_of_a_refusal(keys[kind], "203.0.113.5")
            if number >= 0:  # the first ones find everything cold
                tries[kind].append(seconds)
    return tries["right"], tries["unknown"]


def told_apart(right: list[float], unknown: list[float]) -> tuple[float, float]:
    """In how many more pairs than a half the right beginning took longer, and the difference of the medians: both in
    standard deviations of what chance alone makes of these very times."""
    pairs = list(zip(right, unknown, strict=True))
    longer, half = sum(a > b for a, b in pairs), len(pairs) / 2
    chance = random.Random(7)
    by_chance = []
    for _lot in range(200):
        swapped = [pair if chance.random() < 0.5 else pair[::-1] for pair in pairs]
        by_chance.append(difference_of_medians(swapped))
    return (longer - half) / (half / 2) ** 0.5, difference_of_medians(pairs) / statistics.pstdev(by_chance)


def difference_of_medians(pairs: list[tuple[float, float]]) -> float:
    return statistics.median(a for a, _b in pairs) - statistics.median(b for _a, b in pairs)


def test_a_right_beginning_takes_no_longer_to_refuse(lille_till, lyon_till):
    pairs, medians = told_apart(*measured(lille_till[1][:KEY_PREFIX_LENGTH], PAIRS))
    assert abs(pairs) < STANDARD_DEVIATIONS
    assert abs(medians) < STANDARD_DEVIATIONS


def test_the_measurement_sees_a_slow_hash_after_a_lookup_by_the_beginning(lille_till, lyon_till, monkeypatch):
    """What this page would have said of keys that are kept as passwords are."""

    def careless(key, _hashed):
        if Till.objects.filter(key_prefix=key[:KEY_PREFIX_LENGTH]).exists():
            hashlib.pbkdf2_hmac("sha256", key.encode(), b"salt", 20_000)
        raise auth.UnknownTill("this key belongs to no till of this brand")

    monkeypatch.setattr(auth, "_recognised", careless)
    pairs, medians = told_apart(*measured(lille_till[1][:KEY_PREFIX_LENGTH], 150))
    assert pairs > STANDARD_DEVIATIONS
    assert medians > STANDARD_DEVIATIONS
