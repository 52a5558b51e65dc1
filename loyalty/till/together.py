"""What arrives together is asked together.

A call of the database costs little more for four tickets than for one: one transaction, one flush to the disk, one
round trip. So while as many calls are under way as there may be, what other threads of the process would ask gathers,
and the next call takes it all along. Nobody waits for company: what comes alone goes alone, at once.
"""

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from django.db import OperationalError

Asked = TypeVar("Asked")
Told = TypeVar("Told")
Key = TypeVar("Key", bound=Hashable)


class Held(Exception):
    """Nothing was done, for somebody else holds what is needed. Each waits for that alone, and keeps nobody waiting."""


class TooLate(OperationalError):
    """Nothing was done, and who asked waited as long for it as anybody may: the others would wait as long again."""


@dataclass(slots=True, eq=False)
class _Place(Generic[Asked, Told]):
    """A thread that waits: for its answer, or to lead the next call."""

    asked: Asked
    turn: threading.Event = field(default_factory=threading.Event)
    told: Told | None = None
    leads: bool = False
    late: TooLate | None = None


class Gathering(Generic[Key, Asked, Told]):
    """Of the threads that ask under the same key, so many lead at once, each taking along who waits.

    `carry_out` is given the key and what several of them ask, and returns what each is told, in order; or it raises,
    with nothing done, and then each asks `alone`, so that one's trouble is not another's. `TooLate` is everybody's, of
    the call and of who waits. `most`: of one call.
    """

    def __init__(
        self,
        carry_out: Callable[[Key, Sequence[Asked]], Sequence[Told]],
        alone: Callable[[Key, Asked], Told],
        most: int,
        leaders: int = 1,
    ):
        self._carry_out = carry_out
        self._alone = alone
        self._most = most
        self._leaders = leaders
        self._lock = threading.Lock()
        # By key, as long as somebody leads: how many do, and who waits.
        self._leading: Counter[Key] = Counter()
        self._waiting: dict[Key, deque[_Place[Asked, Told]]] = defaultdict(deque)

    def ask(self, key: Key, asked: Asked) -> Told:
        """What it is told. Raises what `carry_out` or `alone` raises of this one."""
        place: _Place[Asked, Told] = _Place(asked)
        with self._lock:
            if self._leading[key] < self._leaders:
                self._leading[key] += 1
                place.leads = True
            else:
                self._waiting[key].append(place)
        if not place.leads:
            place.turn.wait()
        if place.late:
            raise TooLate(*place.late.args) from place.late.__cause__
        if place.leads:
            self._lead(key, place)
        return self._alone(key, asked) if place.told is None else place.told

    def _lead(self, key: Key, place: _Place[Asked, Told]) -> None:
        with self._lock:
            waiting = self._waiting[key]
            others = [waiting.popleft() for _one in range(min(len(waiting), self._most - 1))]
        group, late = [place, *others], None
        try:
            for each, told in zip(group, self._carry_out(key, [each.asked for each in group]), strict=True):
                each.told = told
        except Held:
            pass
        except TooLate as error:
            late = error
            raise
        except Exception:
            if not others:
                raise
            # Whose trouble it was, they find out when each asks alone.
        finally:
            self._hand_over(key, others, late)

    def _hand_over(self, key: Key, others: list[_Place[Asked, Told]], late: TooLate | None) -> None:
        """Wake the others of the call, and who leads the next one."""
        with self._lock:
            waiting = self._waiting[key]
            if late:
                others = [*others, *waiting]
                waiting.clear()
            follower = waiting.popleft() if waiting else None
            if follower is None:
                self._leading[key] -= 1
                if not self._leading[key]:
                    del self._leading[key], self._waiting[key]
        for each in filter(None, [follower, *others]):
            each.leads, each.late = each is follower, late
            each.turn.set()
