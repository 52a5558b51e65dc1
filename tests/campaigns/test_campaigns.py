"""From a segment to a file and a result: saving, freezing, exporting, measuring."""

import csv
import hashlib
import io
from datetime import date, timedelta
from uuid import UUID

import pytest
from django.utils import timezone

from campaigns import attribution, audience, lift
from campaigns.control import arm_of, people_of
from campaigns.exports import FORMATS, writer
from campaigns.exports.ordering import ExportRefused, export
from campaigns.launching import CampaignNotReady, freeze
from campaigns.models import Campaign, Recipient, Segment
from campaigns.segments.language import SegmentError
from campaigns.segments.saving import SegmentInUse, remove, save, used_by
from profiles.imports.spreadsheet import guarded
from profiles.models import Profile
from tenants.network.models import AuditEvent, Job
from tenants.scoping import Scope, scoped_to
from tests.campaigns import factories

BUYERS = {"all": [{"field": "purchases", "op": ">=", "value": 1}]}
EVERYBODY = {"all": []}
TREATED, CONTROL = Recipient.Arm.TREATED, Recipient.Arm.CONTROL


@pytest.fixture
def segment(today, alice):
    made = Segment(name="Everybody", shared=True)
    save(made, EVERYBODY, alice, "to begin with")
    return made


@pytest.fixture
def campaign(segment, alice):
    return Campaign.objects.create(
        name="Été 2026",
        segment=segment,
        goal=Campaign.Goal.VISIT,
        goal_uplift=2,
        control_percent=30,
        created_by=alice,
    )


def crowd(n, store, **fields) -> list[Profile]:
    """People who may be e-mailed and bought once in the store, long ago."""
    people = []
    for i in range(n):
        known = {
            "email": f"c{i}@exemple.fr",
            "phone": f"+3360000{i:04d}",
            "first_name": "Zoé",
            "last_name": f"N{i}",
        }
        people.append(factories.person(allows=["email"], **{**known, **fields}))
        factories.ticket(people[-1], store, date(2025, 1, 15))
    return people


# Versions of a segment -----------------------------------------------------------------------------------------------


def test_each_save_of_other_conditions_is_a_version_with_author_and_reason(segment, alice):
    second = save(segment, BUYERS, alice, "only buyers")
    assert (second.number, second.made_by, second.reason) == (2, alice, "only buyers")
    assert save(segment, BUYERS, alice).pk == second.pk
    assert segment.current == second


def test_conditions_that_cannot_be_read_are_not_saved(segment, alice):
    with pytest.raises(SegmentError):
        save(segment, {"all": [{"field": "foo"}]}, alice)
    assert segment.versions.count() == 1


def test_a_stores_segment_may_not_use_points_or_another_stores_code(today, alice, lille, lyon):
    local = Segment(name="Local", store=lille)
    with pytest.raises(SegmentError, match="head office only"):
        save(local, {"all": [{"field": "points", "op": ">", "value": 5}]}, alice)
    with pytest.raises(SegmentError, match="unknown store «ACM-002»"):
        save(local, {"all": [{"field": "bought_in", "op": "=", "value": "ACM-002"}]}, alice)
    assert not Segment.objects.filter(name="Local").exists()


def test_a_segment_in_use_is_not_removed(segment, campaign, alice):
    assert used_by(segment) == ["Été 2026"]
    with pytest.raises(SegmentInUse, match="Été 2026"):
        remove(segment, alice)
    campaign.delete()
    remove(segment, alice)
    assert not Segment.objects.exists()


def test_a_store_reads_that_its_segment_is_used_elsewhere_and_not_by_what(segment, campaign, lille):
    with scoped_to(Scope.of([lille.pk])):
        assert used_by(segment) == ["1 campaign elsewhere"]
    campaign.store = lille
    campaign.save()
    with scoped_to(Scope.of([lille.pk])):
        assert used_by(segment) == ["Été 2026"]


# Counts --------------------------------------------------------------------------------------------------------------


def test_counts_add_up(segment, lille, lyon, today):
    both = factories.person(
        lille, lyon, allows=["email", "post"], email="a@exemple.fr", street="1 rue", postcode="59000"
    )
    factories.ticket(both, lille, today)
    factories.person(lyon, email="no-consent@exemple.fr")
    factories.person(allows=["email"])
    counts = audience.count(segment.current)
    assert (counts.matching, counts.base) == (3, 3)
    assert counts.reachable == {"email": 1, "sms": 0, "post": 0}
    for reach in counts.reach:
        assert reach.reachable + reach.no_consent + reach.no_address == counts.matching
    assert sum(share.people for share in counts.per_store) == counts.matching
    assert [(share.code, share.people) for share in counts.per_store] == [("ACM-001", 1), ("", 2)]


