"""What sources said: kept as received, beside its comparable form, and never edited."""

from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from tenants.network.models import Job, Store
from tenants.scoping import NetworkWide, StoreScoped


class Source(NetworkWide):
    """A system that tells us about people: tills, web shop, CRM, contest…"""

    class Kind(models.TextChoices):
        TILL = "till", _("Till")
        ECOMMERCE = "ecommerce", _("Web shop")
        CRM = "crm", _("CRM")
        CONTEST = "contest", _("Contest")
        OTHER = "other", _("Other")

    class Direction(models.TextChoices):
        IN = "in", _("comes in")
        OUT = "out", _("goes out")
        BOTH = "both", _("both ways")

    class Identity(models.TextChoices):
        UNDECIDED = "", _("not chosen yet: it is being set up")
        OWN = "own", _("an id of its own")
        CONTENT = "content", _("no id: made of what a row says")

    code = models.SlugField(_("code"), max_length=30, unique=True)
    name = models.CharField(_("name"), max_length=80)
    kind = models.CharField(_("kind"), max_length=12, choices=Kind.choices)
    trust = models.PositiveSmallIntegerField(
        _("trust"), default=50, help_text=_("0 to 100: of two sources that disagree, the more trusted wins.")
    )
    system = models.CharField(
        _("system"), max_length=80, blank=True, help_text=_("The software, e.g. Shopify, Cegid, Brevo.")
    )
    owner = models.CharField(
        _("owner"), max_length=80, blank=True, help_text=_("Who answers for it in your company.")
    )
    contact = models.CharField(
        _("contact"), max_length=160, blank=True, help_text=_("Whom to call when it falls silent.")
    )
    data = models.CharField(
        _("data"), max_length=200, blank=True, help_text=_("What it holds: contact data, tickets, consents…")
    )
    direction = models.CharField(
        _("direction"), max_length=4, choices=Direction.choices, default=Direction.IN
    )
    # Code that tells of people gives their ids with them; whoever sets a source up by hand has to choose first.
    identified_by = models.CharField(
        _("told apart by"),
        max_length=8,
        choices=Identity.choices,
        blank=True,
        default=Identity.OWN,
        help_text=_("How it tells its customers apart. Nothing is taken in before this is chosen."),
    )
    id_column = models.CharField(
        _("column or field of the id"),
        max_length=80,
        blank=True,
        help_text=_("Which column or field holds the id that never changes, e.g. customer_id."),
    )
    expected_hours = models.PositiveSmallIntegerField(
        _("expected every (hours)"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Silent for longer, it is shown in red. Empty: it comes when it comes."),
    )

    class Meta:
        ordering = ["-trust", "code"]
        verbose_name = _("source")
        verbose_name_plural = _("sources")

    def __str__(self) -> str:
        return self.name

    @property
    def is_active(self) -> bool:
        """Whether it is chosen how it tells its customers apart: until then nothing of it is taken in."""
        return self.identified_by != self.Identity.UNDECIDED


class PrimaryId(NetworkWide):
    """By which number the brand speaks of its customers: one row at most. Without it, by our own id, which every
    customer has in any case and which survives merges."""

    class Kind(models.TextChoices):
        OWN = "own", _("our own id")
        CARD = "card", _("loyalty card")
        CUSTOMER = "customer", _("customer number")

    kind = models.CharField(_("primary identifier"), max_length=8, choices=Kind.choices)
    is_only_one = models.BooleanField(default=True, unique=True, editable=False)

    class Meta:
        verbose_name = _("primary identifier")
        verbose_name_plural = _("primary identifiers")
        constraints = [
            models.CheckConstraint(condition=models.Q(is_only_one=True), name="one_primary_id_a_brand"),
            models.CheckConstraint(
                condition=models.Q(kind__in=["own", "card", "customer"]), name="primary_id_is_known"
            ),
        ]

    def __str__(self) -> str:
        return self.get_kind_display()

    @classmethod
    def chosen(cls) -> "PrimaryId.Kind":
        row = cls.objects.first()
        return cls.Kind(row.kind) if row else cls.Kind.OWN


class ImportRun(StoreScoped):
    """One file taken in from one source: its numbers reconcile with the lines of the file.

    It is checked first, into a table beside, then taken in from there, and can be undone for some days
    (`profiles/imports/run.py`).
    """

    class State(models.TextChoices):
        CHECKING = "checking", _("checking")
        CHECKED = "checked", _("checked")
        TAKING_IN = "taking_in", _("taking in")
        DONE = "done", _("done")
        CANCELLED = "cancelled", _("cancelled")
        UNDOING = "undoing", _("undoing")
        UNDONE = "undone", _("taken back")

    MOVING = (State.CHECKING, State.TAKING_IN, State.UNDOING)

    source = models.ForeignKey(Source, models.PROTECT, related_name="imports", verbose_name=_("source"))
    job = models.OneToOneField(
        Job, models.PROTECT, null=True, blank=True, related_name="import_run", verbose_name=_("job")
    )
    file_name = models.CharField(_("file"), max_length=200)
    file_hash = models.CharField(max_length=64, editable=False)
    charset = models.CharField(_("charset"), max_length=30)
    delimiter = models.CharField(_("delimiter"), max_length=3)
    columns = models.JSONField(_("columns"), default=list, help_text=_("those of the file, in their order"))
    mapping = models.JSONField(_("mapping"), default=dict, help_text=_("column of the file -> our field"))
    answers = models.JSONField(
        _("odd words"),
        default=dict,
        help_text=_("column -> word -> true, false or null: what words in columns of consents mean"),
    )
    proof_wording = models.CharField(
        _("words shown"),
        max_length=500,
        blank=True,
        help_text=_("What everybody in the file was shown who agreed, and where."),
    )
    proof_on = models.DateField(_("day of the agreement"), null=True, blank=True)
    ids_of_content = models.BooleanField(
        _("ids made of the content"),
        default=False,
        help_text=_("No column holds an id: it is made of all that a row says."),
    )
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.CHECKING)
    awaits_word = models.BooleanField(
        _("waits for a word"),
        default=False,
        help_text=_("Once checked, a person says whether it is taken in."),
    )
    forecast = models.JSONField(
        _("forecast"), default=dict, help_text=_("What the check found: rows by verdict, reasons, samples.")
    )
    staged = models.PositiveIntegerField(_("checked rows"), null=True, blank=True)
    received = models.PositiveIntegerField(_("received"), default=0)
    created = models.PositiveIntegerField(_("accepted"), default=0)
    corrected = models.PositiveIntegerField(_("corrected"), default=0)
    unchanged = models.PositiveIntegerField(_("already known"), default=0)
    rejected = models.PositiveIntegerField(_("rejected"), default=0)
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    undone_at = models.DateTimeField(_("undone"), null=True, blank=True)

    class Meta:
        ordering = ["-started_at"]
        verbose_name = _("import")
        verbose_name_plural = _("imports")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(finished_at=None)
                | models.Q(
                    received=models.F("created")
                    + models.F("corrected")
                    + models.F("unchanged")
                    + models.F("rejected")
                ),
                name="import_numbers_reconcile",
            )
        ]

    def __str__(self) -> str:
        return f"{self.file_name} ({self.source})"

    @property
    def is_moving(self) -> bool:
        """Whether a worker has, or should have, its rows in hand."""
        return self.state in self.MOVING

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])


