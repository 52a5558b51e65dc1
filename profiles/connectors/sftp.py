"""A watched SFTP folder: what a back office puts down is fetched, taken in, and moved to `done/` or `failed/`.

The server's host key is pinned by the first test; a server that shows another one is not spoken to, since it may be
somebody else who wants to read the password.
"""

import base64
import hashlib
import io
import logging
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import IO

import paramiko
from django.utils import timezone
from django.utils.translation import gettext as _

from profiles.connectors import kinds
from profiles.connectors.kinds import ConnectorError, Finding, Found, StillWritten, Vanished
from profiles.models import Connection

PIECE = 256 * 1024
MARKER = ".done"
# Servers hang up on callers that ask for all of a large file at once.
MOST_REQUESTS = 64
ALIVE_SECONDS = 30


class SftpFolder:
    """The folder, while the connection stands. `before` is what the look before this one found (`Connection.seen`)."""

    def __init__(self, sftp: paramiko.SFTPClient, settings: dict, before: dict[str, str]):
        self.sftp, self.settings, self.before = sftp, settings, before
        self.root = settings["folder"]
        self._seen: dict[str, str] = {}

    def _at(self, *parts: str) -> str:
        return "/".join([self.root.rstrip("/"), *parts])

    def found(self) -> list[Found]:
        try:
            entries = self.sftp.listdir_attr(self.root)
        except FileNotFoundError as missing:
            raise ConnectorError(
                "no_folder", _("the server has no folder «%s»: check its path") % self.root
            ) from missing
        except PermissionError as refused:
            raise ConnectorError(
                "no_access", _("the user may not read the folder «%s»") % self.root
            ) from refused
        except UnicodeDecodeError as strange:
            raise ConnectorError(
                "bad_name", _("the folder holds a file whose name is not UTF-8: rename it")
            ) from strange
        names = {entry.filename for entry in entries}
        files = []
        for entry in sorted(entries, key=lambda entry: (entry.st_mtime or 0, entry.filename)):
            name = entry.filename
            if stat.S_ISDIR(entry.st_mode or 0) or kinds.UNFINISHED.search(name):
                continue
            if not fnmatchcase(name.lower(), self.settings["pattern"].lower()):
                continue
            mark = _mark(entry)
            announced = name + MARKER in names
            # Without a marker, a file is whole once two looks in a row find the same size and time.
            stable = not self.settings["needs_marker"] and self.before.get(name) == mark
            self._seen[name] = mark
            files.append(Found(name, entry.st_size or 0, mark, announced or stable))
        return files

    def seen(self) -> dict[str, str]:
        return self._seen

    def fetch(self, file: Found, copy: IO[bytes]) -> None:
        try:
            with self.sftp.open(self._at(file.name), "rb") as remote:
                remote.prefetch(file.size, max_concurrent_requests=MOST_REQUESTS)
                read = 0
                while piece := remote.read(PIECE):
                    read += len(piece)
                    if read > file.size:
                        break
                    copy.write(piece)
            after = self.sftp.stat(self._at(file.name))
        except FileNotFoundError as gone:
            raise Vanished("vanished", _("«%s» was taken away meanwhile") % file.name) from gone
        except PermissionError as refused:
            raise ConnectorError("no_access", _("the user may not read «%s»") % file.name) from refused
        copy.flush()
        if read != file.size or _mark(after) != file.mark:
            raise StillWritten("still_written", _("«%s» is still being written") % file.name)

    def put_away(self, file: Found, where: str, report: str) -> None:
        try:
            if _mark(self.sftp.stat(self._at(file.name))) != file.mark:
                return  # another file took its name during the import: the next look takes that one in
            self._make(where)
            name = file.name
            if self._exists(self._at(where, name)):
                name = f"{timezone.now():%Y%m%d-%H%M%S}-{name}"
            with self.sftp.open(self._at(where, f"{name}.report.txt"), "wb") as remote:
                remote.write(report.encode())
            self.sftp.rename(self._at(file.name), self._at(where, name))
            with suppress(OSError):
                self.sftp.remove(self._at(file.name + MARKER))
        except FileNotFoundError:
            return  # somebody has moved it: what was in it is taken in all the same
        except OSError as refused:
            raise ConnectorError(
                "cannot_move",
                _("«%(file)s» was read, but the user may not move it into «%(folder)s»")
                % {"file": file.name, "folder": where},
            ) from refused

    def _make(self, where: str) -> None:
        if not self._exists(self._at(where)):
            self.sftp.mkdir(self._at(where))

    def _exists(self, path: str) -> bool:
        try:
            self.sftp.stat(path)
        except FileNotFoundError:
            return False
        return True

    def check_writing(self) -> None:
        """Whether files can be put away: tried with a file of our own."""
        probe = self._at(f".cdp-test-{timezone.now():%H%M%S%f}.tmp")
        try:
            with self.sftp.open(probe, "wb") as remote:
                remote.write(b"A test of the connection; may be deleted.\n")
            self.sftp.remove(probe)
        except OSError as refused:
            raise ConnectorError(
                "read_only", _("the user may not write in «%s»: files could not be moved away") % self.root
            ) from refused


def _mark(entry: paramiko.SFTPAttributes) -> str:
    return f"{entry.st_size}:{entry.st_mtime}"


def fingerprint(key: paramiko.PKey) -> str:
    """As `ssh-keygen -l` shows it: SHA256:…"""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


