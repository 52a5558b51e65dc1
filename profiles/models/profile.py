"""Who it is about: one profile a person, who knows them, how records came together, and the facts kept ready."""

import uuid
from collections.abc import Iterable

from django.contrib.postgres.indexes import GinIndex
from django.db import connection, models, transaction
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from tenants.network.models import Job, Region, Staff, Store
from tenants.scoping import StoreScoped, current_scope, whole_network

FIELDS_OF_A_PERSON = (
    "first_name", "last_name", "birth_date", "email", "phone", "street", "postcode", "city",
)  # fmt: skip


class SearchWords(models.Func):
    """The words of a search text as the index holds them. Spelt without parameters: else no query would use it."""

    template = "array_to_tsvector(array_remove(string_to_array(%(expressions)s, ' '), ''))"
    output_field = models.TextField()


class Profile(StoreScoped):
    """One person. The values are the winners among the sources' (`profiles/survivorship.py`).

    `public_id` is the id that tills, exports and other systems see; it survives merges: a merged profile keeps
    its row and redirects to the one it was merged into.
    """

    public_id = models.UUIDField(_("id"), default=uuid.uuid4, unique=True, editable=False)
    first_name = models.CharField(_("first name"), max_length=80, blank=True)
    last_name = models.CharField(_("last name"), max_length=80, blank=True)
    birth_date = models.DateField(_("birth date"), null=True, blank=True)
    email = models.CharField(_("e-mail"), max_length=254, blank=True)
    phone = models.CharField(_("phone"), max_length=20, blank=True)
    street = models.CharField(_("street"), max_length=160, blank=True)
    postcode = models.CharField(_("postcode"), max_length=12, blank=True)
    city = models.CharField(_("town"), max_length=80, blank=True)
    provenance = models.JSONField(
        _("provenance"), default=dict, help_text=_("field -> source, record and date of the value that won")
    )
    search_text = models.TextField(default="", blank=True, editable=False)
    merged_into = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="merged_profiles",
        verbose_name=_("merged into"),
    )
    created_at = models.DateTimeField(_("known since"), default=timezone.now)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("customer")
        verbose_name_plural = _("customers")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(merged_into=None) | ~models.Q(merged_into=models.F("pk")),
                name="profile_not_merged_into_itself",
            )
        ]
        indexes = [
            # Not for living profiles alone: of a partial index PostgreSQL does not read how frequent each word is.
            GinIndex(SearchWords("search_text"), name="profile_search"),
        ]

    def __str__(self) -> str:
        name = f"{self.first_name} {self.last_name}".strip()
        return name or self.email or self.phone or str(_("unnamed customer"))

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=ProfileStore.known_to(stores))

    @property
    def survivor(self) -> "Profile":
        """The profile this one lives on in: itself unless it was merged."""
        profile = self
        while profile.merged_into_id:
            profile = profile.merged_into
        return profile

    @classmethod
    def reached_by(cls, **key) -> "Profile | None":
        """The living profile that an id leads to, merged ones followed; `None` where the scope does not see that one.

        No store keeps the rows of a merged profile, so the id is looked up wherever it is, and the survivor is not.
        """
        with whole_network():
            named = cls.objects.filter(**key).first()
            living = named and named.survivor
        return living and cls.objects.filter(pk=living.pk).first()

    @classmethod
    def known_since(cls) -> models.F | models.Subquery:
        """Since when who asks knows the person: the network since it first met them, a store since it did itself.

        An expression on profiles, made for the scope in force.
        """
        if current_scope().is_whole_network:
            return models.F("created_at")
        own = ProfileStore.objects.filter(profile=models.OuterRef("pk")).order_by().values("profile")
        return models.Subquery(own.annotate(first=models.Min("since")).values("first"))

    @classmethod
    def hold(cls, profile_ids: Iterable[int]) -> dict[int, "Profile"]:
        """Lock these people until the transaction ends: id -> the profile it lives on in.

        Whoever adds to a person or sums a person up holds them first, always before rows that hang on them. Of two
        at once the second then waits, counts what the first wrote, and follows a merge to the survivor.

        All are locked in the order of their ids, so that two never wait for each other. Where somebody proves to be
        merged, the locks are given back before the survivor, whose id is smaller, is locked. Who is gone is left out.
        Raises `TransactionManagementError` where no transaction would keep the locks.
        """
        if not connection.in_atomic_block:
            raise transaction.TransactionManagementError("people are held in a transaction")
        ids = sorted(set(profile_ids))
        if not ids:
            return {}
        held = cls._base_manager.raw("SELECT asked_id, (person).* FROM hold_people(%s)", [ids])
        rows: dict[int, Profile] = {}
        return {row.asked_id: rows.setdefault(row.pk, row) for row in held}


class ProfileStore(StoreScoped):
    """A store knows a person: they bought there or signed up there. This is what `visible_from` rests on."""

    profile = models.ForeignKey(
        Profile, models.CASCADE, related_name="stores", verbose_name=_("customer"), db_index=False
    )
    store = models.ForeignKey(
        Store, models.PROTECT, related_name="profiles", verbose_name=_("store"), db_index=False
    )
    since = models.DateTimeField(_("since"), default=timezone.now)

    class Meta:
        verbose_name = _("store that knows the customer")
        verbose_name_plural = _("stores that know the customer")
        constraints = [models.UniqueConstraint(fields=["profile", "store"], name="store_knows_profile_once")]
        indexes = [models.Index(fields=["store", "profile"], name="profiles_of_store")]

    def __str__(self) -> str:
        return f"{self.store_id} knows {self.profile_id}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(store__in=stores)

    @classmethod
    def known_to(cls, stores) -> models.QuerySet:
        """The ids of the profiles that one of the stores knows, as a subquery."""
        return cls._base_manager.filter(store__in=stores).values("profile")


