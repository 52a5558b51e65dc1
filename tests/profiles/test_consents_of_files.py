"""Consents that files tell: words that nobody knows, proof of a yes, refusals that no file overturns."""

import io
import re
import shutil
from datetime import date

import pytest
from django.core.management import CommandError, call_command

from profiles import consent
from profiles.imports import report, run
from profiles.imports.columns import Proof
from profiles.imports.mapping import WrongMapping
from profiles.models import ConsentChange, ImportRun, Profile, Source, SourceRecord

WORDS = "Je veux recevoir les offres par e-mail – formulaire du salon"
ODD = (
    "Identifiant;Nom;E-mail;Newsletter;Texte accord;Date accord\n"
    "1;Durand;a@acme.example;ouais;J'accepte;03/02/2024\n"
    "2;Petit;b@acme.example;Bof;J'accepte;03/02/2024\n"
    "3;Leroy;c@acme.example;OUAIS;J'accepte;03/02/2024\n"
    "4;Moreau;d@acme.example;;;\n"
    "5;Blanc;e@acme.example;oui;J'accepte;03/02/2024\n"
)
UNPROVEN = (
    "Identifiant;Nom;E-mail;Accord e-mail;Accord SMS;Accord courrier;Date accord\n"
    "1;Durand;a@acme.example;oui;oui;oui;03/02/2024\n"
    "2;Petit;b@acme.example;oui;non;;03/02/2024\n"
    "3;Leroy;c@acme.example;non;;oui;\n"
)


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


@pytest.fixture
def crm(brand):
    return Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM)


@pytest.fixture
def write(tmp_path):
    def make(content: str, name: str = "clients.csv"):
        path = tmp_path / name
        path.write_text(content)
        return path

    return make


@pytest.fixture
def pages(client_of, alice):
    return client_of(alice)


def taken_in(path, source, **options) -> ImportRun:
    return run.run(run.begin(path, source, None, path.name, **options), path)


def told() -> dict[tuple[str, str], bool]:
    """(id at the source, channel) -> what was noted."""
    changes = ConsentChange.objects.select_related("record")
    return {(change.record.external_id, change.channel): change.granted for change in changes}


def mapping_page(pages, path, source):
    with path.open("rb") as file:
        return pages.get(
            pages.post("/profiles/importrun/add/", {"file": file, "source": source.pk})["Location"]
        )


def filled(page, **words) -> dict[str, str]:
    """The form as the page shows it, with a meaning for each of these words."""
    form = page.context["form"]
    sent = {name: form[name].value() for name in form.fields}
    sent |= {name: words[word] for _column, word, _number, name in form.words if word in words}
    return {name: "" if value is None else value for name, value in sent.items() if value is not False}


# --- Odd words -------------------------------------------------------------------------------------------------------


def test_a_column_of_odd_words_is_a_consent_all_the_same_and_the_words_are_told(write, crm):
    plan = run.prepare(write(ODD), crm)
    assert plan.mapping["Newsletter"] == "consent_email"
    (problem,) = plan.problems
    assert "«ouais»" in problem.message
    assert not problem.stops
    odd = run.odd_words(write(ODD), plan.dialect, plan.mapping)
    assert odd == {"Newsletter": {"ouais": 2, "bof": 1}}


def test_a_row_with_an_unanswered_word_is_refused(write, crm):
    done = taken_in(write(ODD), crm)
    assert list(done.rejects.values_list("line", "column")) == [
        (2, "Newsletter"),
        (3, "Newsletter"),
        (4, "Newsletter"),
    ]
    assert done.forecast["odd_words"] == {"Newsletter": {"ouais": 2, "bof": 1}}
    assert told() == {("5", "email"): True}


def test_answers_are_kept_used_and_remembered_for_the_next_file(write, crm):
    answers = {"Newsletter": {"ouais": True, "bof": None}}
    done = taken_in(write(ODD), crm, answers=answers)
    assert (done.rejected, done.answers) == (0, answers)
    assert told() == {("1", "email"): True, ("3", "email"): True, ("5", "email"): True}
    later = write(
        ODD.replace("4;Moreau;d@acme.example;;;", "4;Moreau;d@acme.example;ouais;J'accepte;04/02/2024"),
        "b.csv",
    )
    again = taken_in(later, crm)  # as a watched folder begins it
    assert (again.answers, again.unchanged, again.created, again.rejected) == (answers, 4, 1, 0)
    assert told()["4", "email"] is True


def test_a_new_answer_changes_no_other_row(write, crm):
    taken_in(write(ODD), crm, answers={"Newsletter": {"ouais": True}})
    again = taken_in(write(ODD), crm, answers={"Newsletter": {"ouais": True, "bof": False}})
    assert (again.unchanged, again.created) == (4, 1)
    other = taken_in(write(ODD), crm, answers={"Newsletter": {"ouais": False, "bof": False}})
    assert (other.unchanged, other.created) == (3, 2)
    assert not consent.may_contact(SourceRecord.objects.filter(external_id="1").first().profile, "email")