@contextmanager
def _transport(connection: Connection) -> Iterator[paramiko.Transport]:
    """A server that shook hands; nobody has signed in yet."""
    host, port = connection.settings["host"], connection.settings["port"]
    try:
        # The address that was judged is the one that is called.
        address = kinds.reachable(host, port)
        line = socket.create_connection((address, port), timeout=kinds.CONNECT_SECONDS)
    except OSError as fault:
        raise kinds.in_words(fault, host) from fault
    transport = paramiko.Transport(line)
    # Its errors leave here in words; what paramiko writes of them into the log says nothing more.
    transport.set_log_channel("profiles.connectors.sftp.transport")
    logging.getLogger("profiles.connectors.sftp.transport").setLevel(logging.CRITICAL)
    transport.banner_timeout = transport.auth_timeout = transport.channel_timeout = kinds.CONNECT_SECONDS
    try:
        try:
            transport.start_client(timeout=kinds.CONNECT_SECONDS)
        except (paramiko.SSHException, EOFError, OSError) as fault:
            raise ConnectorError(
                "no_sftp", _("what answers at «%(host)s», port %(port)s, is no SFTP server: %(why)s")
                % {"host": host, "port": port, "why": fault or type(fault).__name__},
            ) from fault  # fmt: skip
        # An import takes longer than a quiet line lives at many firewalls.
        transport.set_keepalive(ALIVE_SECONDS)
        yield transport
    finally:
        transport.close()
        line.close()


def _check_host_key(connection: Connection, transport: paramiko.Transport) -> None:
    shown = fingerprint(transport.get_remote_server_key())
    if not connection.host_key:
        raise ConnectorError("not_tested", _("the server's key is not known yet: test the connection once"))
    if shown != connection.host_key:
        raise ConnectorError(
            "host_key_changed",
            _(
                "the server shows another key than before (%(shown)s instead of %(pinned)s): nothing was sent. "
                "Ask its operator; if the change is theirs, forget the old key on this page and test again"
            )
            % {"shown": shown, "pinned": connection.host_key},
        )


def _sign_in(connection: Connection, transport: paramiko.Transport) -> None:
    user, secret = connection.settings["user"], kinds.secret_of(connection)
    try:
        if secret.lstrip().startswith("-----BEGIN"):
            transport.auth_publickey(user, _private_key(secret))
        else:
            transport.auth_password(user, secret)
    except paramiko.AuthenticationException as refused:
        raise ConnectorError(
            "auth_refused",
            _("the server does not know the user «%s», or refuses the password or key") % user,
        ) from refused
    except (paramiko.SSHException, EOFError, OSError) as fault:
        raise kinds.in_words(fault, connection.settings["host"]) from fault


def _private_key(text: str) -> paramiko.PKey:
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        with suppress(paramiko.SSHException, ValueError):
            return kind.from_private_key(io.StringIO(text))
    raise ConnectorError("bad_key", _("the private key cannot be read: paste it whole, without a passphrase"))


@contextmanager
def _folder(connection: Connection, transport: paramiko.Transport) -> Iterator[SftpFolder]:
    try:
        sftp = paramiko.SFTPClient.from_transport(transport)
        assert sftp is not None
        sftp.get_channel().settimeout(kinds.READ_SECONDS)
    except (paramiko.SSHException, EOFError, OSError) as fault:
        raise ConnectorError("no_sftp", _("the server signs the user in, but offers no SFTP")) from fault
    try:
        yield SftpFolder(sftp, connection.settings, connection.seen)
    except (paramiko.SSHException, EOFError, OSError) as fault:
        # A line cut half-way: what was not concluded is done again at the next look.
        raise kinds.in_words(fault, connection.settings["host"]) from fault
    finally:
        sftp.close()


@contextmanager
def open_folder(connection: Connection) -> Iterator[SftpFolder]:
    """The folder, ready to be looked into. Raises `ConnectorError`."""
    with _transport(connection) as transport:
        _check_host_key(connection, transport)
        _sign_in(connection, transport)
        with _folder(connection, transport) as folder:
            yield folder


def test(connection: Connection, _request) -> list[Finding]:
    """Reach, recognise, sign in, list, read and write. The first test pins the server's key."""
    findings: list[Finding] = []
    step = _("Reach the server")
    try:
        with _transport(connection) as transport:
            findings.append(
                Finding(step, True, f"{connection.settings['host']}:{connection.settings['port']}")
            )
            step = _("Recognise its key")
            shown = fingerprint(transport.get_remote_server_key())
            if not connection.host_key:
                # Pinned only if nobody else has pinned one meanwhile.
                Connection.objects.filter(pk=connection.pk, host_key="").update(host_key=shown)
                connection.refresh_from_db(fields=["host_key"])
            _check_host_key(connection, transport)
            findings.append(Finding(step, True, shown))
            step = _("Sign in")
            _sign_in(connection, transport)
            findings.append(Finding(step, True, connection.settings["user"]))
            step = _("List the folder")
            with _folder(connection, transport) as folder:
                files = folder.found()
                findings.append(Finding(step, True, _("files waiting: %s") % len(files)))
                step = _("Read a file")
                findings.append(Finding(step, True, _read_one(folder, files)))
                step = _("Write, so that files can be moved away")
                folder.check_writing()
                findings.append(Finding(step, True))
    except ConnectorError as fault:
        findings.append(Finding(step, False, fault.detail))
    return findings


def _read_one(folder: SftpFolder, files: list[Found]) -> str:
    if not files:
        return _("nothing to read: the folder is empty")
    newest = files[-1]
    try:
        with folder.sftp.open(folder._at(newest.name), "rb") as remote:  # noqa: SLF001 - of the same module
            remote.read(1024)
    except OSError as refused:
        raise ConnectorError("no_access", _("the user may not read «%s»") % newest.name) from refused
    written = datetime.fromtimestamp(int(newest.mark.partition(":")[2]), UTC)
    return _("«%(file)s», written %(at)s") % {"file": newest.name, "at": f"{written:%Y-%m-%d %H:%M} UTC"}
