"""Files as shops really send them: charsets, delimiters, broken rows, double deliveries, killed workers."""

import csv
import errno
import io
import re

import pytest
from django.core.management import CommandError, call_command
from kombu.exceptions import OperationalError

from profiles import merging, tasks
from profiles.imports import files, report, run
from profiles.imports.mapping import WrongMapping
from profiles.imports.staging import Stage
from profiles.intake import Statement, take_in_records
from profiles.models import ConsentChange, ImportRun, Profile, RejectedRow, Source, SourceRecord
from tenants.network.models import AuditEvent, Job


@pytest.fixture
def write(tmp_path):
    """`write("a;b\\n1;2\\n", "cp1252")`: the path of a file with this content."""

    def make(content: str | bytes, charset: str = "utf-8", name: str = "clients.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(charset))
        return path

    return make


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


@pytest.fixture
def crm(brand):
    return Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM)


# --- Taken in --------------------------------------------------------------------------------------------------------

CLIENTS = (
    "Identifiant;Nom;Prénom;E-mail;Accord e-mail;Texte de l'accord;Date d'inscription;Commentaire\n"
    "1;Lefèvre;Hélène;helene@acme.example;oui;J'accepte;03/02/2024;=1+1\n"
    "2;Noël;Zoë;zoe@acme.example;N;J'accepte;04/02/2024;\n"
    "3;Petit;Paul;pasunemail;;;05/02/2024;\n"
    "4;Sans;Date;sd@acme.example;;;31/02/2024;=cmd()\n"
    "5;Court\n"
)


def taken_in(path, source, **options) -> ImportRun:
    """The file taken in from beginning to end, in this process."""
    return run.run(run.begin(path, source, None, path.name, **options), path)


def counts(import_run) -> list[int]:
    return [getattr(import_run, word) for word in ("received", *run.VERDICTS)]


def test_numbers_reconcile_and_rejects_name_line_and_column(write, crm):
    done = taken_in(write(CLIENTS), crm)
    assert counts(done) == [5, 2, 1, 0, 2]
    assert done.finished_at
    assert list(done.rejects.values_list("line", "column")) == [(5, "Date d'inscription"), (6, "")]
    assert run.numbers(done)["received"] == 5
    assert done.job.state == Job.State.DONE
    assert done.job.result["rejected"] == 2


def test_rows_become_records_with_consents_dated_by_the_row(write, crm):
    taken_in(write(CLIENTS), crm)
    helene = SourceRecord.objects.get(external_id="1")
    assert (helene.first_name, helene.email, helene.line) == ("Hélène", "helene@acme.example", 2)
    assert helene.raw["Commentaire"] == "=1+1"
    changes = ConsentChange.objects.order_by("record__external_id")
    assert [(change.channel, change.granted) for change in changes] == [("email", True), ("email", False)]
    assert changes[0].at.isoformat() == "2024-02-02T23:00:00+00:00"
    assert changes[0].wording == "J'accepte"


def test_the_same_file_twice_changes_nothing(write, crm):
    path = write(CLIENTS)
    taken_in(path, crm)
    before = SourceRecord.objects.count(), Profile.objects.count(), ConsentChange.objects.count()
    again = taken_in(path, crm)
    assert counts(again) == [5, 0, 0, 3, 2]
    assert (SourceRecord.objects.count(), Profile.objects.count(), ConsentChange.objects.count()) == before


@pytest.fixture
def many(write, monkeypatch):
    """A file of 25 rows, two of them broken, taken in by chunks of ten."""
    monkeypatch.setattr(run, "CHUNK", 10)
    lines = [f"{n};Nom{chr(97 + n % 26)};Jean;client{n}@acme.example" for n in range(1, 26)]
    lines[3] = lines[16] = "x;y"
    return write("Identifiant;Nom;Prénom;E-mail\n" + "\n".join(lines) + "\n")