class Merge(StoreScoped):
    """Two profiles found to be one person, with the reasons, and what moved: enough to undo it exactly."""

    class Ground(models.TextChoices):
        IDENTIFIER = "identifier", _("same identifier")
        MATCH = "match", _("records match")
        PERSON = "person", _("decided by a person")

    winner = models.ForeignKey(Profile, models.PROTECT, related_name="merges_won", verbose_name=_("kept"))
    loser = models.ForeignKey(Profile, models.PROTECT, related_name="merges_lost", verbose_name=_("merged"))
    ground = models.CharField(_("ground"), max_length=12, choices=Ground.choices)
    weight = models.FloatField(_("match weight"), null=True, blank=True)
    probability = models.FloatField(_("probability"), null=True, blank=True)
    evidence = models.JSONField(_("evidence"), default=list)
    model_version = models.CharField(_("model"), max_length=40, blank=True)
    moved = models.JSONField(_("moved rows"), default=dict)
    at = models.DateTimeField(_("merged"), default=timezone.now)
    by = models.ForeignKey(
        Staff, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("decided by")
    )
    job = models.ForeignKey(
        Job, models.PROTECT, null=True, blank=True, related_name="merges", verbose_name=_("job"),
        help_text=_("Of many merges made at once."),
    )  # fmt: skip
    undone_at = models.DateTimeField(_("undone"), null=True, blank=True)
    undone_by = models.ForeignKey(
        Staff, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("undone by")
    )

    class Meta:
        ordering = ["-at"]
        verbose_name = _("merge")
        verbose_name_plural = _("merges")

    def __str__(self) -> str:
        return f"{self.loser_id} -> {self.winner_id}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(winner__in=ProfileStore.known_to(stores))


class MatchCandidate(StoreScoped):
    """Two profiles that may be one person: a person decides. A pair decided «never» binds every later run."""

    class Status(models.TextChoices):
        OPEN = "open", _("to review")
        MERGED = "merged", _("merged")
        NEVER = "never", _("not the same person")

    left = models.ForeignKey(Profile, models.PROTECT, related_name="+", verbose_name=_("one"), db_index=False)
    right = models.ForeignKey(Profile, models.PROTECT, related_name="+", verbose_name=_("other"))
    weight = models.FloatField(_("match weight"))
    probability = models.FloatField(_("probability"))
    evidence = models.JSONField(_("evidence"), default=list)
    model_version = models.CharField(_("model"), max_length=40)
    status = models.CharField(_("status"), max_length=8, choices=Status.choices, default=Status.OPEN)
    found_at = models.DateTimeField(_("found"), default=timezone.now)
    decided_at = models.DateTimeField(_("decided"), null=True, blank=True)
    decided_by = models.ForeignKey(
        Staff, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("decided by")
    )

    class Meta:
        ordering = ["-probability", "id"]
        verbose_name = _("possible duplicate")
        verbose_name_plural = _("possible duplicates")
        constraints = [
            models.UniqueConstraint(fields=["left", "right"], name="pair_once"),
            models.CheckConstraint(condition=models.Q(left__lt=models.F("right")), name="pair_in_order"),
        ]

    def __str__(self) -> str:
        return f"{self.left_id} ~ {self.right_id}"

    @classmethod
    def visible_from(cls, stores):
        known = ProfileStore.known_to(stores)
        return models.Q(left__in=known) & models.Q(right__in=known)


class ProfileFacts(StoreScoped):
    """What segments read of a person: one narrow row, kept up by `profiles/facts.py` in the same transaction.

    The facts hold for the whole network, so a store never reads them: its questions go to its own purchases.
    """

    profile = models.OneToOneField(Profile, models.CASCADE, primary_key=True, related_name="facts")
    first_purchase_on = models.DateField(null=True)
    last_purchase_on = models.DateField(null=True)
    purchases = models.PositiveIntegerField(default=0)
    spend_cents = models.BigIntegerField(default=0)
    home_store = models.ForeignKey(Store, models.PROTECT, null=True, related_name="+")
    home_region = models.ForeignKey(Region, models.PROTECT, null=True, related_name="+")
    email_allowed = models.BooleanField(default=False)
    sms_allowed = models.BooleanField(default=False)
    post_allowed = models.BooleanField(default=False)

    class Meta:
        verbose_name = _("facts")
        verbose_name_plural = _("facts")
        indexes = [
            # The order of head office's list of customers.
            models.Index(
                models.F("last_purchase_on").desc(nulls_last=True), models.F("profile").desc(),
                name="facts_newest_buyer_first",
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"facts of {self.profile_id}"

    @classmethod
    def visible_from(cls, stores):
        return models.Q(pk__in=[])


@receiver(post_save, sender=Store)
def follow_the_store(instance: Store, created: bool, **_sent) -> None:
    """A store that moves to another region takes along whom it is home to, in the transaction that moves it."""
    if not created:
        at_home = ProfileFacts._base_manager.filter(home_store=instance)
        at_home.exclude(home_region=instance.region_id).update(home_region=instance.region_id)