def test_an_answer_for_signs_says_nothing_about_empty_cells(write, crm):
    file = "Identifiant;Nom;Newsletter;Texte accord\n1;Durand;???;J'accepte\n2;Petit;;J'accepte\n"
    mapping = run.prepare(write(file), crm).mapping | {"Newsletter": "consent_email"}
    taken_in(write(file), crm, mapping=mapping, answers={"Newsletter": {"???": True}})
    assert told() == {("1", "email"): True}


def test_an_answer_for_a_column_without_consents_is_refused(write, crm):
    with pytest.raises(WrongMapping):
        run.prepare(write(ODD), crm, answers={"Nom": {"ouais": True}})


def test_the_page_asks_what_each_word_means(pages, write, crm, django_capture_on_commit_callbacks):
    page = mapping_page(pages, write(ODD), crm)
    asked = [(column, word, number) for column, word, number, _name in page.context["form"].words]
    assert asked == [("Newsletter", "ouais", 2), ("Newsletter", "bof", 1)]
    assert "every row with one of them is refused" in page.content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        pages.post(page.wsgi_request.get_full_path(), filled(page, ouais="yes", bof="no") | {"run": "1"})
    done = ImportRun.objects.get()
    assert done.answers == {"Newsletter": {"ouais": True, "bof": False}}
    assert told()["2", "email"] is False
    report_page = pages.get(f"/profiles/importrun/{done.pk}/change/").content.decode()
    assert "Newsletter «bof»" in report_page


def test_a_column_made_a_consent_by_hand_is_asked_about_before_anything_begins(pages, write, crm):
    file = "Identifiant;Nom;X12\n1;Durand;ouais\n2;Petit;bof\n"
    page = mapping_page(pages, write(file), crm)
    assert page.context["form"].words == []
    sent = filled(page) | {"column_2": "consent_sms", "check": "1"}
    asked = pages.post(page.wsgi_request.get_full_path(), sent)
    assert [word for _column, word, _number, _name in asked.context["form"].words] == ["bof", "ouais"] or [
        word for _column, word, _number, _name in asked.context["form"].words
    ] == ["ouais", "bof"]
    assert not ImportRun.objects.exists()
    begun = pages.post(page.wsgi_request.get_full_path(), filled(asked) | {"check": "1"})
    assert begun.status_code == 302
    assert ImportRun.objects.get().answers == {}


def test_words_that_only_the_check_has_met_are_asked_when_the_columns_are_corrected(
    pages, write, crm, monkeypatch
):
    monkeypatch.setattr(run, "WORDS_LOOKED_AT", 1)
    path = write(ODD)
    checked = run.run(run.begin(path, crm, None, "c.csv", awaits_word=True), path)
    report_page = pages.get(f"/profiles/importrun/{checked.pk}/change/").content.decode()
    back = re.search(r'href="([^"]*mapping/[^"]*)"', report_page)[1].replace("&amp;", "&")
    asked = {(word, number) for _column, word, number, _name in pages.get(back).context["form"].words}
    assert asked == {("ouais", 2), ("bof", 1)}


def test_the_command_takes_answers_wording_and_day(write, crm):
    options = {"brand": "acme", "source": "crm"}
    with pytest.raises(CommandError):
        call_command("import_file", str(write(ODD)), answer=["Newsletter:ouais=maybe"], **options)
    call_command(
        "import_file", str(write(ODD)), answer=["Newsletter:Ouais=yes", "Newsletter:bof=nothing"], **options
    )
    assert ImportRun.objects.get().rejected == 0
    no_words = write(UNPROVEN, "b.csv")
    call_command("import_file", str(no_words), wording=WORDS, agreed_on="2024-03-01", **options)
    assert ImportRun.objects.latest("pk").proof_on == date(2024, 3, 1)


# --- Proof -----------------------------------------------------------------------------------------------------------


def test_a_yes_without_proof_is_left_out_and_counted_and_a_no_is_taken(write, crm, pages):
    path = write(UNPROVEN)
    assert any("left out for" in problem.message for problem in run.prepare(path, crm).problems)
    checked = run.run(run.begin(path, crm, None, "c.csv", awaits_word=True), path)
    assert checked.forecast["unproven"] == {"email": 2, "sms": 1}
    assert (
        "3 yes left out: no proof" in pages.get(f"/profiles/importrun/{checked.pk}/change/").content.decode()
    )
    run.go_on(checked, None)
    done = run.run(checked, path)
    # Letters may be sent until somebody objects: a yes to them is none that has to be proven.
    assert told() == {("1", "post"): True, ("2", "sms"): False, ("3", "email"): False, ("3", "post"): True}
    assert "3 yes left out: no proof" in pages.get(f"/profiles/importrun/{done.pk}/change/").content.decode()
    person = Profile.objects.get(records__external_id="1")
    assert (consent.may_contact(person, "email"), person.facts.email_allowed) == (False, False)