class PowerCut(RuntimeError):
    pass


def cut_in_second_chunk(monkeypatch):
    taken = []
    original = run.intake.take_in

    def take_in(*args, **options):
        outcomes = original(*args, **options)
        taken.append(1)
        if len(taken) == 2:
            raise PowerCut
        return outcomes

    monkeypatch.setattr(run.intake, "take_in", take_in)


def test_a_killed_import_resumes_to_the_same_numbers(many, crm, monkeypatch):
    with monkeypatch.context() as cut:
        cut_in_second_chunk(cut)
        with pytest.raises(PowerCut):
            taken_in(many, crm)
    stopped = ImportRun.objects.get()
    assert counts(stopped) == [10, 9, 0, 0, 1]
    assert stopped.job.state == Job.State.FAILED
    resumed = taken_in(many, crm)
    assert resumed.pk == stopped.pk
    assert counts(resumed) == [25, 23, 0, 0, 2]
    assert list(resumed.rejects.values_list("line", flat=True)) == [5, 18]
    assert SourceRecord.objects.count() == 23


def test_two_workers_do_not_count_a_chunk_twice(many, crm):
    first = run.begin(many, crm, None, "clients.csv", awaits_word=True)
    run.run(first, many)
    run.go_on(first, None)
    late = ImportRun.objects.get(pk=first.pk)
    one = run._take_in_chunk(late, Stage(late))
    with pytest.raises(run.TakenOver):
        run._take_in_chunk(late, Stage(late))
    assert one.received == 10
    assert counts(run.run(first, many)) == [25, 23, 0, 0, 2]
    assert counts(run.run(late, many)) == [25, 23, 0, 0, 2]


def test_progress_is_told_after_each_chunk(many, crm):
    told = []
    run.run(run.begin(many, crm, None, "c.csv"), many, report=lambda done, total: told.append((done, total)))
    assert told == [(25, 25), (10, 25), (20, 25), (25, 25)]  # checked, then taken in


def test_a_check_tells_and_leaves_nothing(write, crm):
    path = write(CLIENTS)
    checked = run.run(run.begin(path, crm, None, "c.csv", awaits_word=True), path)
    assert (checked.state, checked.received) == ("checked", 0)
    told = checked.forecast
    assert [told[word] for word in ("received", *run.VERDICTS)] == [5, 2, 1, 0, 2]
    assert (told["new"], told["updated"]) == (3, 0)
    assert [(line, column) for line, column, _reason in told["samples"]["rejected"]] == [
        (5, "Date d'inscription"), (6, ""),
    ]  # fmt: skip
    assert ["Date d'inscription", "«…» n’est pas une date", 1, [["31/02/2024", 1]]] in told["reasons"][
        "rejected"
    ]
    assert not SourceRecord.objects.exists()
    run.discard(checked)
    assert Stage(checked).count() is None
    assert not ImportRun.objects.exists()
    assert not SourceRecord.objects.exists()
    assert not Profile.objects.exists()


def test_the_error_file_holds_the_rows_as_they_came_and_can_be_taken_in_once_mended(write, crm):
    done = taken_in(write(CLIENTS, "cp1252"), crm)
    stream = io.StringIO()
    assert report.write_errors(done, stream) == 2
    header, no_date, too_short = csv.reader(io.StringIO(stream.getvalue()), delimiter=";")
    assert header == [
        "Identifiant", "Nom", "Prénom", "E-mail", "Accord e-mail", "Texte de l'accord", "Date d'inscription",
        "Commentaire", "ligne", "erreur",
    ]  # fmt: skip
    assert no_date[:7] == ["4", "Sans", "Date", "sd@acme.example", "", "", "31/02/2024"]
    assert no_date[7] == "'=cmd()"
    assert no_date[8] == "5"
    assert no_date[9].startswith("Date d'inscription: ")
    assert (too_short[:3], too_short[8]) == (["5", "Court", ""], "6")
    mended = write(stream.getvalue().replace("31/02/2024", "29/02/2024"), name="mended.csv")
    assert counts(taken_in(mended, crm))[:2] == [2, 2]