def test_a_manager_counts_the_part_of_the_own_store(segment, lille, lyon, bruno, today):
    crowd(3, lille)
    crowd(4, lyon, last_name="CANARY")
    with scoped_to(bruno.scope):
        counts = audience.count(segment.current)
        assert (counts.matching, counts.base) == (3, 3)
        assert [(share.code, share.people) for share in counts.per_store] == [("ACM-001", 3)]
        assert "CANARY" not in {person.last_name for person in audience.sample(segment.current)}


def test_head_office_sees_a_stores_segment_as_the_store_does(today, alice, lille, lyon):
    somebody = factories.person(lille)
    factories.ticket(somebody, lille, today)
    factories.ticket(somebody, lyon, today)
    local = Segment(name="Regulars", store=lille)
    version = save(local, {"all": [{"field": "purchases", "op": ">=", "value": 2}]}, alice)
    with audience.inside(local):
        assert audience.count(version).matching == 0
    assert audience.count(version).matching == 1


def test_whoever_may_not_see_the_store_sees_nothing_of_its_segment(today, alice, lille, chloe):
    factories.person(lille)
    local = Segment(name="Everybody here", store=lille)
    version = save(local, EVERYBODY, alice)
    with scoped_to(chloe.scope), audience.inside(local):
        assert audience.count(version).matching == 0


def test_why_a_person_is_in_or_out(today, alice, lille):
    somebody = factories.person(lille, allows=["sms"], city="Lille")
    factories.ticket(somebody, lille, today - timedelta(days=12), ("DAIRY", 1250))
    tree = save(
        Segment(name="Why"),
        {
            "all": [
                {"field": "spend", "op": ">=", "value": 1000},
                {
                    "any": [
                        {"field": "days_since_purchase", "op": ">=", "value": 30},
                        {"field": "city", "op": "=", "value": "LILLE"},
                    ]
                },
                {"none": [{"field": "may_contact", "op": "=", "value": "email"}]},
                {"field": "home_store", "op": "=", "value": "ACM-001"},
            ]
        },
        alice,
    )
    told = audience.explain(tree, somebody, "en")
    assert told.holds
    spend, either, neither, home = told.parts
    assert (spend.holds, spend.value) == (True, "€12.50")
    assert [(part.holds, part.value) for part in either.parts] == [(False, "12"), (True, "Lille")]
    assert neither.holds
    assert neither.parts[0].value == "text message"
    assert home.told == "home store Lille Centre"


# Control groups ------------------------------------------------------------------------------------------------------


def test_the_draw_is_the_same_each_time_and_close_to_its_share():
    people = [UUID(int=n * 7919) for n in range(4000)]
    arms = [arm_of("a salt", person, 20) for person in people]
    assert arms == [arm_of("a salt", person, 20) for person in people]
    assert 0.18 < arms.count(CONTROL) / len(arms) < 0.22
    assert arms != [arm_of("another salt", person, 20) for person in people]
    assert {arm_of("s", person, 0) for person in people} == {TREATED}


def test_a_larger_control_group_keeps_those_already_in_it():
    people = [UUID(int=n * 104729) for n in range(500)]
    small = {person for person in people if arm_of("salt", person, 10) == CONTROL}
    assert small < {person for person in people if arm_of("salt", person, 30) == CONTROL}


def test_two_profiles_found_to_be_one_person_are_control_if_either_was(campaign, lille, alice):
    people = crowd(20, lille)
    freeze(campaign, alice)
    arms = dict(Recipient.objects.values_list("profile", "arm"))
    treated = next(person for person in people if arms[person.pk] == TREATED)
    control = next(person for person in people if arms[person.pk] == CONTROL)
    factories.merge_into(treated, control)
    assert treated in people_of(campaign, CONTROL)
    assert treated not in people_of(campaign, TREATED)
    assert people_of(campaign, CONTROL).count() + people_of(campaign, TREATED).count() == 19


# Freezing ------------------------------------------------------------------------------------------------------------


