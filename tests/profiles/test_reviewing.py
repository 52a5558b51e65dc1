"""The queue as a person works through it: what comes first, what is put off, what is taken back, many at once."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone, translation

from loyalty import proof, till
from profiles import merging, resolution, reviewing
from profiles.intake import Shown, Statement, take_in_records
from profiles.models import MatchCandidate, Merge, Pin, Profile, Source
from profiles.tasks import carry_on_bulk, carry_out_bulk
from tenants.network.models import Job
from tenants.scoping import scoped_to
from tests.loyalty.conftest import programme, ticket  # noqa: F401 - a fixture

EMAIL = [{"field": "email", "level": "exact", "a": "x@mail.example", "b": "x@mail.example", "weight": 9.0}]
CARD = [{"field": "card", "level": "exact", "a": "1", "b": "1", "weight": 9.0}]


@pytest.fixture
def people(lille_till, lyon_till, programme) -> list[Profile]:  # noqa: F811
    """Eight of them; each spent a hundred euros more than the one before, four in Lille, four in Lyon."""
    crm = Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM, trust=80)
    made = []
    for n in range(8):
        machine = (lille_till, lyon_till)[n // 4][0]
        fields = {
            "first_name": f"Anne{n}",
            "last_name": "Petit",
            "card": f"29900000000{n}7",
            "city": f"Ville{n}",
        }
        told = Statement(f"C{n}", fields, raw=fields, store_code=machine.store.code)
        made.append(Profile.objects.get(pk=take_in_records(crm, [told])[0].profile_id))
        shown = Shown("card", fields["card"])
        till.record_purchase(machine, ticket(f"R{n}", 10000 * (n + 1), shown=shown))
    return made


def ask(left, right, probability=0.9, evidence=()) -> MatchCandidate:
    return MatchCandidate.objects.create(
        left=left, right=right, weight=5, probability=probability, model_version="1", evidence=list(evidence)
    )


@pytest.fixture
def queue(people) -> list[MatchCandidate]:
    """In the order of what is at stake: 0.6 × 1100 €, 0.9 × 700 €, 0.95 × 300 €."""
    small, middle, large = (
        ask(people[0], people[1], 0.95), ask(people[2], people[3], 0.9), ask(people[4], people[5], 0.6)
    )  # fmt: skip
    return [large, middle, small]


def page(candidate) -> str:
    return reverse("admin:profiles_matchcandidate_change", args=[candidate.pk])


def post(client, name, *args, **told):
    return client.post(reverse(f"admin:profiles_matchcandidate_{name}", args=args), told)


# --- One after the other ------------------------------------------------------------------------------------------


def test_what_is_most_at_stake_comes_first(queue, alice, client_of):
    assert list(reviewing.queue_of(alice)) == queue
    listed = client_of(alice).get(reverse("admin:profiles_matchcandidate_changelist"))
    assert list(listed.context["cl"].result_list) == queue
    assert listed.context["first"] == queue[0]
    for here, following, earlier in zip(queue, [*queue[1:], queue[0]], [None, *queue[:-1]], strict=True):
        shown = client_of(alice).get(page(here)).context
        assert (shown["next"], shown["previous"]) == (following, earlier)


def test_what_is_skipped_comes_last_for_that_person_alone(queue, alice, diane, client_of):
    client = client_of(alice)
    assert post(client, "skip", queue[0].pk).url == page(queue[1])
    assert list(reviewing.queue_of(alice)) == [queue[1], queue[2], queue[0]]
    assert list(reviewing.queue_of(diane)) == queue
    assert post(client, "skip", queue[1].pk).url == page(queue[2])
    assert list(reviewing.queue_of(alice)) == [queue[2], queue[0], queue[1]]
    assert reviewing.after(queue[0], reviewing.queue_of(alice)) == queue[1]
    assert reviewing.before(queue[0], reviewing.queue_of(alice)) == queue[2]
    assert post(client, "skip", queue[0].pk).url == page(queue[1])
    assert set(MatchCandidate.objects.values_list("status", flat=True)) == {"open"}


def test_decided_pairs_are_counted_and_compared_with_the_likelihood(queue, alice, client_of):
    client = client_of(alice)
    post(client, "decide", queue[0].pk, decision="merge")
    post(client, "decide", queue[1].pk, decision="never")
    shown = client.get(page(queue[2]))
    assert shown.context["reviewed"] == 2
    assert (shown.context["agreement"].decided, shown.context["agreement"].percent) == (2, 50)
    assert "2 pairs decided in this session" in shown.text
    post(client, "undo")
    assert client.get(page(queue[2])).context["reviewed"] == 1


def test_the_values_chosen_are_pinned_and_let_go_with_the_undo(queue, alice, client_of):
    client, (left, right) = client_of(alice), (queue[1].left, queue[1].right)
    told = {
        "decision": "merge",
        "keep_city": "right",
        "keep_first_name": "",
        "keep_email": "left",
        "keep_x": "right",
    }
    post(client, "decide", queue[1].pk, **told)
    merged = Profile.objects.get(pk=left.pk)
    assert (merged.city, merged.survivor) == (right.city, merged)
    assert Pin.objects.get().field == "city"
    post(client, "undo")
    assert Profile.objects.get(pk=left.pk).city == left.city
    assert not Pin.objects.filter(ended_at=None).exists()


def test_nobody_takes_back_what_another_decided(queue, alice, diane, client_of):
    post(client_of(alice), "decide", queue[0].pk, decision="never")
    post(client_of(diane), "undo")
    assert MatchCandidate.objects.get(pk=queue[0].pk).status == "never"


def test_the_switch_of_the_keys_is_remembered_for_the_person(queue, alice, diane, client_of):
    client = client_of(alice)
    assert 'data-keys="on"' in client.get(page(queue[0])).text
    assert post(client, "keys", keys="off", back=page(queue[0])).url == page(queue[0])
    assert post(client, "keys", keys="off", back="https://elsewhere.example/").url.startswith("/profiles/")
    assert 'data-keys="off"' in client_of(alice).get(page(queue[0])).text
    assert "<kbd>M</kbd></button>" not in client.get(page(queue[0])).text
    assert 'data-keys="on"' in client_of(diane).get(page(queue[0])).text
    post(client, "keys", keys="on")
    assert 'data-keys="on"' in client.get(page(queue[0])).text


def test_a_manager_decides_the_pairs_of_the_own_store_and_no_other(queue, people, bruno, client_of):
    """Bruno of Lille knows 0 to 3: of the pair that spans both stores, and of Lyon's, he hears nothing."""
    across = ask(people[3], people[4], 0.99, EMAIL)
    MatchCandidate.objects.filter(pk=queue[1].pk).update(evidence=EMAIL)
    client = client_of(bruno)
    listed = client.get(reverse("admin:profiles_matchcandidate_changelist"))
    assert set(listed.context["cl"].result_list) == {queue[1], queue[2]}
    assert "Merge many at once" not in listed.text
    assert "Compare all customers anew" not in listed.text
    assert client.get(page(queue[1])).status_code == 200
    assert "x@mail.example" not in client.get(page(queue[1])).text + listed.text
    for other in (across, queue[0]):
        assert client.get(page(other)).status_code == 302
        assert post(client, "decide", other.pk, decision="merge").status_code == 404
        assert post(client, "skip", other.pk).status_code == 404
    assert post(client, "bulk_merge", least="50", same="").status_code == 403
    assert client.get(reverse("admin:profiles_matchcandidate_bulk")).status_code == 403

    assert post(client, "decide", queue[1].pk, decision="merge").status_code == 302

    assert Merge.objects.get().winner == people[2]
    with scoped_to(bruno.scope):
        assert list(reviewing.chosen(reviewing.Choice(0.5))) == [queue[2]]