def test_the_mapping_of_the_last_file_is_remembered(write, crm):
    path = write("ref;qui;quoi\n1;Alice Martin;x\n")
    chosen = {"ref": "external_id", "qui": "full_name", "quoi": "consent_email"}
    taken_in(path, crm, mapping=chosen)
    assert run.prepare(write("ref;qui;quoi\n2;Bruno Caron;x\n"), crm).mapping == chosen
    assert SourceRecord.objects.get().last_name == "Martin"


def test_a_file_that_names_nobody_does_not_start(write, crm):
    with pytest.raises(run.CannotImport):
        run.begin(write("couleur;taille\nbleu;42\n"), crm, None, "x.csv")
    with pytest.raises(WrongMapping):
        run.prepare(write("id;nom\n1;a\n"), crm, mapping={"id": "last_name", "nom": "last_name"})
    assert not ImportRun.objects.exists()


def test_ids_too_long_for_a_source_are_refused_not_cut(write, crm):
    done = taken_in(write(f"id;nom\n{'9' * 90};Martin\n2;Caron\n"), crm)
    assert counts(done) == [2, 1, 0, 0, 1]
    assert RejectedRow.objects.get().column == "id"


def test_header_alone_is_an_import_of_nothing(write, crm):
    done = taken_in(write("id;nom\n"), crm)
    assert counts(done) == [0, 0, 0, 0, 0]
    assert done.finished_at


def test_a_worker_takes_in_what_was_started(write, crm, alice, django_capture_on_commit_callbacks):
    path = write(CLIENTS)
    with django_capture_on_commit_callbacks(execute=True):
        started = run.start(path, crm, alice, "../clients.csv")
        path.unlink()
    done = ImportRun.objects.get(pk=started.pk)
    assert (done.file_name, done.job.asked_by) == ("clients.csv", alice)
    assert counts(done) == [5, 2, 1, 0, 2]


def test_a_check_does_not_touch_an_import_under_way(many, crm, monkeypatch, capsys):
    with monkeypatch.context() as cut:
        cut_in_second_chunk(cut)
        with pytest.raises(PowerCut):
            taken_in(many, crm)
    with pytest.raises(run.NotNow):
        run.begin(many, crm, None, "c.csv", awaits_word=True)
    with pytest.raises(CommandError):
        call_command("import_file", str(many), "--dry-run", brand="acme", source="crm")
    assert counts(ImportRun.objects.get()) == [10, 9, 0, 0, 1]


def test_a_call_off_before_the_last_word_of_a_check_is_heard(write, crm):
    path = write(CLIENTS)
    begun = run.begin(path, crm, None, "c.csv")
    stopped = run.run(begun, path, report=lambda done, total: run.cancel(ImportRun.objects.get(), None))
    assert (stopped.state, stopped.job.state, Stage(stopped).count()) == ("cancelled", "cancelled", None)
    assert not SourceRecord.objects.exists()


def test_a_call_off_while_the_forecast_is_made_is_heard(write, crm, monkeypatch):
    forecast = Stage.forecast

    def called_off_meanwhile(stage):
        run.cancel(ImportRun.objects.get(), None)
        return forecast(stage)

    monkeypatch.setattr(Stage, "forecast", called_off_meanwhile)
    path = write(CLIENTS)
    stopped = run.run(run.begin(path, crm, None, "c.csv"), path)
    assert (stopped.state, stopped.job.state) == ("cancelled", "cancelled")
    assert not SourceRecord.objects.exists()


def test_what_is_known_to_the_letter_is_not_corrected_again(write, crm):
    taken_in(write(CLIENTS), crm)
    path = write(CLIENTS, name="again.csv")
    told = run.run(run.begin(path, crm, None, "again.csv", awaits_word=True), path).forecast
    assert (told["unchanged"], told["corrected"], told["reasons"]["corrected"]) == (3, 0, [])


