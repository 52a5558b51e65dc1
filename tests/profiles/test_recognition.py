"""A brand compares itself with itself, and each new record with its neighbours: with one model, to one end."""

import random
from collections import Counter
from itertools import combinations

import pytest
from django.db import transaction
from django.utils import timezone

from profiles import merging, neighbours, recognition, separating, unification
from profiles.intake import Statement, take_in_records
from profiles.matching import unifying
from profiles.models import BlockingKey, MatchCandidate, MatchingModel, Merge, Profile, Source, SourceRecord
from profiles.tasks import match_new_records
from tenants.network.models import Job

GIVEN = """Ambre Basile Capucine Dorian Elouan Fantine Gaspard Hortense Isaure Joachim Katell Lubin Maelle Norbert Odile
Perrine Quentin Rosalie Sidonie Tiphaine Ulysse Violette Wilfried Xavier Yann Zelie""".split()
BEGINNINGS, ENDINGS = (
    "Bra Cor Dal Fro Gri Hul Jou Kem Lor Mal Nou Pel Qui Rou Sal Tru Val".split(),
    ("bec court din fort geot hart lin mont nel pierre quet ral sart tin val zac".split()),
)
TOWNS = [
    ("59000", "Lille"),
    ("69003", "Lyon"),
    ("44000", "Nantes"),
    ("33000", "Bordeaux"),
    ("67000", "Strasbourg"),
]


def _people(number: int, seed: int) -> list[dict[str, str]]:
    draw = random.Random(seed)
    people = []
    for n in range(number):
        town = draw.choice(TOWNS)
        given, family = draw.choice(GIVEN), draw.choice(BEGINNINGS) + draw.choice(ENDINGS)
        people.append(
            {
                "first_name": given, "last_name": family,
                "birth_date": f"{draw.randint(1945, 2004)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}",
                "email": f"{given}.{family}{n}@mail.example".lower(), "phone": f"06{draw.randint(10**7, 10**8 - 1)}",
                "street": f"{draw.randint(1, 90)} rue des {draw.choice(BEGINNINGS)}{draw.choice(ENDINGS)}",
                "postcode": town[0], "city": town[1],
            }
        )  # fmt: skip
        if n % 5 == 4:  # somebody of the same household
            shared = ("last_name", "phone", "street", "postcode", "city")
            people[-1] |= {name: people[-2][name] for name in shared}
    return people


def _told_again(person: dict[str, str], draw: random.Random) -> dict[str, str]:
    """The same person in another system: something is missing, something mistyped."""
    told = dict(person)
    for name in draw.sample(["email", "phone", "birth_date", "street"], draw.randint(0, 2)):
        told[name] = ""
    if draw.random() < 0.3:
        name = draw.choice(["first_name", "last_name", "email"])
        place = draw.randrange(len(told[name]) or 1)
        told[name] = told[name][:place] + told[name][place + 1 :]
    return told


@pytest.fixture
def records(brand) -> dict[int, int]:
    """Record -> whose it truly is: three hundred people, told by two systems, some twice."""
    draw = random.Random(5)
    crm = Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM)
    shop = Source.objects.create(code="shop", name="Web shop", kind=Source.Kind.ECOMMERCE)
    statements: dict[Source, list[tuple[int, Statement]]] = {crm: [], shop: []}
    for who, person in enumerate(_people(300, seed=11)):
        for source, times in ((crm, 1), (shop, draw.choice([0, 1, 1, 2]))):
            for again in range(times):
                fields = _told_again(person, draw)
                statements[source].append((who, Statement(f"{who}-{again}", fields, raw=fields)))
    truth = {}
    for source, told in statements.items():
        outcomes = take_in_records(source, [statement for _who, statement in told])
        truth |= {outcome.record_id: who for (who, _s), outcome in zip(told, outcomes, strict=True)}
    return truth


def f1(truth: dict[int, int]) -> float:
    """Of the pairs of records that hang on one profile."""
    owner = dict(SourceRecord.objects.values_list("pk", "profile"))
    pairs = [(owner[a] == owner[b], truth[a] == truth[b]) for a, b in combinations(sorted(truth), 2)]
    counted = Counter(pairs)
    return 2 * counted[True, True] / (2 * counted[True, True] + counted[True, False] + counted[False, True])


def test_a_brand_learns_from_its_own_records_and_a_second_run_finds_nothing_to_do(records):
    found = unification.unify_brand()

    assert found.records == len(records)
    assert f1(records) > 0.95
    model = MatchingModel.objects.get()
    assert (model.version, model.records) == (1, len(records))
    assert found.merged == Merge.objects.count() > 100
    assert set(Merge.objects.values_list("model_version", flat=True)) == {"1"}
    assert all(merge.evidence for merge in Merge.objects.all())
    assert not SourceRecord.objects.filter(matched_at=None).exists()

    again = unification.unify_brand()

    assert (again.merged, again.separated, again.queued) == (0, 0, 0)
    assert MatchingModel.objects.count() == 2  # a version is never changed