def test_a_manager_takes_a_merge_back_though_no_store_knows_the_merged_one_any_more(queue, bruno, client_of):
    client = client_of(bruno)
    post(client, "decide", queue[1].pk, decision="merge")
    assert Merge.objects.filter(undone_at=None).exists()
    assert client.get(page(queue[2])).context["last"] == queue[1]

    assert post(client, "undo").url == page(queue[1])

    assert not Merge.objects.filter(undone_at=None).exists()
    assert client.get(page(queue[1])).status_code == 200


def test_a_manager_reads_no_points_and_no_cards_of_other_stores_in_the_queue(
    queue, people, lyon_till, bruno, alice, client_of
):
    """Points tell what was bought elsewhere; neither stands on a customer's page for a manager."""
    till.record_purchase(lyon_till[0], ticket("R99", 77700, shown=Shown("card", "2990000000027")))
    for reader, sees in ((bruno, False), (alice, True)):
        shown = client_of(reader).get(page(queue[1]))
        told = " ".join(shown.context["effects"])
        assert ("Points" in told, "2990000000027" in shown.text) == (sees, sees), reader
    assert "first_name" in {row["key"] for row in client_of(bruno).get(page(queue[1])).context["rows"]}


def test_who_decides_on_an_old_page_is_told(queue, people, alice, client_of):
    """The page showed two people of whom one has been merged into somebody else since."""
    client = client_of(alice)
    seen = client.get(page(queue[1])).context["people"]
    merging.merge(people[1], people[2], ground=Merge.Ground.MATCH)
    for decision in ("merge", "never", "household"):
        answer = post(client, "decide", queue[1].pk, decision=decision, seen=seen)
        assert answer.url == page(queue[1])
    assert "merged meanwhile" in client.get(page(queue[1])).text
    assert MatchCandidate.objects.get(pk=queue[1].pk).status == "open"
    seen = client.get(page(queue[1])).context["people"]
    post(client, "decide", queue[1].pk, decision="never", seen=seen)
    assert MatchCandidate.objects.get(pk=queue[1].pk).status == "never"


