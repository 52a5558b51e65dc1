"""Watched folders and buckets against real servers on loopback: each file once, whatever happens on the way."""

import io
import os
import socket
import threading
from contextlib import contextmanager
from dataclasses import replace

import boto3
import paramiko
import psycopg
import pytest
from botocore.exceptions import ClientError
from django.conf import settings as platform
from django.core.management import CommandError, call_command
from django.db import connection as database
from moto.server import ThreadedMotoServer

from profiles.connectors import folders, kinds, polling, s3, sftp
from profiles.connectors.kinds import ConnectorError, StillWritten
from profiles.connectors.polling import poll
from profiles.imports import run
from profiles.models import Connection, Delivery, ImportRun, Profile, Source, SourceRecord
from profiles.tasks import poll_connections
from tenants.models import Brand
from tests.profiles.sftp_server import PASSWORD, USER, serving

HEADER = "Identifiant;Prénom;Nom;E-mail\n"
ROWS = "C1;Marie;Durand;marie@mail.example\nC2;Paul;Lefèvre;paul@mail.example\n"
CLIENTS = (HEADER + ROWS).encode()


@pytest.fixture(autouse=True)
def answered_in_english(brand, monkeypatch):
    """Senders are answered, and reports written, in the brand's language."""
    Brand.objects.filter(pk=brand.pk).update(language="en")
    monkeypatch.setattr(database.tenant, "language", "en")


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


@pytest.fixture
def crm(brand):
    return Source.objects.create(code="crm", name="CRM", kind=Source.Kind.CRM, trust=80)


@pytest.fixture
def server(tmp_path):
    root = tmp_path / "served"
    (root / "in").mkdir(parents=True)
    with serving(root) as served:
        yield served


@pytest.fixture
def inbox(server):
    return server.root / "in"


@pytest.fixture
def watched(crm, server) -> Connection:
    """A connection whose host key is known."""
    made = Connection(kind="sftp", name="ERP", source=crm, settings=settings_for(server.port))
    made.secret = PASSWORD
    made.host_key = sftp.fingerprint(server.host_key)
    made.save()
    return made


def settings_for(port, **more) -> dict:
    told = {"host": "127.0.0.1", "port": port, "user": USER, "folder": "/in"} | more
    kept, wrong = kinds.check_settings(folders.SFTP, told)
    assert wrong == {}
    return kept


def look(connection):
    """Two looks: the first sees a file for the first time, the second finds it unchanged."""
    poll(connection)
    return poll(connection)