def test_the_audience_is_frozen_once(campaign, lille, lyon, alice):
    people = crowd(20, lille)
    factories.ticket(people[0], lyon, date(2025, 1, 16))
    factories.person(lille, email="never-asked@exemple.fr")
    frozen = freeze(campaign, alice)
    drawn = set(Recipient.objects.values_list("profile", "arm", "home_store"))
    assert frozen.segment_version.number == 1
    assert {profile for profile, _arm, _store in drawn} == {person.pk for person in people}
    assert (people[0].pk, arm_of(campaign.salt, people[0].public_id, 30), lyon.pk) in drawn
    crowd(1, lille, last_name="late")
    assert freeze(campaign, alice).frozen_at == frozen.frozen_at
    assert set(Recipient.objects.values_list("profile", "arm", "home_store")) == drawn
    assert AuditEvent.objects.filter(verb="freeze").count() == 1


@pytest.mark.parametrize("lacking", [{"goal": ""}, {"goal_uplift": 0}, {"goal_days": 0}])
def test_a_campaign_without_a_goal_is_refused(campaign, lille, alice, lacking):
    crowd(2, lille)
    Campaign.objects.filter(pk=campaign.pk).update(**lacking)
    with pytest.raises(CampaignNotReady):
        freeze(campaign, alice)
    assert not Recipient.objects.exists()


def test_a_campaign_that_reaches_nobody_is_refused(campaign, lille, alice):
    factories.person(lille, email="never-asked@exemple.fr")
    with pytest.raises(CampaignNotReady, match="Nobody"):
        freeze(campaign, alice)


# Exports -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def frozen(campaign, lille, alice):
    """A dozen, four of whom the draw holds back."""
    factories.draw(campaign, crowd(12, lille), held_back=4)
    return freeze(campaign, alice)


@pytest.fixture
def exported(frozen, alice, media, django_capture_on_commit_callbacks):
    def make(format_code="brevo"):
        with django_capture_on_commit_callbacks(execute=True):
            asked = export(frozen, format_code, alice, "summer letter")
        asked.refresh_from_db()
        return asked

    return make


def read_file(made, delimiter=";"):
    text = writer.path_of(made).read_text("utf-8")
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))


def test_a_brevo_file_holds_the_addressed_people_and_nobody_else(frozen, exported, lille):
    made = exported()
    rows = read_file(made)
    treated = people_of(frozen, TREATED)
    assert list(rows[0]) == ["EMAIL", "SMS", "EXT_ID", "PRENOM", "NOM", "MAGASIN"]
    assert {row["EXT_ID"] for row in rows} == {str(person.public_id) for person in treated}
    assert {row["EMAIL"] for row in rows} == {person.email for person in treated}
    assert {row["SMS"] for row in rows} == {""}  # nobody allowed text messages
    assert {row["MAGASIN"] for row in rows} == {"ACM-001"}


def test_the_record_of_a_file_tells_what_left(frozen, exported, alice, media):
    made = exported()
    path = writer.path_of(made)
    assert path.parent == media / "acme" / "exports"
    assert made.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert made.rows == len(read_file(made)) == made.job.result["rows"]
    assert made.job.state == Job.State.DONE
    assert not list(path.parent.glob("*.part"))
    event = AuditEvent.objects.get(verb="export")
    assert (event.actor, event.reason, event.detail["rows"]) == (str(alice), "summer letter", made.rows)


def test_consent_is_read_again_when_the_file_is_written(frozen, exported):
    gone, blank = people_of(frozen, TREATED).order_by("pk")[:2]
    factories.tell_consent(gone, "email", granted=False, at=timezone.now() + timedelta(seconds=1))
    Profile.objects.filter(pk=blank.pk).update(email="")
    made = exported()
    assert not {str(gone.public_id), str(blank.public_id)} & {row["EXT_ID"] for row in read_file(made)}
    assert made.job.result["withheld"] == {"no_consent": 1, "no_address": 1}


def test_a_merged_profile_never_leaves(frozen, exported):
    kept, merged = people_of(frozen, TREATED).order_by("pk")[:2]
    factories.merge_into(kept, merged)
    ids = [row["EXT_ID"] for row in read_file(exported())]
    assert str(merged.public_id) not in ids
    assert ids.count(str(kept.public_id)) == 1


def test_a_second_run_of_the_task_changes_nothing(exported):
    made = exported()
    assert writer.write(made).sha256 == made.sha256
    assert AuditEvent.objects.filter(verb="export").count() == 1