@pytest.mark.parametrize("decision", ["merge", "never", "household"])
def test_who_decides_at_the_same_moment_is_told(queue, alice, diane, client_of, monkeypatch, decision):
    """Diane's word falls between Alice's click and the lock."""
    client, real = client_of(alice), reviewing.after

    def overtaken(candidate, waiting):
        found = real(candidate, waiting)
        resolution.decide_never(MatchCandidate.objects.get(pk=candidate.pk), diane)
        return found

    monkeypatch.setattr(reviewing, "after", overtaken)
    answer = post(client, "decide", queue[1].pk, decision=decision)
    monkeypatch.undo()
    assert answer.status_code == 302
    assert "has decided this pair meanwhile" in client.get(answer.url).text
    assert MatchCandidate.objects.get(pk=queue[1].pk).decided_by == diane
    assert not Merge.objects.exists()


# --- Many at once -------------------------------------------------------------------------------------------------


@pytest.fixture
def many(people) -> list[MatchCandidate]:
    return [
        ask(people[0], people[1], 0.99, EMAIL), ask(people[2], people[3], 0.98, CARD),
        ask(people[4], people[5], 0.98), ask(people[6], people[7], 0.9, EMAIL),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("percent", "same", "found"),
    [("97", "either", {0, 1}), ("97", "email", {0}), ("97", "card", {1}), ("97,5", "", {0, 1, 2}),
     ("50", "", {0, 1, 2, 3}),
     ("99.5", "", set())],
)  # fmt: skip
def test_pairs_are_chosen_by_likelihood_and_by_what_they_share(many, percent, same, found):
    pairs = reviewing.chosen(reviewing.choice_of(percent, same))
    assert {many.index(pair) for pair in pairs} == found