def tree(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def failed_steps(findings) -> list[str]:
    return [finding.detail for finding in findings if not finding.is_fine]


# --- SFTP: what goes well -----------------------------------------------------------------------------------------


def test_a_file_is_taken_in_once_it_has_stood_still_and_moved_beside_its_report(watched, inbox):
    (inbox / "clients.csv").write_bytes(CLIENTS)
    first = poll(watched)
    assert (first.found, first.waiting, first.taken_in) == (1, ["clients.csv"], [])
    assert not Delivery.objects.exists()
    second = poll(watched)
    assert (second.taken_in, second.error) == (["clients.csv"], "")
    assert {str(p) for p in Profile.objects.all()} == {"Marie Durand", "Paul Lefèvre"}
    delivery = Delivery.objects.select_related("import_run", "job").get()
    assert (delivery.verdict, delivery.received, delivery.created) == ("done", 2, 2)
    assert delivery.import_run.file_name == "clients.csv"
    assert delivery.job.state == "done"
    assert tree(inbox) == {"done/clients.csv", "done/clients.csv.report.txt"}
    assert (inbox / "done/clients.csv").read_bytes() == CLIENTS
    assert "accepté" in (text := (inbox / "done/clients.csv.report.txt").read_text()) or "accepted" in text
    watched.refresh_from_db()
    assert watched.succeeded_at
    assert watched.error == ""
    assert look(watched).found == 0
    assert ImportRun.objects.count() == 1


def test_a_source_that_is_being_set_up_refuses_its_files_with_the_reason(watched, inbox, crm):
    Source.objects.filter(pk=crm.pk).update(identified_by="")
    watched = Connection.objects.select_related("source").get(pk=watched.pk)
    (inbox / "clients.csv").write_bytes(CLIENTS)
    assert look(watched).refused == ["clients.csv"]
    assert "is being set up" in Delivery.objects.get().error
    assert not Profile.objects.exists()
    assert not Source.objects.get(pk=crm.pk).is_active


def test_answers_of_the_last_file_are_used_and_unproven_consents_told_in_the_report(
    watched, inbox, crm, tmp_path
):
    header = "Identifiant;Nom;E-mail;Newsletter\n"
    by_hand = tmp_path / "first.csv"
    by_hand.write_text(header + "C1;Durand;a@mail.example;ouais\n")
    answers = {"Newsletter": {"ouais": True}}
    run.run(run.begin(by_hand, crm, None, "first.csv", answers=answers), by_hand)
    (inbox / "second.csv").write_text(header + "C2;Petit;b@mail.example;ouais\nC3;Noir;c@mail.example;bof\n")
    assert look(watched).taken_in == ["second.csv"]
    delivery = Delivery.objects.select_related("import_run").get()
    assert (delivery.created, delivery.rejected, delivery.import_run.answers) == (1, 1, answers)
    told = (inbox / "done/second.csv.report.txt").read_text()
    assert "no proof came with it: 1" in told
    assert "3: Newsletter:" in told


def test_the_same_name_another_day_is_another_delivery(watched, inbox):
    for day, content in ((1, CLIENTS), (2, CLIENTS + b"C3;Jeanne;Petit;jeanne@mail.example\n")):
        (inbox / "clients.csv").write_bytes(content)
        os.utime(inbox / "clients.csv", (1_700_000_000 + day, 1_700_000_000 + day))
        assert look(watched).taken_in == ["clients.csv"]
    assert list(Delivery.objects.order_by("pk").values_list("created", "unchanged")) == [(2, 0), (1, 2)]
    assert len([name for name in tree(inbox / "done") if name.endswith("clients.csv")]) == 2


def test_a_marker_announces_a_whole_file(watched, inbox):
    watched.settings["needs_marker"] = True
    watched.save()
    (inbox / "clients.csv").write_bytes(CLIENTS)
    assert look(watched).waiting == ["clients.csv"]
    (inbox / "clients.csv.done").touch()
    assert poll(watched).taken_in == ["clients.csv"]
    assert tree(inbox) == {"done/clients.csv", "done/clients.csv.report.txt"}


def test_the_mapping_of_the_source_is_remembered(watched, inbox, tmp_path, crm):
    by_hand = tmp_path / "by_hand.csv"
    by_hand.write_text("ref;qui\n1;Alice Martin\n")
    run.run(run.begin(by_hand, crm, None, "x", mapping={"ref": "external_id", "qui": "full_name"}), by_hand)
    (inbox / "more.csv").write_text("ref;qui\n2;Bruno Caron\n")
    assert look(watched).taken_in == ["more.csv"]
    assert SourceRecord.objects.get(external_id="2").last_name == "Caron"


def test_other_names_folders_and_unfinished_files_are_left_alone(watched, inbox):
    for name in ("a.csv.part", ".hidden.csv", "notes.txt", "b.csv.tmp"):
        (inbox / name).write_bytes(CLIENTS)
    (inbox / "old.csv").mkdir()
    assert look(watched).found == 0
    assert len(tree(inbox)) == 4


def test_a_private_key_signs_in_too(watched, server, inbox):
    key = paramiko.ECDSAKey.generate()
    text = io.StringIO()
    key.write_private_key(text)
    server.client_key = key
    watched.secret = text.getvalue()
    watched.save()
    assert poll(watched).error == ""
    watched.secret = "-----BEGIN OPENSSH PRIVATE KEY-----\nnonsense"
    watched.save()
    assert "private key cannot be read" in poll(watched).error


# --- SFTP: what goes wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"\x00\x01\x02binary\x00", b"a;b\n1;2\n", b"Identifiant;Nom\n;Durand\n;Petit\n"]
)
def test_what_cannot_be_read_goes_to_failed_with_the_reason(watched, inbox, content):
    (inbox / "bad.csv").write_bytes(content)
    assert look(watched).refused == ["bad.csv"]
    assert tree(inbox) == {"failed/bad.csv", "failed/bad.csv.report.txt"}
    delivery = Delivery.objects.get()
    assert delivery.verdict == "refused"
    assert delivery.error in (inbox / "failed/bad.csv.report.txt").read_text()
    assert not Profile.objects.exists()
    assert look(watched).found == 0