def test_what_came_since_the_last_batch_is_found_by_later_records_too(records):
    unification.unify_brand()
    source = Source.objects.get(code="crm")
    fields = _people(1, seed=77)[0]
    late = take_in_records(source, [Statement("late", fields, raw=fields)])[0]
    indexed = BlockingKey.objects.filter(record=late.record_id)
    assert not indexed.exists()

    unification.unify_brand()

    assert indexed.exists()
    assert BlockingKey.objects.values("record").distinct().count() == len(records) + 1


def test_a_brand_opened_anew_forgets_the_model_of_the_one_before(records):
    unification.unify_brand()
    before = neighbours.known()
    MatchingModel.objects.update(automatic=before.automatic + 1, learnt_at=timezone.now())
    assert neighbours.known().version == before.version
    assert neighbours.known().automatic == before.automatic + 1


def test_new_records_find_their_people_as_the_batch_would(records):
    with transaction.atomic():
        unification.unify_brand()
        batch = f1(records)
        model, keys = neighbours.known(), list(BlockingKey.objects.values_list("key", "record"))
        transaction.set_rollback(True)
    assert (Merge.objects.count(), BlockingKey.objects.count()) == (0, 0)
    draw = random.Random(3)
    first, later = _halves(records, draw)
    SourceRecord.objects.filter(pk__in=later).update(matched_at=None)
    everybody = neighbours.read("true", [])
    rules, bare = unification._remember(everybody, unifying.unify(everybody.table))
    neighbours.index(bare, rules)
    assert neighbours.known().rules == model.rules
    assert sorted(BlockingKey.objects.values_list("key", "record")) == sorted(keys)

    recognition.match_records(first)
    for record_id in draw.sample(later, len(later)):
        recognition.match_records([record_id])

    assert abs(f1(records) - batch) <= 0.01


def _halves(records: dict[int, int], draw: random.Random) -> tuple[list[int], list[int]]:
    ids = sorted(records)
    draw.shuffle(ids)
    return ids[: len(ids) // 2], ids[len(ids) // 2 :]


def test_what_people_decided_binds_the_batch(records, alice):
    unification.unify_brand()
    merge = Merge.objects.filter(by=None).order_by("pk").first()
    separating.unmerge(merge, by=alice)
    strangers = Profile.objects.filter(merged_into=None).order_by("-pk")[:2]
    kept = merging.merge(*strangers, ground=Merge.Ground.PERSON, by=alice)

    unification.unify_brand()

    apart = {Profile.objects.get(pk=pk).survivor for pk in (merge.winner_id, merge.loser_id)}
    assert len(apart) == 2
    assert len({Profile.objects.get(pk=pk).survivor for pk in (kept.winner_id, kept.loser_id)}) == 1


def test_what_no_model_holds_together_is_separated_again(records):
    unification.unify_brand()
    one, other = Profile.objects.filter(merged_into=None).order_by("-pk")[:2]
    wrong = merging.merge(one, other, ground=Merge.Ground.MATCH)

    found = unification.unify_brand()

    wrong.refresh_from_db()
    assert found.separated == 1
    assert wrong.undone_at
    assert not MatchCandidate.objects.filter(status=MatchCandidate.Status.NEVER).exists()


def test_separations_are_done_one_by_one_before_the_steps_are_written(records, monkeypatch):
    """Not in one transaction with the rest, which would keep everybody concerned from buying until its end."""
    unification.unify_brand()
    one, other = Profile.objects.filter(merged_into=None).order_by("-pk")[:2]
    wrong = merging.merge(one, other, ground=Merge.Ground.MATCH)
    with monkeypatch.context() as broken:
        broken.setattr(unification, "_steps", lambda *_told: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            unification.unify_brand()
    wrong.refresh_from_db()
    assert wrong.undone_at
    assert MatchingModel.objects.count() == 1
    assert unification.unify_brand().separated == 0


def test_a_brand_with_much_that_is_new_is_compared_as_a_whole(records, monkeypatch):
    done = match_new_records()

    assert done["records"] == len(records)
    job = Job.objects.get(kind="unification")
    assert (job.state, job.result["merged"]) == (Job.State.DONE, done["merged"])
    assert MatchingModel.objects.count() == 1
    assert f1(records) > 0.95
    assert not unification.wants_batch()
    SourceRecord.objects.update(matched_at=None)
    assert unification.wants_batch()
    SourceRecord.objects.update(matched_at=timezone.now())
    assert not unification.wants_batch()
    monkeypatch.setattr(unification, "GROWN_BY", 0.9)  # as if the brand had grown since
    assert unification.wants_batch()


def test_a_small_brand_begins_with_the_model_to_start_with(brand):
    source = Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM)
    person = _people(1, seed=2)[0]
    told = [Statement(str(n), person | {"street": ""}, raw={"n": n}) for n in range(2)]
    take_in_records(source, told)

    done = match_new_records()

    assert done["merged"] == 1
    assert Merge.objects.get().model_version == "start"
    assert not MatchingModel.objects.exists()