def test_an_import_waits_for_a_broker_that_is_away(
    write, crm, alice, monkeypatch, django_capture_on_commit_callbacks
):
    def away(*_told):
        raise OperationalError("no broker answers")

    with monkeypatch.context() as patch:
        patch.setattr(tasks.import_file, "delay", away)
        with django_capture_on_commit_callbacks(execute=True):
            waiting = run.start(write(CLIENTS), crm, alice, "clients.csv")
    assert (waiting.state, waiting.job.state) == ("checking", Job.State.WAITING)
    assert tasks.carry_on_imports() == 1
    assert counts(ImportRun.objects.get()) == [5, 2, 1, 0, 2]
    assert tasks.carry_on_imports() == 0


# --- The command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_the_numbers(write, crm, capsys):
    call_command("import_file", str(write(CLIENTS)), brand="acme", source="crm")
    printed = capsys.readouterr().out
    assert "5" in printed
    assert counts(ImportRun.objects.get()) == [5, 2, 1, 0, 2]


def test_a_dry_run_of_the_command_leaves_nothing(write, crm, capsys):
    call_command("import_file", str(write(CLIENTS)), "--dry-run", brand="acme", source="crm")
    assert "Date d'inscription" in capsys.readouterr().out
    assert not ImportRun.objects.exists()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"brand": "nobody", "source": "crm"}, 2),
        ({"brand": "acme", "source": "nothing"}, 2),
        ({"brand": "acme", "source": "crm", "mapping": ["Nom=colour"]}, 2),
        ({"brand": "acme", "source": "crm", "mapping": ["Nom"]}, 2),
        ({"brand": "acme", "source": "crm", "mapping": ["Identifiant=ignore"]}, 2),
    ],
)
def test_wrong_usage_is_exit_code_two(write, crm, options, code):
    with pytest.raises(CommandError) as error:
        call_command("import_file", str(write(CLIENTS)), **options)
    assert error.value.returncode == code


def test_everything_rejected_is_exit_code_one(write, crm):
    with pytest.raises(CommandError) as error:
        call_command("import_file", str(write("id;nom;prenom\n1;a\n2;b\n")), brand="acme", source="crm")
    assert error.value.returncode == 1


def test_a_mapping_by_hand_wins(write, crm):
    call_command("import_file", str(write(CLIENTS)), brand="acme", source="crm", mapping=["Nom=ignore"])
    assert SourceRecord.objects.get(external_id="1").last_name == ""


# --- Head office -----------------------------------------------------------------------------------------------------


@pytest.fixture
def pages(client_of, alice):
    return client_of(alice)


def upload(client, path, source):
    with path.open("rb") as file:
        return client.post("/profiles/importrun/add/", {"file": file, "source": source.pk})


def choices(page) -> dict[str, str]:
    """What the selects of the mapping page hold, as a form would send it."""
    form = page.context["form"]
    sent = {name: form[name].value() for name in form.fields}
    return {name: "" if value is None else value for name, value in sent.items() if value is not False}