@pytest.mark.parametrize("told", [("x", ""), ("49", ""), ("101", ""), ("nan", ""), ("97", "phone")])
def test_what_cannot_be_chosen_is_said(many, alice, client_of, told):
    with pytest.raises(reviewing.BadChoice):
        reviewing.choice_of(*told)
    client = client_of(alice)
    answer = client.get(reverse("admin:profiles_matchcandidate_bulk"), {"least": told[0], "same": told[1]})
    assert 'id="wrong"' in answer.text
    assert post(client, "bulk_merge", least=told[0], same=told[1]).url.endswith("/bulk/")
    assert not Job.objects.exists()


def start(client, django_capture_on_commit_callbacks, name, *args, **told) -> Job:
    with django_capture_on_commit_callbacks() as waiting:
        answer = post(client, name, *args, **told)
    assert len(waiting) == 1
    job = Job.objects.latest("pk")
    assert answer.url == reverse("admin:network_job_change", args=[job.pk])
    return job


def test_all_are_merged_by_a_job_and_taken_back_as_a_whole(
    many, people, alice, client_of, django_capture_on_commit_callbacks
):
    client = client_of(alice)
    shown = client.get(reverse("admin:profiles_matchcandidate_bulk"), {"least": "97", "same": "either"})
    assert (shown.context["count"], len(shown.context["sample"])) == (2, 2)
    assert not Merge.objects.exists()
    before = list(MatchCandidate.objects.order_by("pk").values())
    job = start(client, django_capture_on_commit_callbacks, "bulk_merge", least="97", same="either")
    assert "under way" in client.post(
        reverse("admin:profiles_matchcandidate_bulk_merge"), {"least": "97", "same": ""}, follow=True
    ).text  # fmt: skip
    carry_out_bulk(job.pk)
    carry_out_bulk(job.pk)
    job.refresh_from_db()
    assert (job.state, job.result, job.done) == ("done", {"merged": 2, "passed": 0}, 2)
    assert set(Merge.objects.values_list("loser", "by", "job")) == {
        (people[1].pk, alice.pk, job.pk), (people[3].pk, alice.pk, job.pk),
    }  # fmt: skip
    assert reviewing.agreement(alice).decided == 0
    undoing = start(client, django_capture_on_commit_callbacks, "bulk_undo", job.pk)
    carry_out_bulk(undoing.pk)
    undoing.refresh_from_db()
    assert (undoing.state, undoing.result) == ("done", {"separated": 2, "kept": 0})
    assert list(MatchCandidate.objects.order_by("pk").values()) == before
    assert Profile.objects.filter(merged_into=None).count() == 8
    assert proof.prove().differences == []
    assert not reviewing.may_be_undone(job)


def test_a_bulk_decision_is_undone_for_thirty_days(
    many, alice, client_of, django_capture_on_commit_callbacks
):
    job = start(client_of(alice), django_capture_on_commit_callbacks, "bulk_merge", least="97", same="")
    assert not reviewing.may_be_undone(job)
    carry_out_bulk(job.pk)
    job.refresh_from_db()
    assert reviewing.may_be_undone(job)
    Job.objects.update(finished_at=timezone.now() - timedelta(days=31))
    job.refresh_from_db()
    assert not reviewing.may_be_undone(job)
    with pytest.raises(reviewing.CannotUndo):
        reviewing.undo_all(job, alice)


def test_the_job_tells_in_the_reader_s_language_what_came_of_it(many, brand, alice, client_of):
    """The worker writes in the brand's language, and no page shows the names under which a job counts."""
    brand.language = "fr"
    job = reviewing.merge_all(reviewing.Choice(0.97), alice)
    carry_out_bulk(job.pk)
    job.refresh_from_db()
    with translation.override("fr"):
        assert job.step == translation.gettext("Merging") != "Merging"
    shown = client_of(alice).get(reverse("admin:network_job_change", args=[job.pk])).text
    assert "merges made" in shown
    assert "passed over, since decided or kept apart meanwhile" in shown


