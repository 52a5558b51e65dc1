"""A brand comes to the platform: its row, schema, host name, stores, people, programme and tills, in that order.

One verb makes it, `onboard_brand(plan)`, whether a page, a file or the demonstration asks. Each step is one
transaction and leaves alone what stands already, so that a run which failed half-way is simply run again.
`ask()` and `onboard()` do the same as a job that a worker carries out and a page watches.

Tills come last: nothing that can fail stands between a till's key and the eyes it is meant for. Keys are in the
database as hashes only; those of a job wait in the cache, for a quarter of an hour, to be shown once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic

from django.conf import settings
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import ProgrammingError, connection, transaction
from django.db.migrations.exceptions import InconsistentMigrationHistory
from django.db.migrations.loader import MigrationLoader
from django.db.models.fields.json import KT
from django.http.request import validate_host
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_tenants.utils import get_public_schema_name, schema_exists, tenant_context

from tenants import blueprint
from tenants.models import Brand, Domain
from tenants.network.models import Job, Region, Staff, Store, Till, audit
from tenants.plan import BadPlan, BrandPlan, Fault, StaffPlan, StorePlan
from tenants.scoping import whole_network

__all__ = ["BadPlan", "BrandPlan", "StaffPlan", "StorePlan", "onboard_brand", "open_platform"]

JOB_KIND = "onboarding"
KEYS_ARE_KEPT_FOR = timedelta(minutes=15)
# A worker that was killed leaves its job "running"; no onboarding takes that long.
GIVEN_UP_AFTER = timedelta(minutes=5)

TillKeys = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Step:
    """A step that another app adds: `run(brand, plan)` in the brand's schema, the whole network in scope.

    It runs in one transaction, and again when an onboarding is resumed: what stands already it leaves alone.
    """

    code: str
    title: str | Promise
    run: Callable[[Brand, BrandPlan], None]


# What the apps above add to a new brand, such as the loyalty programme: they know tenants, tenants not them.
further_steps: list[Step] = []

_BEFORE = [
    ("brand", gettext_lazy("Brand")),
    ("schema", gettext_lazy("Tables of its own")),
    ("domain", gettext_lazy("Host name")),
    ("stores", gettext_lazy("Regions and stores")),
    ("staff", gettext_lazy("Invitations")),
]
_LAST = ("tills", gettext_lazy("Tills and their keys"))


def step_titles() -> list[tuple[str, str | Promise]]:
    """Each step's code and title, in order."""
    return [*_BEFORE, *((step.code, step.title) for step in further_steps), _LAST]


class StepFailed(RuntimeError):
    """A step did not succeed; what the steps before made stands. Its cause is the `__cause__`."""

    def __init__(self, step: str, cause: Exception):
        self.step = step
        super().__init__(f"{dict(step_titles())[step]}: {cause}")


@dataclass(frozen=True)
class Progress:
    """The step that begins now, and how many of how many are done."""

    step: str
    done: int
    total: int

    def __str__(self) -> str:
        return f"{self.done + 1}/{self.total} {dict(step_titles())[self.step]}"


Report = Callable[[Progress], object]


@dataclass(frozen=True)
class OnboardedBrand:
    """The brand, and the keys in clear of the tills that were made by this run: store code -> till code -> key."""

    brand: Brand
    till_keys: TillKeys


# --- The platform itself -----------------------------------------------------------------------------------------


class OtherVersion(CommandError):
    """The database was made by a version of this platform that this one does not go on from."""

    def __init__(self, by_what: str):
        told = connection.settings_dict
        super().__init__(
            f"The database {told['NAME']} at {told['HOST']}:{told['PORT']} was made by another version of this "
            f"platform ({by_what}): serve it with that version, or give this one an empty database; where it is the "
            "one in var/, `make reset` makes it empty, and every brand and customer in it is lost."
        )


def open_platform() -> Brand:
    """Bring the public schema up to date and give the platform's own site its host name, `BASE_DOMAIN`.

    Raises `OtherVersion`.
    """
    connection.set_schema_to_public()
    if unknown := _unknown_migrations():
        raise OtherVersion(f"it has taken the steps {', '.join(unknown)}, which are not ours")
    try:
        call_command("migrate_schemas", shared=True, interactive=False, verbosity=0)
        platform, _made = Brand.objects.get_or_create(
            schema_name=get_public_schema_name(), defaults={"name": "Platform", "slug": "platform"}
        )
    except (ProgrammingError, InconsistentMigrationHistory) as error:
        raise OtherVersion(str(error).partition("\n")[0]) from error
    Domain.objects.get_or_create(domain=settings.BASE_DOMAIN, defaults={"tenant": platform})
    return platform