def test_from_upload_to_report(pages, write, crm, django_capture_on_commit_callbacks):
    assert pages.get("/profiles/importrun/add/").status_code == 200
    mapping_page = pages.get(upload(pages, write(CLIENTS, "cp1252"), crm)["Location"])
    assert "Lefèvre" in mapping_page.content.decode()
    address, chosen = mapping_page.wsgi_request.get_full_path(), choices(mapping_page)

    with django_capture_on_commit_callbacks(execute=True):
        started = pages.post(address, chosen | {"check": "1"})
    checked = pages.get(started["Location"])
    assert checked.context["forecast"]["received"] == 5
    assert not SourceRecord.objects.exists()

    done = ImportRun.objects.get()
    assert started["Location"] == f"/profiles/importrun/{done.pk}/change/"
    with django_capture_on_commit_callbacks(execute=True):
        pages.post(f"/profiles/importrun/{done.pk}/take_in/")
    done.refresh_from_db()
    page = pages.get(started["Location"])
    assert page.context["numbers"]["rejected"] == 2
    assert "31/02/2024" in page.content.decode()

    errors = b"".join(pages.get(f"/profiles/importrun/{done.pk}/errors.csv").streaming_content)
    assert errors.decode("utf-8-sig").splitlines()[0].endswith(";ligne;erreur")
    assert AuditEvent.objects.filter(verb="downloaded", object_type="importrun").count() == 1
    assert done.file_name in pages.get("/profiles/importrun/").content.decode()


def test_charset_and_delimiter_can_be_corrected_by_hand(pages, write, crm):
    address = upload(pages, write("id;nom,prenom\n1;a,b\n2;c,d\n"), crm)["Location"]
    page = pages.get(f"{address}&delimiter=,&charset=mac_roman")
    assert page.context["plan"].dialect.header == ("id;nom", "prenom")
    assert page.context["plan"].dialect.charset == "mac_roman"


def test_a_wrong_mapping_is_told_at_its_column(pages, write, crm):
    address = upload(pages, write("id;nom;prenom\n1;a;b\n"), crm)["Location"]
    twice = pages.post(address, {"column_0": "external_id", "column_1": "last_name", "column_2": "last_name"})
    assert list(twice.context["form"].errors) == ["column_2"]
    nobody = pages.post(address, {"column_0": "ignore", "column_1": "last_name", "column_2": "ignore"})
    assert nobody.context["form"].non_field_errors()
    assert not ImportRun.objects.exists()


def test_what_is_no_table_is_told_at_the_upload(pages, write, crm):
    answer = upload(pages, write(b"\x89PNG\r\n\x1a\n" + bytes(range(32)) * 40), crm)
    assert list(answer.context["form"].errors) == ["file"]


def test_bytes_that_are_no_characters_are_shown_as_such(pages, write, crm):
    content = b"id;nom\n1;Lef\xe8vre\n" + "2;Noël\n".encode() * 30
    page = pages.get(upload(pages, write(content), crm)["Location"])
    assert (page.status_code, "Lef\ufffdvre" in page.content.decode()) == (200, True)
    legacy = upload(pages, write("id;prénom\n1;Zoë\n", "cp1252"), crm)["Location"]
    assert pages.get(f"{legacy}&charset=utf-8").status_code == 200


def test_the_columns_of_an_error_file_and_of_a_check_are_those_chosen_before(
    pages, write, crm, django_capture_on_commit_callbacks
):
    chosen = {"ref": "external_id", "qui": "full_name", "quoi": "consent_email"}
    taken_in(write("ref;qui;quoi\n1;Alice Martin;x\n"), crm, mapping=chosen)
    mended = write("ref;qui;quoi;ligne;erreur\n2;Bruno Caron;x;3;faux\n")
    plan = run.prepare(mended, crm)
    assert plan.mapping == chosen | {"ligne": "ignore", "erreur": "ignore"}
    other = {
        "ref": "external_id",
        "qui": "last_name",
        "quoi": "ignore",
        "ligne": "ignore",
        "erreur": "ignore",
    }
    checked = run.run(run.begin(mended, crm, None, "m.csv", mapping=other, awaits_word=True), mended)
    report_page = pages.get(f"/profiles/importrun/{checked.pk}/change/").content.decode()
    back = re.search(r'href="([^"]*mapping/[^"]*)"', report_page)[1].replace("&amp;", "&")
    assert pages.get(back).context["plan"].mapping == other