class RejectedRow(StoreScoped):
    """A line of a file that was not taken in, with its reason."""

    import_run = models.ForeignKey(
        ImportRun,
        models.CASCADE,
        related_name="rejects",
        verbose_name=_("import"),
        db_index=False,
    )
    line = models.PositiveIntegerField(_("line"))
    column = models.CharField(_("column"), max_length=80, blank=True)
    reason = models.CharField(_("reason"), max_length=300)
    raw = models.JSONField(_("as received"), default=dict)

    class Meta:
        ordering = ["import_run", "line"]
        verbose_name = _("rejected row")
        verbose_name_plural = _("rejected rows")
        constraints = [models.UniqueConstraint(fields=["import_run", "line"], name="one_reject_a_line")]

    def __str__(self) -> str:
        return f"{self.line}: {self.reason}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])


class SourceRecord(StoreScoped):
    """One statement of one source about one person.

    `raw` is what was received; the other fields are its comparable form (`profiles/normalise.py`), empty where
    the source said nothing usable. A source that changes its mind adds a record: the newest one of an
    `external_id` is the current one.
    """

    source = models.ForeignKey(
        Source, models.PROTECT, related_name="records", verbose_name=_("source"), db_index=False
    )
    external_id = models.CharField(_("id at the source"), max_length=80)
    content_hash = models.CharField(max_length=64, editable=False)
    received_at = models.DateTimeField(_("received"), default=timezone.now)
    stated_at = models.DateTimeField(
        _("stated"), help_text=_("When the source wrote it; the time of receipt if it does not say.")
    )
    stated_again_at = models.DateTimeField(
        _("stated again"),
        null=True,
        blank=True,
        help_text=_("When the source last said the same, by its own date."),
    )
    store = models.ForeignKey(Store, models.PROTECT, null=True, blank=True, verbose_name=_("store"))
    import_run = models.ForeignKey(
        ImportRun, models.PROTECT, null=True, blank=True, related_name="records", verbose_name=_("import")
    )
    line = models.PositiveIntegerField(_("line"), null=True, blank=True)
    profile = models.ForeignKey(
        "profiles.Profile", models.PROTECT, related_name="records", verbose_name=_("customer")
    )
    raw = models.JSONField(_("as received"), default=dict)
    first_name = models.CharField(_("first name"), max_length=80, blank=True)
    last_name = models.CharField(_("last name"), max_length=80, blank=True)
    birth_date = models.DateField(_("birth date"), null=True, blank=True)
    email = models.CharField(_("e-mail"), max_length=254, blank=True)
    phone = models.CharField(_("phone"), max_length=20, blank=True)
    street = models.CharField(_("street"), max_length=160, blank=True)
    postcode = models.CharField(_("postcode"), max_length=12, blank=True)
    city = models.CharField(_("town"), max_length=80, blank=True)
    card = models.CharField(_("loyalty card"), max_length=40, blank=True)
    matched_at = models.DateTimeField(_("matched"), null=True, blank=True)

    class Meta:
        ordering = ["-stated_at", "-id"]
        verbose_name = _("source record")
        verbose_name_plural = _("source records")
        constraints = [
            models.UniqueConstraint(
                fields=["source", "external_id", "content_hash"], name="record_received_once"
            )
        ]
        indexes = [
            models.Index(fields=["id"], name="records_to_match", condition=models.Q(matched_at=None)),
            models.Index(fields=["source", "-received_at"], name="records_of_source_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.source_id}:{self.external_id}"

    @property
    def last_stated_at(self):
        return self.stated_again_at or self.stated_at

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)


class Identifier(StoreScoped):
    """A value by which a person can be found: e-mail, phone, card, customer number, wallet pass. Always told by a
    record."""

    class Kind(models.TextChoices):
        EMAIL = "email", _("e-mail")
        PHONE = "phone", _("phone")
        CARD = "card", _("loyalty card")
        CUSTOMER = "customer", _("customer number")
        PASS = "pass", _("wallet pass")

    record = models.ForeignKey(
        SourceRecord,
        models.CASCADE,
        related_name="identifiers",
        verbose_name=_("source record"),
        db_index=False,
    )
    profile = models.ForeignKey(
        "profiles.Profile", models.PROTECT, related_name="identifiers", verbose_name=_("customer")
    )
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    value = models.CharField(_("value"), max_length=254)
    key = models.CharField(_("match key"), max_length=254)
    first_seen = models.DateTimeField(_("first seen"))
    last_seen = models.DateTimeField(_("last seen"))

    class Meta:
        ordering = ["kind", "key"]
        verbose_name = _("identifier")
        verbose_name_plural = _("identifiers")
        constraints = [models.UniqueConstraint(fields=["record", "kind", "key"], name="identifier_told_once")]
        indexes = [models.Index(fields=["kind", "key"], name="identifier_lookup")]

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"

    @classmethod
    def visible_from(cls, stores):
        from profiles.models.profile import ProfileStore

        return models.Q(profile__in=ProfileStore.known_to(stores))
