"""The whole brand unified anew: a model is learnt from all its records, and what it says is carried out.

    GATHER ─► BLOCK ─► COMPARE ─► LEARN ─► SCORE ─► CLUSTER ─► APPLY ─► OVER

A stage is cut into steps, and any number of workers take steps until none is left. What a step finds it writes to a
file of its own beside the others, under its final name only when it is whole, and reads what earlier stages wrote: the
workers share that folder and the database, and nothing else. A step done twice tells the same, so a worker that is
killed costs its step; whoever is asked next takes it up. Whoever does the last step of a stage opens the next.
"""

from collections.abc import Callable
from dataclasses import dataclass

from django.db import transaction
from django.utils.translation import gettext as _

from profiles.models import Unification
from tenants.locks import alone
from tenants.network.models import Job, Staff, audit
from tenants.scoping import whole_network

JOB_KIND = "unification"
# No stage asks for more workers than this at once.
MOST_WORKERS = 8
Stage = Unification.Stage


@dataclass(frozen=True)
class Work:
    """A stage: into how many steps it is cut, known when it opens, and what a step does."""

    steps: Callable[[Unification], int]
    do: Callable[[Unification, int], None]


def begin(by: Staff | None = None) -> Unification:
    """Have the workers unify the brand anew; the unification under way where there is one."""
    from profiles.tasks import unify

    with whole_network(), transaction.atomic(), alone("begin-unification"):
        under_way = Unification.objects.exclude(stage=Stage.OVER).exclude(job__state__in=Job.OVER).first()
        if under_way:
            return under_way
        job = Job.objects.create(kind=JOB_KIND, title=_("Unify all customers anew"), asked_by=by)
        unification = Unification.objects.create(job=job)
        _open(unification, Stage.GATHER)
        audit(by or "system", "unified", unification)
        transaction.on_commit(lambda: unify.delay(unification.pk), robust=True)
    return unification


def work_on(unification_id: int) -> Unification:
    """Take steps until none is free: those that other workers have in hand are left to them."""
    with whole_network():
        while (unification := Unification.objects.select_related("job").get(pk=unification_id)).is_moving:
            try:
                if not _take_a_step(unification) and not _open_next(unification):
                    break
            except Exception as error:
                unification.job.fail(str(error) or type(error).__name__)
                raise
    return unification