def test_a_file_that_grows_is_left_until_it_stands_still(watched, inbox, server):
    (inbox / "clients.csv").write_text(HEADER)
    poll(watched)
    (inbox / "clients.csv").write_bytes(CLIENTS)
    assert poll(watched).waiting == ["clients.csv"]

    def grows(path):
        server.on_open = None
        with path.open("ab") as stream:
            stream.write(b"C3;Jeanne;Petit;jeanne@mail.example\n")

    server.on_open = grows
    assert poll(watched).waiting == ["clients.csv"]
    assert not Delivery.objects.exists()
    look(watched)
    assert Delivery.objects.get().created == 3


def test_a_file_longer_than_listed_is_not_copied_on(watched, inbox, monkeypatch):
    (inbox / "clients.csv").write_bytes(CLIENTS)
    told = []
    prefetches, keeps_alive = paramiko.SFTPFile.prefetch, paramiko.Transport.set_keepalive
    monkeypatch.setattr(
        paramiko.SFTPFile, "prefetch", lambda file, *a, **k: told.append(k) or prefetches(file, *a, **k)
    )
    monkeypatch.setattr(
        paramiko.Transport,
        "set_keepalive",
        lambda line, every: told.append(every) or keeps_alive(line, every),
    )
    copy = io.BytesIO()
    with sftp.open_folder(watched) as folder:
        (listed,) = folder.found()
        with pytest.raises(StillWritten):
            folder.fetch(replace(listed, size=10), copy)
    assert len(copy.getvalue()) <= 10
    assert told == [30, {"max_concurrent_requests": 64}]


def test_a_file_that_vanishes_is_no_error(watched, inbox, server):
    (inbox / "clients.csv").write_bytes(CLIENTS)
    poll(watched)
    server.on_open = lambda path: path.unlink(missing_ok=True)
    seen = poll(watched)
    assert (seen.waiting, seen.error) == (["clients.csv"], "")
    assert not Delivery.objects.exists()


def test_a_line_cut_half_way_is_told_and_the_next_look_does_it_once(watched, inbox, server):
    (inbox / "clients.csv").write_bytes(CLIENTS)
    poll(watched)
    server.on_open = lambda path: server.cut()
    assert poll(watched).error
    assert not Delivery.objects.exists()
    server.on_open = None
    assert poll(watched).taken_in == ["clients.csv"]
    assert ImportRun.objects.count() == Delivery.objects.count() == 1


def test_a_worker_killed_anywhere_is_made_good_by_the_next_look(watched, inbox, monkeypatch):
    """Killed while rows are taken in, after the last row, and before the file is moved: one import, one delivery."""

    class Killed(BaseException):
        pass

    def killed(*args, **kwargs):
        raise Killed

    (inbox / "clients.csv").write_bytes(CLIENTS)
    poll(watched)
    for module, name in ((run, "_take_in"), (run, "numbers"), (sftp.SftpFolder, "put_away")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, killed)
            with pytest.raises(Killed):
                poll(watched)
        assert tree(inbox) == {"clients.csv"}
        # What the killed worker had seen is lost with it, or not: both ways the file is still taken.
    look(watched)
    assert tree(inbox) == {"done/clients.csv", "done/clients.csv.report.txt"}
    assert ImportRun.objects.count() == Delivery.objects.count() == 1
    assert Delivery.objects.get().created == SourceRecord.objects.count() == 2


def test_two_looks_at_once_do_each_file_once(watched, inbox, server):
    (inbox / "clients.csv").write_bytes(CLIENTS)
    poll(watched)
    server.opened.clear()
    key = [f"{database.schema_name}.poll", watched.pk]
    with psycopg.connect(**_other_session()) as other:
        other.execute("SELECT pg_advisory_lock(hashtext(%s), %s::int)", key)
        assert poll(watched).busy
        assert server.opened == []
        # Given back before the line is closed: the server may notice that a moment later.
        other.execute("SELECT pg_advisory_unlock(hashtext(%s), %s::int)", key)
    assert poll(watched).taken_in == ["clients.csv"]
    # And the lock was given back, for whoever looks next.
    with psycopg.connect(**_other_session()) as other:
        assert other.execute("SELECT pg_try_advisory_lock(hashtext(%s), %s::int)", key).fetchone()[0]