def test_a_failure_is_told_and_leaves_no_file(frozen, alice, media, monkeypatch):
    asked = export(frozen, "brevo", alice, "summer letter")

    def broken(*_args):
        raise OSError("disk full")

    monkeypatch.setattr(writer, "_as_csv", broken)
    with pytest.raises(OSError, match="disk full"):
        writer.write(asked)
    assert asked.job.state == Job.State.FAILED
    assert "disk full" in asked.job.error
    assert not list(writer.folder().iterdir())


@pytest.mark.parametrize(
    "cell",
    ["=1+1", "+33612345678", "-2", "@SUM(A1)", "\tx", "\rx", "\nx", "\0=1", "＝1+1", "＋1", "－1", "＠A1"],
)
def test_a_cell_for_people_is_never_a_formula(cell):
    assert guarded(cell) == f"'{cell}"


def test_the_guard_is_for_people_and_not_for_machines(exported):
    Profile.objects.update(last_name="=cmd|' /C calc'!A0")
    assert {row["last_name"] for row in read_file(exported("plain_csv"), ",")} == {"'=cmd|' /C calc'!A0"}
    assert {row["NOM"] for row in read_file(exported("brevo"))} == {"=cmd|' /C calc'!A0"}
    assert not FORMATS["brevo"].for_people


def test_an_export_is_refused_without_audience_purpose_or_format(campaign, frozen, alice):
    with pytest.raises(ExportRefused):
        export(campaign, "brevo", alice, "not frozen: this object was read before")
    with pytest.raises(ExportRefused, match="what the file is for"):
        export(frozen, "brevo", alice, "  ")
    with pytest.raises(ExportRefused, match="pigeon"):
        export(frozen, "pigeon", alice, "summer letter")


# Results -------------------------------------------------------------------------------------------------------------


def test_lift_of_the_worked_example():
    found = lift.of_rates(9000, 720, 1000, 60)
    assert round(found.difference, 2) == 2.00
    assert (round(found.low, 2), round(found.high, 2)) == (0.42, 3.58)
    assert lift.verdict(found, 2.0, 1000) == "met"
    assert lift.verdict(found, 2.5, 1000) == "not_met"


def test_an_interval_that_contains_nothing_concludes_nothing():
    found = lift.of_rates(900, 72, 100, 6)
    assert found.low < 0 < found.high
    assert lift.verdict(found, 2.0, 100) == "inconclusive"
    assert lift.verdict(lift.of_rates(10, 10, 10, 0), 2.0, 10) == "inconclusive"
    assert lift.verdict(lift.of_rates(10, 1, 0, 0), 2.0, 0) == "no_control"


def test_lift_of_amounts():
    first, second = [10.0, 20.0, 30.0], [10.0, 12.0, 14.0, 16.0]
    spreads = [lift.Spread(len(xs), sum(xs), sum(x * x for x in xs)) for xs in (first, second)]
    found = lift.of_amounts(*spreads)
    assert found.difference == pytest.approx(7.0)
    # √(100/3 + (20/3)/4), by hand
    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * 5.9160798, rel=1e-6)


def test_results_count_buyers_within_the_window_only(frozen, lille):
    treated = list(people_of(frozen, TREATED))
    control = list(people_of(frozen, CONTROL))
    start = frozen.frozen_at
    factories.ticket(treated[0], lille, start.date(), at=start + timedelta(hours=1))
    factories.ticket(treated[0], lille, start.date(), at=start + timedelta(hours=2))
    factories.ticket(treated[1], lille, start.date(), at=start - timedelta(hours=1))
    factories.ticket(treated[1], lille, start.date(), at=start + timedelta(days=30))
    bought = factories.ticket(control[0], lille, start.date(), at=start + timedelta(days=29))
    factories.refund(bought.lines.get(), 400)
    found = attribution.results(frozen)
    assert (found.treated.people, found.treated.buyers) == (len(treated), 1)
    assert (found.control.people, found.control.buyers) == (len(control), 1)
    assert found.treated.spend.total == 2000
    assert found.control.spend.total == 600
    assert not found.closed
    assert found.verdict == "inconclusive"


def test_a_store_sees_the_results_of_its_own_recipients(frozen, lille, lyon):
    factories.ticket(people_of(frozen, TREATED)[0], lille, frozen.frozen_at.date(), at=frozen.frozen_at)
    with scoped_to(Scope.of([lyon.pk])):
        assert attribution.results(frozen).treated.people == 0
    with scoped_to(Scope.of([lille.pk])):
        assert attribution.results(frozen).treated.buyers == 1