def test_a_full_disk_is_told_at_the_upload_and_leaves_nothing(pages, write, crm, settings, monkeypatch):
    def full(*_streams):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.shutil, "copyfileobj", full)
    answer = upload(pages, write("id;nom\n1;a\n"), crm)
    assert list(answer.context["form"].errors) == ["file"]
    assert not [path for path in settings.MEDIA_ROOT.rglob("*") if path.is_file()]
    assert not ImportRun.objects.exists()


def test_an_upload_cannot_be_forged(pages, brand):
    assert pages.get("/profiles/importrun/add/mapping/?upload=forged").status_code == 404


def test_a_stopped_import_is_resumed_by_hand(
    pages, many, crm, monkeypatch, django_capture_on_commit_callbacks
):
    with monkeypatch.context() as cut:
        cut_in_second_chunk(cut)
        with pytest.raises(PowerCut):
            taken_in(many, crm)
    stopped = ImportRun.objects.get()
    assert pages.get(f"/profiles/importrun/{stopped.pk}/change/").context["deeds"] >= {"resume"}
    with django_capture_on_commit_callbacks(execute=True):
        pages.post(f"/profiles/importrun/{stopped.pk}/resume/")
    assert counts(ImportRun.objects.get()) == [25, 23, 0, 0, 2]
    again = pages.post(f"/profiles/importrun/{stopped.pk}/resume/", follow=True)
    assert "this import is over" in again.content.decode()


def test_a_store_manager_sees_no_import(client_of, bruno, write, crm):
    done = taken_in(write(CLIENTS), crm)
    client = client_of(bruno)
    for address in ("", "add/", "add/mapping/", f"{done.pk}/change/", f"{done.pk}/errors.csv"):
        assert client.get(f"/profiles/importrun/{address}").status_code == 403


def test_a_cell_of_the_file_of_errors_is_no_formula_and_a_number_stays_one():
    assert [report._harmless(cell) for cell in ("＝1+1", "\nx", "=A1")] == ["'＝1+1", "'\nx", "'=A1"]
    assert [report._harmless(cell) for cell in ("+33 6 12 34 56 78", "-12,50")] == [
        "+33 6 12 34 56 78",
        "-12,50",
    ]


# --- What a marketer reads -------------------------------------------------------------------------------------------


def checked(path, source, **how) -> dict:
    return run.run(run.begin(path, source, None, path.name, awaits_word=True, **how), path).forecast


def test_an_id_that_comes_twice_in_a_first_file_has_not_changed_since_the_last(write, crm):
    path = write("id;nom;prenom\n1;Durand;Anne\n1;Durant;Anne\n2;Petit;Paul\n2;Petit;Paul\n")
    told = checked(path, crm)
    assert [told[word] for word in ("created", "unchanged", "new", "updated", "repeated")] == [3, 1, 2, 0, 1]
    taken_in(path, crm)
    later = checked(write("id;nom;prenom\n1;Durand;Zoé\n1;Durand;Zoa\n3;Noir;Luc\n", name="b.csv"), crm)
    assert [later[word] for word in ("new", "updated", "repeated")] == [1, 1, 1]


def test_reasons_come_with_their_values_and_values_are_text(write, crm, pages):
    rows = "".join(
        f"{n};Durand;{day}\n" for n, day in enumerate(["jamais", "jamais", "<b>hier</b>", "03/02/2024"])
    )
    begun = run.begin(
        path := write("id;nom;Date d'inscription\n" + rows), crm, None, "a.csv", awaits_word=True
    )
    told = run.run(begun, path).forecast["reasons"]["rejected"]
    ((column, _reason, number, values),) = told
    assert (column, number, values) == ("Date d'inscription", 3, [["jamais", 2], ["<b>hier</b>", 1]])
    page = pages.get(f"/profiles/importrun/{begun.pk}/change/").content.decode()
    assert "<q>jamais</q> × 2" in page
    assert "&lt;b&gt;hier&lt;/b&gt;" in page
    assert "<b>hier" not in page