def _unknown_migrations() -> list[str]:
    """Steps of our apps that the database has taken and no file of ours describes. The public schema knows of all."""
    loader = MigrationLoader(connection)
    ours = {app for app, _name in loader.disk_migrations}
    strange = sorted(set(loader.applied_migrations) - loader.disk_migrations.keys())
    return [f"{app}.{name}" for app, name in strange if app in ours]


# --- As a job ----------------------------------------------------------------------------------------------------


def ask(plan: BrandPlan, by: Staff | None) -> Job:
    """Check the whole plan, write down the job and send it to a worker. Returns the job, which waits.

    Raises `BadPlan` before anything is made: for mistakes in the plan, and for names that are taken.
    """
    plan.check()
    arguments = plan.as_json()
    with transaction.atomic(), whole_network():
        # One asks at a time, so that two cannot be promised the same name.
        Brand.objects.select_for_update().get(schema_name=get_public_schema_name())
        check_names_are_free(plan)
        job = Job.objects.create(
            kind=JOB_KIND,
            title=_("Open the brand %s") % plan.name,
            total=len(step_titles()),
            arguments=arguments,
            asked_by=by,
        )
        audit(by or "system", "asked for", job, brand=plan.slug)
        _send(job)
    return job


def resume(job: Job, by: Staff | None) -> None:
    """Send a job again that failed or was given up. Does nothing where `may_be_resumed` says no."""
    with transaction.atomic(), whole_network():
        job = Job.objects.select_for_update().get(pk=job.pk)
        if may_be_resumed(job):
            job.state, job.error, job.started_at = Job.State.WAITING, "", None
            job.created_at = timezone.now()
            job.save()
            audit(by or "system", "resumed", job)
            _send(job)


def may_be_resumed(job: Job) -> bool:
    """Whether the job failed, or has been waiting or running for so long that no worker can be at it."""
    if job.state in {Job.State.WAITING, Job.State.RUNNING}:
        return timezone.now() - (job.started_at or job.created_at) > GIVEN_UP_AFTER
    return job.state == Job.State.FAILED


def _send(job: Job) -> None:
    from tenants.tasks import onboard as task

    # Robust: where no broker answers the job waits, its page says so, and it can be sent again.
    transaction.on_commit(lambda: task.delay(job.pk), robust=True)


def onboard(job: Job) -> OnboardedBrand | None:
    """Carry the job out. Raises `StepFailed` with the job marked failed; a job that is done already is left alone."""
    if job.state == Job.State.DONE:
        return None
    began = monotonic()
    job.start(total=len(step_titles()))
    try:
        onboarded = onboard_brand(
            BrandPlan.from_json(job.arguments), lambda now: job.report(now.done, now.total, now.step)
        )
    except (StepFailed, BadPlan) as failure:
        job.fail(str(failure))
        raise
    if onboarded.till_keys:
        cache.set(_keys_of(job), onboarded.till_keys, KEYS_ARE_KEPT_FOR.total_seconds())
    job.finish(brand=onboarded.brand.slug, seconds=round(monotonic() - began, 1))
    return onboarded


def has_till_keys(job: Job) -> bool:
    """Whether the keys of the job's tills can still be shown."""
    return _keys_of(job) in cache


def take_till_keys(job: Job) -> TillKeys:
    """The keys of the job's tills in clear, for the only time: they are forgotten at once. Empty when too late."""
    keys = cache.get(_keys_of(job), {})
    # Of two readers at the same moment only the one whose deletion counts may show them.
    return keys if cache.delete(_keys_of(job)) else {}


def _keys_of(job: Job) -> str:
    return f"onboarding-till-keys-{job.pk}"


# --- Names -------------------------------------------------------------------------------------------------------


def check_names_are_free(plan: BrandPlan) -> None:
    """Raises `BadPlan` where the short name or the host name belongs to somebody else."""
    faults = [
        Fault(part, message)
        for part, message in (
            ("slug", why_slug_is_taken(plan.slug)),
            ("domain", why_domain_is_taken(plan.domain)),
        )
        if message
    ]
    if faults:
        raise BadPlan(faults)


def why_slug_is_taken(slug: str) -> str:
    """Why no new brand can have this short name; empty where one can."""
    if Brand.objects.filter(slug=slug).exists() or _is_promised(slug=slug):
        return _("The short name %s is taken.") % slug
    if schema_exists(slug):
        return _("The database holds a schema %s that is no brand's.") % slug
    return ""


def why_domain_is_taken(domain: str) -> str:
    """Why no new brand can have this host name; empty where one can."""
    if Domain.objects.filter(domain=domain).exists() or _is_promised(domain=domain):
        return _("The host name %s is taken.") % domain
    if not validate_host(domain, settings.ALLOWED_HOSTS):
        return _("This installation does not answer at %s: see ALLOWED_HOSTS.") % domain
    return ""