def test_only_what_was_shown_is_merged(many, people, alice, client_of, django_capture_on_commit_callbacks):
    client = client_of(alice)
    bulk = reverse("admin:profiles_matchcandidate_bulk")
    asked = {"least": "97", "same": "card"}
    shown = client.get(bulk, asked)
    assert f'name="shown" value="{shown.context["shown"]}"' in shown.text
    ask(people[4], people[6], 0.99, CARD)  # found since
    told = asked | {"shown": str(shown.context["shown"])}
    job = start(client, django_capture_on_commit_callbacks, "bulk_merge", **told)
    assert job.arguments["pairs"] == [many[1].pk]
    job.cancel()
    # One that was there, and is like them by now, was not shown either.
    MatchCandidate.objects.filter(pk=many[0].pk).update(evidence=CARD)
    answer = client.post(reverse("admin:profiles_matchcandidate_bulk_merge"), told, follow=True)
    assert "than you were shown" in answer.text
    assert Job.objects.count() == 1


def test_a_bulk_decision_that_failed_midway_is_undone_as_a_whole(many, alice, monkeypatch):
    job = reviewing.merge_all(reviewing.Choice(0.97), alice)
    real, calls = resolution.decide_same, []

    def breaks(pair, by, job):
        calls.append(pair)
        if len(calls) == 2:
            raise RuntimeError("the disk is full")
        return real(pair, by, job=job)

    monkeypatch.setattr(resolution, "decide_same", breaks)
    with pytest.raises(RuntimeError):
        carry_out_bulk(job.pk)
    monkeypatch.undo()
    job.refresh_from_db()
    assert (job.state, Merge.objects.filter(undone_at=None).count()) == ("failed", 1)
    assert reviewing.may_be_undone(job)
    carry_out_bulk(reviewing.undo_all(job, alice).pk)
    assert not Merge.objects.filter(undone_at=None).exists()


def test_a_killed_worker_s_job_is_carried_on(
    many, alice, client_of, django_capture_on_commit_callbacks, monkeypatch
):
    job = start(client_of(alice), django_capture_on_commit_callbacks, "bulk_merge", least="97", same="")
    real, calls = resolution.decide_same, []

    def killed(pair, by, job):
        calls.append(pair)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(pair, by, job=job)

    monkeypatch.setattr(resolution, "decide_same", killed)
    with pytest.raises(KeyboardInterrupt):
        carry_out_bulk(job.pk)
    assert Merge.objects.count() == 1
    monkeypatch.setattr(resolution, "decide_same", real)
    asked = []
    monkeypatch.setattr(carry_out_bulk, "delay", asked.append)
    assert carry_on_bulk() == 1
    carry_out_bulk(asked[0])
    job.refresh_from_db()
    assert (job.state, job.result) == ("done", {"merged": 3, "passed": 0})


def test_what_was_decided_meanwhile_and_what_must_stay_apart_is_passed_over(people, alice, diane):
    """0~1 and 1~2 are likely, 0 and 2 are two persons: after the first merge the second question is answered."""
    first, second = ask(people[0], people[1], 0.97, EMAIL), ask(people[1], people[2], 0.98, EMAIL)
    resolution.decide_never(ask(people[0], people[2], 0.6), diane)
    third = ask(people[4], people[5], 0.99, EMAIL)
    job = reviewing.merge_all(reviewing.Choice(0.97, "email"), alice)
    resolution.decide_never(third, diane)
    carry_out_bulk(job.pk)
    job.refresh_from_db()
    assert job.result == {"merged": 1, "passed": 2}
    assert Merge.objects.get().loser == people[1]
    assert not MatchCandidate.objects.filter(pk__in=[first.pk, second.pk], status="open").exists()


def test_a_job_that_is_called_off_stops_and_can_be_undone(many, alice, monkeypatch):
    monkeypatch.setattr(reviewing, "REPORT_EVERY", 1)
    job = reviewing.merge_all(reviewing.Choice(0.9), alice)
    job.call_off()
    carry_out_bulk(job.pk)
    job.refresh_from_db()
    assert (job.state, Merge.objects.count()) == ("cancelled", 1)
    assert reviewing.may_be_undone(job)