def test_mistyped_e_mails_are_told_and_taken_in_as_they_stand(write, crm, pages):
    path = write(
        "id;nom;E-mail\n1;Durand;a@gmial.com\n2;Petit;b@gmail.com\n3;Noir;c@gmial.com\n4;Roux;d@acme.example\n"
    )
    done = taken_in(path, crm)
    assert done.forecast["suggestions"] == [["gmial.com", "gmail.com", 2]]
    assert SourceRecord.objects.get(external_id="1").email == "a@gmial.com"
    report_page = pages.get(f"/profiles/importrun/{done.pk}/change/").content.decode()
    assert "2 e-mails look mistyped" in report_page
    assert "gmial.com</code> → <code>gmail.com" in report_page
    for number, suggested in (("1", True), ("2", False)):
        person = SourceRecord.objects.get(external_id=number).profile
        page = pages.get(f"/profiles/profile/{person.pk}/change/").content.decode()
        assert ("perhaps a@gmail.com" in page) is suggested


def test_days_still_to_come_are_told_and_dated_by_their_arrival(write, crm):
    file = (
        "id;nom;Modifié le;Newsletter;Texte accord;Date accord\n"
        "1;A;01/01/2031;;;\n2;B;01/01/2024;oui;J'accepte;01/02/2031\n"
    )
    done = taken_in(write(file), crm)
    assert (done.corrected, done.rejected) == (2, 0)
    told = {
        (column, values[0][0]) for column, _reason, _number, values in done.forecast["reasons"]["corrected"]
    }
    assert told == {("Modifié le", "2031-01-01"), ("Date accord", "2031-02-01")}
    assert not SourceRecord.objects.filter(stated_at__year=2031).exists()
    assert not ConsentChange.objects.filter(at__year=2031).exists()


def test_columns_and_cells_stand_in_the_order_of_the_file(write, crm, pages):
    done = taken_in(write("zone;nom;prénom;identifiant\nz;Durand;Anne;1\nz;Petit;Paul;\n"), crm)
    page = pages.get(f"/profiles/importrun/{done.pk}/change/")
    assert [column for column, _field in page.context["mapping"]] == ["nom", "prénom", "identifiant"]
    (row,) = page.context["rejects"]
    assert [column for column, _text in row.cells] == ["zone", "nom", "prénom"]


def test_a_wrong_mapping_speaks_of_fields_as_the_page_does(write, crm):
    with pytest.raises(WrongMapping, match="«last name»") as told:
        run.prepare(write("id;nom;prenom\n1;a;b\n"), crm, mapping={"nom": "last_name", "prenom": "last_name"})
    assert "last_name" not in told.value.message


def test_an_undoing_says_first_what_goes_away(write, crm, pages):
    done = taken_in(write(CLIENTS), crm)
    other = Source.objects.create(code="shop", name="Shop", kind=Source.Kind.ECOMMERCE)
    known = SourceRecord.objects.get(external_id="1").profile
    outcome = take_in_records(other, [Statement("s1", {"last_name": "Lefèvre"}, {"n": 1})])[0]
    merging.merge(known, Profile.objects.get(pk=outcome.profile_id), ground="person", by=None)
    asked = pages.get(f"/profiles/importrun/{done.pk}/undo/")
    would = asked.context["would"]
    assert {word: would[word] for word in ("records", "consents", "people", "gone", "buyers", "tickets", "merges")} == {
        "records": 3, "consents": 2, "people": 3, "gone": 2, "buyers": 0, "tickets": 0, "merges": 1,
    }  # fmt: skip
    done.refresh_from_db()
    assert done.state == "done"
    assert "Undo this import" in asked.content.decode()
    pages.post(f"/profiles/importrun/{done.pk}/undo/")
    done.refresh_from_db()
    assert done.state == "undoing"
    assert pages.get(f"/profiles/importrun/{done.pk}/undo/").status_code == 302