def _is_promised(**words: str) -> bool:
    """Whether a job that no worker has finished yet was asked for with the same words."""
    with whole_network():
        jobs = Job.objects.filter(kind=JOB_KIND, state__in=[Job.State.WAITING, Job.State.RUNNING])
        return (
            jobs.annotate(**{f"planned_{word}": KT(f"arguments__{word}") for word in words})
            .filter(**{f"planned_{word}": value for word, value in words.items()})
            .exists()
        )


# --- The steps ---------------------------------------------------------------------------------------------------


def onboard_brand(plan: BrandPlan, report: Report = lambda _progress: None) -> OnboardedBrand:
    """Make the brand that the plan describes; what stands already stays as it is.

    Raises `BadPlan` for mistakes in the plan and for a short name that another brand has, before anything is made,
    and `StepFailed` with the steps before it kept: call it again to go on.
    """
    plan.check()
    brand = Brand.objects.filter(slug=plan.slug).first()
    if brand is not None and brand.name != plan.name:
        raise BadPlan([Fault("slug", _("The short name %s is taken.") % plan.slug)])
    begin = _Beginning(report)
    with whole_network():
        with begin("brand"):
            brand = brand or _open_row(plan)
        with begin("schema", brand):
            blueprint.build(brand)
        with begin("domain", brand):
            _give_domain(brand, plan.domain)
        with begin("stores", brand), tenant_context(brand):
            _open_stores(plan)
        with begin("staff", brand), tenant_context(brand):
            _invite(plan)
        for step in further_steps:
            with begin(step.code, brand), tenant_context(brand):
                step.run(brand, plan)
        with begin("tills", brand), tenant_context(brand):
            keys = _make_tills(plan)
    return OnboardedBrand(brand, keys)


class _Beginning:
    """Begins one step after the other: says so, opens its transaction, and names it where it fails."""

    def __init__(self, report: Report):
        self.report = report
        self.codes = [code for code, _title in step_titles()]

    @contextmanager
    def __call__(self, code: str, brand: Brand | None = None) -> Iterator[None]:
        self.report(Progress(code, self.codes.index(code), len(self.codes)))
        try:
            with transaction.atomic():
                if brand is not None:
                    # Two runs of the same plan take turns, and the second finds what the first has made.
                    Brand.objects.select_for_update().get(pk=brand.pk)
                yield
        except Exception as error:
            raise StepFailed(code, error) from error


def _open_row(plan: BrandPlan) -> Brand:
    if schema_exists(plan.slug):
        raise BadPlan([Fault("slug", why_slug_is_taken(plan.slug))])
    return Brand.objects.create(
        name=plan.name,
        slug=plan.slug,
        schema_name=plan.slug,
        language=plan.language,
        currency=plan.currency,
        time_zone=plan.time_zone,
    )


def _give_domain(brand: Brand, name: str) -> None:
    domain, _made = Domain.objects.get_or_create(domain=name, defaults={"tenant": brand})
    if domain.tenant_id != brand.pk:
        raise BadPlan([Fault("domain", _("The host name %s is taken.") % name)])


def _open_stores(plan: BrandPlan) -> None:
    names = {store.region_code: store.region_name for store in reversed(plan.stores)}
    Region.objects.bulk_create(
        [Region(code=code, name=name) for code, name in names.items()], ignore_conflicts=True
    )
    regions = {region.code: region for region in Region.objects.all()}
    Store.objects.bulk_create(
        [
            Store(
                code=store.code,
                name=store.name,
                region=regions[store.region_code],
                legal_name=store.legal_name,
                postcode=store.postcode,
                city=store.city,
                time_zone=store.time_zone or plan.time_zone,
                phone_region=store.phone_region,
            )
            for store in plan.stores
        ],
        ignore_conflicts=True,
    )


def _invite(plan: BrandPlan) -> None:
    known = set(Staff.objects.values_list("email", flat=True))
    for person in plan.staff:
        if person.email.lower() in known:
            continue
        staff = Staff.objects.create_user(
            person.email,
            person.password,  # None: nobody can sign in before the invitation is accepted
            full_name=person.full_name,
            role=person.role,
            language=person.language or plan.language,
        )
        staff.stores.set(Store.objects.filter(code__in=person.store_codes))
        audit("system", "invited", staff, role=person.role)


def _make_tills(plan: BrandPlan) -> TillKeys:
    stores = {store.code: store for store in Store.objects.all()}
    known = set(Till.objects.values_list("store__code", "code"))
    keys: TillKeys = {}
    for store in plan.stores:
        for code in store.tills:
            if (store.code, code) not in known:
                keys.setdefault(store.code, {})[code] = Till(store=stores[store.code], code=code).issue_key()
    return keys