def _other_session() -> dict:
    known = database.settings_dict
    return {
        "host": known["HOST"], "port": known["PORT"], "dbname": known["NAME"], "user": known["USER"],
        "password": known["PASSWORD"] or None,
    }  # fmt: skip


def test_a_file_that_cannot_be_moved_is_not_taken_in_again(watched, inbox, server):
    server.refuses_moves = True
    (inbox / "clients.csv").write_bytes(CLIENTS)
    assert "may not move" in look(watched).error
    assert "may not move" in poll(watched).error
    assert Delivery.objects.count() == ImportRun.objects.count() == 1
    server.refuses_moves = False
    assert look(watched).error == ""
    assert "done/clients.csv" in tree(inbox)


def test_a_file_that_cannot_be_moved_keeps_no_other_out(watched, inbox, server):
    server.refuses_moves = True
    (inbox / "a.csv").write_bytes(CLIENTS)
    (inbox / "b.csv").write_bytes(CLIENTS.replace(b"C1", b"D1").replace(b"C2", b"D2"))
    seen = look(watched)
    assert seen.taken_in == ["a.csv", "b.csv"]
    assert "may not move" in seen.error
    watched.refresh_from_db()
    assert "may not move" in watched.error
    assert Delivery.objects.count() == 2


def test_a_file_replaced_during_its_import_is_not_moved_away_unread(watched, inbox, monkeypatch):
    (inbox / "clients.csv").write_bytes(CLIENTS)
    poll(watched)
    newer = CLIENTS + b"C3;Jeanne;Petit;jeanne@mail.example\n"
    replaces_during_the_import(monkeypatch, lambda: (inbox / "clients.csv").write_bytes(newer))
    assert poll(watched).taken_in == ["clients.csv"]
    assert tree(inbox) == {"clients.csv"}
    look(watched)
    assert tree(inbox) == {"done/clients.csv", "done/clients.csv.report.txt"}
    assert (inbox / "done/clients.csv").read_bytes() == newer
    assert list(Delivery.objects.order_by("pk").values_list("created", "unchanged")) == [(2, 0), (1, 2)]


def replaces_during_the_import(monkeypatch, replace):
    runs, done = run.run, []

    def replaced(import_run, path):
        if not done:
            done.append(replace())
        return runs(import_run, path)

    monkeypatch.setattr(run, "run", replaced)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"user": "mallory"}, "refuses the password"),
        ({"folder": "/nowhere"}, "has no folder"),
        ({"host": "no-such-host.invalid"}, "no host is called"),
    ],
)
def test_what_is_wrong_is_told_in_plain_words(watched, change, word):
    watched.settings |= change
    watched.save()
    assert word in poll(watched).error
    watched.refresh_from_db()
    assert word in watched.error
    assert watched.failed_at
    assert word in failed_steps(sftp.test(watched, None))[0]


def test_a_host_that_is_down_or_speaks_no_sftp_is_told(watched, server):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    watched.settings["port"] = free
    watched.save()
    assert "refuses the connection" in poll(watched).error
    with _speaker(b"HTTP/1.0 400 Bad Request\r\n\r\n") as port:
        watched.settings["port"] = port
        watched.save()
        assert "is no SFTP server" in poll(watched).error


