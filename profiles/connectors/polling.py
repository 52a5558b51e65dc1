"""A look into a watched folder or bucket: each whole file taken in once, then put away beside its report.

Once, whatever happens: one look at a time holds the connection's lock, which the database gives back when a worker
dies; a file's `Delivery` is written with its `ImportRun` before the first row, so the next look finds both, carries the
import on behind its last whole chunk, and only then moves the file.
"""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db import connection as database
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from profiles.connectors import kinds
from profiles.connectors.catalogue import KINDS
from profiles.connectors.kinds import ConnectorError, Folder, Found, NotTakenIn, StillWritten, Vanished
from profiles.imports import files, run
from profiles.imports.detect import Unreadable
from profiles.imports.mapping import WrongMapping
from profiles.models import Connection, Delivery, ImportRun
from tenants.locks import alone
from tenants.scoping import whole_network

DONE, FAILED = "done", "failed"
POLLED = tuple(kind.code for kind in KINDS.values() if kind.open)


@dataclass
class Look:
    """What one look came to."""

    found: int = 0
    taken_in: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    error: str = ""
    busy: bool = False


def poll(connection: Connection) -> Look:
    """Look into the connection's folder once. What is wrong outside is noted on the connection, not raised."""
    look = Look()
    language = getattr(database.tenant, "language", settings.LANGUAGE_CODE)
    with whole_network(), translation.override(language), alone("poll", connection.pk) as ours:
        if not ours:
            look.busy = True
            return look
        connection.refresh_from_db()
        opens = KINDS[connection.kind].open
        assert opens is not None, f"{connection.kind} is not polled"
        try:
            with opens(connection) as folder:
                _look(connection, folder, look)
        except ConnectorError as fault:
            look.error = fault.detail
        connection.polled_at = timezone.now()
        connection.save(update_fields=["polled_at"])
        if look.error:
            connection.note_error(look.error)
        else:
            connection.note_success()
    return look


def _look(connection: Connection, folder: Folder, look: Look) -> None:
    found = folder.found()
    look.found = len(found)
    # Kept at once: a look that is cut short must not make files wait longer.
    connection.seen = dict(folder.seen())
    connection.save(update_fields=["seen"])
    for file in found:
        if not file.is_whole:
            look.waiting.append(file.name)
            continue
        try:
            delivery = _taken_in(connection, folder, file)
        except (Vanished, StillWritten, run.TakenOver):
            # Taken over: the same import was resumed by hand, and the next look puts the file away.
            look.waiting.append(file.name)
            continue
        except NotTakenIn as fault:
            # It keeps no other file out, and is tried again at the next look.
            look.waiting.append(file.name)
            look.error = fault.detail
            continue
        is_done = delivery.verdict == Delivery.Verdict.DONE
        (look.taken_in if is_done else look.refused).append(file.name)
        try:
            folder.put_away(file, DONE if is_done else FAILED, report(delivery))
        except ConnectorError as fault:
            # The other files are taken in all the same, and this one is moved at a look to come.
            look.error = fault.detail


def _taken_in(connection: Connection, folder: Folder, file: Found) -> Delivery:
    """The delivery of a file, concluded. One that a look before this one left half-way is carried on."""
    delivery = Delivery.objects.filter(connection=connection, ref=file.ref).first()
    if delivery is None:
        delivery = _begun(connection, folder, file)
    if delivery.verdict == Delivery.Verdict.UNDER_WAY:
        import_run = ImportRun.objects.select_related("job", "source").get(pk=delivery.import_run_id)
        if not files.kept(import_run.file_hash).exists():
            with NamedTemporaryFile() as copy:
                folder.fetch(file, copy)
                files.keep(Path(copy.name))
        try:
            import_run = run.run(import_run, files.kept(import_run.file_hash))
        except (DatabaseError, OSError, ValueError) as fault:
            raise NotTakenIn(
                "not_taken_in",
                _("«%(file)s» could not be taken in to its end: %(why)s") % {"file": file.name, "why": fault},
            ) from fault
        delivery.import_run = import_run
        delivery.received = import_run.received
        for word in run.VERDICTS:
            setattr(delivery, word, getattr(import_run, word))
        delivery.error = _why_refused(import_run)
        delivery.verdict = Delivery.Verdict.REFUSED if delivery.error else Delivery.Verdict.DONE
        delivery.save()
    return delivery


def _why_refused(import_run: ImportRun) -> str:
    """Why the file is put away as one that failed; empty where it did not."""
    if import_run.state != ImportRun.State.DONE:
        return _("the import was called off")
    if import_run.received and import_run.rejected == import_run.received:
        return _("every row was rejected")
    return ""


def _begun(connection: Connection, folder: Folder, file: Found) -> Delivery:
    about = {"connection": connection, "ref": file.ref, "topic": "file"}
    if file.size > kinds.LARGEST_FILE:
        reason = _("the file is larger than %s MB: split it") % (kinds.LARGEST_FILE // 1024**2)
        return Delivery.objects.create(**about, verdict=Delivery.Verdict.REFUSED, error=reason)
    with NamedTemporaryFile() as copy:
        folder.fetch(file, copy)
        try:
            with transaction.atomic():
                import_run = run.begin(Path(copy.name), connection.source, None, file.name)
                return Delivery.objects.create(
                    **about, verdict=Delivery.Verdict.UNDER_WAY, import_run=import_run, job=import_run.job
                )
        except (Unreadable, WrongMapping, run.CannotImport) as fault:
            return Delivery.objects.create(
                **about, verdict=Delivery.Verdict.REFUSED, error=(str(fault) or type(fault).__name__)[:500]
            )


def report(delivery: Delivery) -> str:
    """What stands beside the file: what came of it, and of each row that was rejected why."""
    lines = [
        delivery.ref.rpartition(" @")[0],
        f"{timezone.localtime(delivery.received_at):%Y-%m-%d %H:%M %Z}",
        f"{_('verdict')}: {delivery.get_verdict_display()}",
    ]
    if delivery.error:
        lines.append(f"{_('error')}: {delivery.error}")
    if delivery.import_run_id:
        for word in ("received", *run.VERDICTS):
            name = Delivery._meta.get_field(word).verbose_name
            lines.append(f"{name}: {getattr(delivery, word)}")
        unproven = sum(delivery.import_run.forecast.get("unproven", {}).values())
        if unproven:
            lines.append(_("a yes left out, since no proof came with it: %s") % unproven)
        rejects = delivery.import_run.rejects.order_by("line").values_list("line", "column", "reason")
        told = list(rejects[:1000])
        # A reason may repeat the value at fault, which the sender wrote: the report goes back to them alone.
        lines += [
            "",
            *(f"{line}: {column + ': ' if column else ''}{reason}" for line, column, reason in told),
        ]
        if delivery.rejected > len(told):
            lines.append("…")
    return "\n".join(lines) + "\n"