def test_words_given_for_the_whole_file_prove_the_rows_that_have_a_date(write, crm):
    path = write(UNPROVEN.replace(";03/02/2024\n2;", ";\n2;"))
    done = taken_in(path, crm, proof=Proof(WORDS))
    assert done.forecast["unproven"] == {"email": 1, "sms": 1}  # the first row says no day
    assert told()["2", "email"] is True
    assert ConsentChange.objects.get(record__external_id="2", channel="email").wording == WORDS
    again = taken_in(path, crm, proof=Proof(WORDS, date(2024, 3, 1)))
    assert (again.forecast["unproven"], again.created, again.unchanged) == ({}, 2, 1)
    proven = ConsentChange.objects.get(record__external_id="1", channel="email")
    assert (proven.wording, proven.at.date()) == (WORDS, date(2024, 3, 1))


def test_a_row_keeps_its_own_words(write, crm):
    taken_in(write(ODD), crm, answers={"Newsletter": {"ouais": True, "bof": None}}, proof=Proof(WORDS))
    assert set(ConsentChange.objects.values_list("wording", flat=True)) == {"J'accepte"}


def test_the_page_takes_the_words_for_the_whole_file(pages, write, crm, django_capture_on_commit_callbacks):
    page = mapping_page(pages, write(UNPROVEN), crm)
    address = page.wsgi_request.get_full_path()
    future = pages.post(address, filled(page) | {"proof_on": "2099-01-01", "check": "1"})
    assert list(future.context["form"].errors) == ["proof_on"]
    proof = {"proof_wording": WORDS, "proof_on": "2024-03-01", "run": "1"}
    with django_capture_on_commit_callbacks(execute=True):
        pages.post(address, filled(page) | proof)
    assert told()["1", "sms"] is True
    assert WORDS in pages.get(f"/profiles/importrun/{ImportRun.objects.get().pk}/change/").content.decode()
    later = mapping_page(pages, write(UNPROVEN + "4;Noir;f@acme.example;oui;;;04/02/2024\n", "b.csv"), crm)
    assert later.context["form"]["proof_wording"].value() == WORDS
    assert later.context["form"]["proof_on"].value() is None


def test_words_are_asked_before_a_yes_is_left_out(pages, write, crm):
    file = "Identifiant;Nom;X12\n1;Durand;oui\n"
    page = mapping_page(pages, write(file), crm)
    sent = filled(page) | {"column_2": "consent_email", "check": "1"}
    asked = pages.post(page.wsgi_request.get_full_path(), sent)
    assert asked.context["form"].non_field_errors()
    assert pages.post(page.wsgi_request.get_full_path(), filled(asked) | {"check": "1"}).status_code == 302


def test_no_file_overturns_a_refusal_told_later_nor_one_told_to_us(write, crm):
    file = "Identifiant;Nom;E-mail;Newsletter;Texte accord;Date accord\n1;Durand;a@acme.example;{};J'accepte;{}\n"
    taken_in(write(file.format("non", "05/02/2024")), crm)
    person = Profile.objects.get()
    taken_in(write(file.format("oui", "03/02/2024"), "older.csv"), crm)
    assert not consent.may_contact(person, "email")
    taken_in(write(file.format("oui", "06/02/2024"), "newer.csv"), crm)
    assert consent.may_contact(person, "email")
    consent.withdraw(person, "email", actor="Alice")
    taken_in(write(file.format("oui", ""), "undated.csv"), crm)
    taken_in(write(file.format("oui", "01/01/2025"), "late.csv"), crm)
    assert not consent.may_contact(person, "email")
    assert not Profile.objects.get().facts.email_allowed


# --- Ids of content --------------------------------------------------------------------------------------------------


def test_a_file_without_ids_is_taken_in_by_its_content_and_recognised_again(write, crm):
    file = "Nom;E-mail\nDurand;a@acme.example\nPetit;b@acme.example\n"
    with pytest.raises(run.CannotImport):
        taken_in(write(file), crm)
    done = taken_in(write(file), crm, ids_of_content=True)
    assert (done.created, done.ids_of_content) == (2, True)
    errors = write(
        file.replace("E-mail\n", "E-mail;ligne;erreur\n").replace("example\n", "example;2;x\n"), "e.csv"
    )
    assert taken_in(errors, crm).forecast["new"] == 0
    assert SourceRecord.objects.values("external_id").distinct().count() == 2
    assert taken_in(write(file), crm).unchanged == 2


def test_the_error_file_keeps_the_order_and_the_whole_line_of_a_row_that_does_not_fit(
    write, crm, settings, pages
):
    done = taken_in(write("Identifiant;Nom;Prénom\n1;Durand;Anne\n2;Petit;Paul;de trop;encore\n"), crm)
    shutil.rmtree(settings.MEDIA_ROOT)
    stream = io.StringIO()
    report.write_errors(done, stream)
    header, row = stream.getvalue().splitlines()
    assert header == "Identifiant;Nom;Prénom;ligne;erreur"
    assert "2;Petit;Paul;de trop;encore" in row
    assert (
        "2;Petit;Paul;de trop;encore" in pages.get(f"/profiles/importrun/{done.pk}/change/").content.decode()
    )