@contextmanager
def _speaker(words: bytes):
    """Something that answers every caller with the same words and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                line, _address = listener.accept()
            except OSError:
                return
            with line:
                line.sendall(words)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(2)


def test_a_changed_host_key_is_refused_before_the_password_is_sent(watched, server, inbox):
    (inbox / "clients.csv").write_bytes(CLIENTS)
    known = watched.host_key
    watched.host_key = "SHA256:of-another-server"
    watched.save()
    said = poll(watched).error
    assert "another key than before" in said
    assert known in said
    assert failed_steps(sftp.test(watched, None)) == [said]
    assert server.opened == []
    watched.refresh_from_db()
    assert watched.host_key == "SHA256:of-another-server"


def test_the_first_test_pins_the_host_key_and_reads_and_writes(watched, server, inbox):
    watched.host_key = ""
    watched.save()
    assert "test the connection once" in poll(watched).error
    (inbox / "clients.csv").write_bytes(CLIENTS)
    findings = sftp.test(watched, None)
    assert failed_steps(findings) == []
    assert len(findings) == 6
    watched.refresh_from_db()
    assert watched.host_key == sftp.fingerprint(server.host_key)
    assert tree(inbox) == {"clients.csv"}
    server.is_read_only = True
    assert "may not write" in failed_steps(sftp.test(watched, None))[0]


def test_a_host_inside_the_platforms_network_is_not_called(watched, settings, server):
    settings.CONNECTORS_REACH_PRIVATE = False
    assert "platform's own network" in poll(watched).error
    assert server.opened == []


@pytest.mark.parametrize("address", ["224.0.0.1", "ff0e::1", "64:ff9b::a00:1", "10.0.0.1", "::1"])
def test_an_address_that_leads_inside_by_a_detour_is_not_called(settings, address):
    settings.CONNECTORS_REACH_PRIVATE = False
    with pytest.raises(ConnectorError, match="platform's own network"):
        kinds.reachable(address, 22)


def test_a_secret_sealed_under_a_lost_key_is_asked_for_again(watched):
    watched.sealed_secret = "gAAAAA-lost"
    watched.save()
    assert "enter it again" in poll(watched).error


def test_a_name_that_is_not_utf_8_is_told(watched, inbox):
    (inbox / os.fsdecode("été.csv".encode("latin-1"))).write_bytes(CLIENTS)
    assert "not UTF-8" in poll(watched).error


def test_a_file_that_breaks_the_import_keeps_no_other_out_and_is_tried_again(watched, inbox, monkeypatch):
    (inbox / "a.csv").write_bytes(CLIENTS)
    (inbox / "b.csv").write_bytes(CLIENTS.replace(b"C1", b"D1").replace(b"C2", b"D2"))
    poll(watched)
    runs = run.run

    def broken(import_run, path):
        if import_run.file_name == "a.csv":
            path.unlink()
            raise OSError("disk full")
        return runs(import_run, path)

    with monkeypatch.context() as patch:
        patch.setattr(run, "run", broken)
        seen = poll(watched)
    assert (seen.taken_in, seen.waiting) == (["b.csv"], ["a.csv"])
    assert "disk full" in seen.error
    # The copy that we kept is gone as well: it is fetched again.
    assert poll(watched).taken_in == ["a.csv"]
    assert ImportRun.objects.count() == Delivery.objects.count() == 2


def test_a_file_too_large_is_refused_unread(watched, inbox, server, monkeypatch):
    monkeypatch.setattr(kinds, "LARGEST_FILE", 10)
    (inbox / "clients.csv").write_bytes(CLIENTS)
    assert look(watched).refused == ["clients.csv"]
    assert "/in/clients.csv" not in server.opened


# --- Whoever looks ------------------------------------------------------------------------------------------------


def test_the_timetable_and_the_command_look_into_what_is_switched_on(watched, inbox, capsys):
    (inbox / "clients.csv").write_bytes(CLIENTS)
    assert poll_connections() == 1
    call_command("poll_connections", brand="acme")
    assert "ERP: 1 taken in, 0 refused, 0 waiting" in capsys.readouterr().out
    Connection.objects.update(is_on=False)
    assert poll_connections() == 0
    with pytest.raises(CommandError, match="no brand"):
        call_command("poll_connections", brand="nobody")
    with pytest.raises(CommandError, match="no polled connector"):
        call_command("poll_connections", brand="acme", name="ERP")
    Connection.objects.update(is_on=True, host_key="")
    with pytest.raises(CommandError, match="not every connector"):
        call_command("poll_connections", brand="acme")


def test_what_is_polled_is_the_kinds_with_a_folder():
    assert set(polling.POLLED) == {"sftp", "s3"}
    assert "connections-polled" in __import__("cdp.celery", fromlist=["app"]).app.conf.beat_schedule
    assert platform.TESTING


# --- A bucket -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store():
    served = ThreadedMotoServer("127.0.0.1", 0)
    served.start()
    host, port = served.get_host_and_port()
    yield f"http://{host}:{port}"
    served.stop()


@pytest.fixture
def client(store):
    made = boto3.client(
        "s3", endpoint_url=store, region_name="eu-west-3", aws_access_key_id="k", aws_secret_access_key="s"
    )
    made.create_bucket(Bucket="acme", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    yield made
    for entry in made.list_objects_v2(Bucket="acme").get("Contents", []):
        made.delete_object(Bucket="acme", Key=entry["Key"])
    made.delete_bucket(Bucket="acme")
    made.close()


@pytest.fixture
def bucket(crm, store, client) -> Connection:
    told = {"endpoint": store, "bucket": "acme", "prefix": "clients/in/", "access_key": "k"}
    kept, wrong = kinds.check_settings(folders.S3, told)
    assert wrong == {}
    made = Connection(kind="s3", name="Bucket", source=crm, settings=kept)
    made.secret = "s"
    made.save()
    return made


def keys(client) -> set[str]:
    return {entry["Key"] for entry in client.list_objects_v2(Bucket="acme").get("Contents", [])}


def test_an_object_is_taken_in_and_moved(bucket, client):
    client.put_object(Bucket="acme", Key="clients/in/a.csv", Body=CLIENTS)
    client.put_object(Bucket="acme", Key="clients/in/deeper/b.csv", Body=CLIENTS)
    client.put_object(Bucket="acme", Key="elsewhere.csv", Body=CLIENTS)
    assert poll(bucket).taken_in == ["a.csv"]
    assert keys(client) == {
        "clients/in/done/a.csv", "clients/in/done/a.csv.report.txt", "clients/in/deeper/b.csv", "elsewhere.csv",
    }  # fmt: skip
    assert Delivery.objects.get().created == 2
    assert poll(bucket).found == 0


def test_an_object_replaced_during_its_import_is_not_moved_away_unread(bucket, client, monkeypatch):
    client.put_object(Bucket="acme", Key="clients/in/a.csv", Body=CLIENTS)
    newer = CLIENTS + b"C3;Jeanne;Petit;jeanne@mail.example\n"
    replaces_during_the_import(
        monkeypatch, lambda: client.put_object(Bucket="acme", Key="clients/in/a.csv", Body=newer)
    )
    assert poll(bucket).taken_in == ["a.csv"]
    assert keys(client) == {"clients/in/a.csv"}
    assert poll(bucket).taken_in == ["a.csv"]
    assert keys(client) == {"clients/in/done/a.csv", "clients/in/done/a.csv.report.txt"}
    assert Delivery.objects.count() == 2


@pytest.mark.parametrize("moment", ["copy_object", "put_object"])
def test_an_object_replaced_while_it_is_moved_stays(bucket, client, monkeypatch, moment):
    client.put_object(Bucket="acme", Key="clients/in/a.csv", Body=CLIENTS)
    newer = CLIENTS + b"C3;Jeanne;Petit;jeanne@mail.example\n"
    with monkeypatch.context() as patch:
        puts_away = s3.Bucket.put_away

        def replaced_meanwhile(self, file, where, report):
            deed = getattr(self.client, moment)

            def replaced(**told):
                client.put_object(Bucket="acme", Key="clients/in/a.csv", Body=newer)
                tag = client.head_object(Bucket="acme", Key="clients/in/a.csv")["ETag"]
                # As S3 does; the store of these tests copies without asking.
                if told.get("CopySourceIfMatch", tag) != tag:
                    raise ClientError({"Error": {"Code": "PreconditionFailed"}}, "CopyObject")
                return deed(**told)

            setattr(self.client, moment, replaced)
            puts_away(self, file, where, report)

        patch.setattr(s3.Bucket, "put_away", replaced_meanwhile)
        assert poll(bucket).error == ""
    assert client.get_object(Bucket="acme", Key="clients/in/a.csv")["Body"].read() == newer
    # The report stands beside what was read, or not at all.
    is_copied = "clients/in/done/a.csv" in keys(client)
    assert is_copied == ("clients/in/done/a.csv.report.txt" in keys(client)) == (moment == "put_object")
    assert poll(bucket).taken_in == ["a.csv"]
    assert "clients/in/a.csv" not in keys(client)


def test_an_empty_bucket_is_no_error(bucket):
    seen = poll(bucket)
    assert (seen.found, seen.error) == (0, "")
    assert failed_steps(s3.test(bucket, None)) == []


def test_an_object_that_is_no_table_goes_to_failed(bucket, client):
    client.put_object(Bucket="acme", Key="clients/in/a.csv", Body=b"\x00\x01")
    assert poll(bucket).refused == ["a.csv"]
    assert keys(client) == {"clients/in/failed/a.csv", "clients/in/failed/a.csv.report.txt"}


def test_a_killed_look_into_a_bucket_is_made_good(bucket, client, monkeypatch):
    client.put_object(Bucket="acme", Key="clients/in/a.csv", Body=CLIENTS)
    with monkeypatch.context() as patch:
        patch.setattr(s3.Bucket, "put_away", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            poll(bucket)
    assert poll(bucket).taken_in == ["a.csv"]
    assert Delivery.objects.count() == ImportRun.objects.count() == 1


def test_an_object_that_vanishes_is_no_error(bucket, client, monkeypatch):
    client.put_object(Bucket="acme", Key="clients/in/a.csv", Body=CLIENTS)
    listed = s3.Bucket.found

    def found_then_gone(self):
        files = listed(self)
        client.delete_object(Bucket="acme", Key="clients/in/a.csv")
        return files

    monkeypatch.setattr(s3.Bucket, "found", found_then_gone)
    seen = poll(bucket)
    assert (seen.waiting, seen.error) == (["a.csv"], "")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"bucket": "nobodys"}, "no bucket"),
        ({"endpoint": "http://127.0.0.1:9"}, "cannot be reached"),
        ({"endpoint": "https://h:99999"}, "cannot be used"),
        ({"region": "eu west"}, "cannot be used"),
    ],
)
def test_what_is_wrong_with_a_bucket_is_told(bucket, change, word):
    bucket.settings |= change
    bucket.save()
    assert word in poll(bucket).error
    assert word in failed_steps(s3.test(bucket, None))[0]


def test_an_object_longer_than_listed_is_not_copied_on(bucket, client):
    client.put_object(Bucket="acme", Key="clients/in/a.csv", Body=CLIENTS)
    copy = io.BytesIO()
    with s3.open_folder(bucket) as folder:
        (listed,) = folder.found()
        with pytest.raises(StillWritten):
            folder.fetch(replace(listed, size=10), copy)
    assert copy.getvalue() == b""
    assert poll(bucket).taken_in == ["a.csv"]


def test_the_test_of_a_bucket_reads_and_writes_and_leaves_nothing(bucket, client):
    client.put_object(Bucket="acme", Key="clients/in/a.csv", Body=CLIENTS)
    findings = s3.test(bucket, None)
    assert [finding.is_fine for finding in findings] == [True, True, True]
    assert keys(client) == {"clients/in/a.csv"}


# --- Settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "told", "wrong"),
    [
        (folders.SFTP, {}, {"host", "user"}),
        (folders.SFTP, {"host": "a b", "user": "u"}, {"host"}),
        (folders.SFTP, {"host": "h", "user": "u", "port": 70000}, {"port"}),
        (folders.SFTP, {"host": "h", "user": "u", "port": "x"}, {"port"}),
        (folders.SFTP, {"host": "h", "user": "u", "folder": "/a/../b"}, {"folder"}),
        (folders.SFTP, {"host": "h", "user": "u", "pattern": "in/*.csv"}, {"pattern"}),
        (folders.SFTP, {"host": "h", "user": "u", "colour": "red"}, {"colour"}),
        (folders.S3, {"bucket": "b", "access_key": "k", "endpoint": "ftp://x"}, {"endpoint"}),
        *(
            (folders.S3, {"bucket": "b", "access_key": "k", "endpoint": odd}, {"endpoint"})
            for odd in (
                "https://h:99999",
                "https://a b",
                "https://h:x",
                "https://[abc",
                "https://",
                "https://h/a b",
            )
        ),
        *(
            (folders.S3, {"bucket": "b", "access_key": "k", "region": odd}, {"region"})
            for odd in ("eu west", "eu_west", "-eu", "33", "é")
        ),
        (
            folders.S3,
            {"bucket": "b", "access_key": "k", "endpoint": "https://h:9000/", "region": "fr-par"},
            set(),
        ),
        (folders.S3, {"bucket": "b", "access_key": "k"}, set()),
    ],
)
def test_settings_are_checked_by_their_kind(brand, kind, told, wrong):
    _kept, found = kinds.check_settings(kind, told)
    assert set(found) == wrong
    assert all(found.values())
