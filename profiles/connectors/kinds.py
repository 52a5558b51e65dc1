"""What a kind of connector says of itself, and what it can do: the interface that each module of a kind fills in.

A kind that is polled gives `open`, which yields a `Folder`; one that is written to gives `receives`, the path by which
senders reach it. Whatever goes wrong outside leaves as a `ConnectorError`, whose text a person without a terminal can
act on.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from profiles.models import Connection
from profiles.models.connections import SecretUnreadable
from tenants.network import outbound

Words = Any  # a text, or one that is translated when it is shown

CONNECT_SECONDS = 8
READ_SECONDS = 30
LARGEST_FILE = 500 * 1024 * 1024
# Names that say "not yet" or "not me": what uploading programs call a file until it is whole.
UNFINISHED = re.compile(
    r"^[.~]|\.(?:part|tmp|partial|filepart|crdownload|done)$|\.report\.txt$", re.IGNORECASE
)


class ConnectorError(RuntimeError):
    """The other side cannot be used: unreachable, refused, missing. `code` is stable, the text is for people."""

    def __init__(self, code: str, detail: str):
        super().__init__(detail)
        self.code, self.detail = code, detail


class Vanished(ConnectorError):
    """The file was there when the folder was listed, and is not any more."""


class NotTakenIn(ConnectorError):
    """The file was read, and taking it in broke off: the next look carries it on."""


class StillWritten(ConnectorError):
    """The file grew while it was read: it is left for the next look."""


@dataclass(frozen=True)
class Setting:
    """A setting that a kind asks for. `check` returns the value to keep, or raises ValueError saying what is wrong."""

    name: str
    label: Words
    help: Words = ""
    required: bool = True
    default: Any = ""
    type: type = str
    check: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Found:
    """A file in a folder. `mark` changes when its content does; `is_whole` where nobody writes to it any more."""

    name: str
    size: int
    mark: str
    is_whole: bool

    @property
    def ref(self) -> str:
        """By which a second look knows it again. The end of a long name is what tells it from its neighbours."""
        return f"{self.name[-220:]} @{self.mark}"


class Folder(Protocol):
    """A place that is looked into: files are listed, fetched, and put away beside a report."""

    def found(self) -> list[Found]: ...

    def fetch(self, file: Found, copy: IO[bytes]) -> None:
        """Write the file's bytes into `copy`. Raises `Vanished` and `StillWritten`."""

    def put_away(self, file: Found, where: str, report: str) -> None:
        """Move the file into the folder `where` ("done" or "failed"), its report beside it."""

    def seen(self) -> Mapping[str, str]:
        """What this look found, for the next one."""


@dataclass(frozen=True)
class Finding:
    """One step of a test: what was tried, whether it went well, and what to do if not."""

    step: Words
    is_fine: bool
    detail: Words = ""


@dataclass(frozen=True)
class Sample:
    """An example of what a kind takes in, to look at and to try with."""

    file_name: str
    content_type: str
    content: bytes


@dataclass(frozen=True)
class Kind:
    """A row of the catalogue."""

    code: str
    title: Words
    summary: Words
    icon: str
    format: Words
    anchor: str
    # A shop's sample takes the brand's currency.
    sample: Callable[..., Sample] | None = None
    settings: tuple[Setting, ...] = ()
    secret: Words = ""
    secret_help: Words = ""
    secret_has_lines: bool = False
    has_own_key: bool = False
    is_a_shop: bool = False
    open: Callable[[Connection], AbstractContextManager[Folder]] | None = None
    test: Callable[[Connection, Any], list[Finding]] | None = None
    receives: str = ""
    # Kinds that are set up on a page of their own: the name of its address, and the text of the link.
    page: str = ""
    page_label: Words = ""
    headers: Callable[[bytes, str], dict[str, str]] | None = field(default=None, repr=False)

    @property
    def is_configured_here(self) -> bool:
        return not self.page


def when_used(function: str) -> Callable[..., Any]:
    """The function of this full name, whose module is loaded by the first call.

    For modules on top of large libraries: every process knows all kinds, hardly any ever speaks to such a place, and a
    web process that starts keeps tills waiting. The price: the first connection of a process takes some tenths of a
    second longer, and a library that is missing is missed only then.
    """

    def loaded_and_called(*args: Any) -> Any:
        return import_string(function)(*args)

    return loaded_and_called


def check_settings(kind: Kind, told: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings to keep and, by name, what is wrong with the others."""
    kept: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    known = {setting.name for setting in kind.settings}
    for name in told.keys() - known:
        wrong[name] = _("this kind has no setting «%s»") % name
    for setting in kind.settings:
        value = told.get(setting.name, setting.default)
        if value is None or value == "":
            value = setting.default
        if isinstance(value, str):
            value = value.strip()
        if value in ("", None):
            if setting.required:
                wrong[setting.name] = _("this is needed")
            kept[setting.name] = value if value is not None else ""
            continue
        try:
            if setting.type is int and not isinstance(value, bool):
                value = int(value)
            if not isinstance(value, setting.type):
                raise TypeError(_("this has not the right form"))
            kept[setting.name] = setting.check(value) if setting.check else value
        except (TypeError, ValueError) as fault:
            wrong[setting.name] = str(fault) or _("this has not the right form")
    return kept, wrong


def a_port(number: int) -> int:
    if not 0 < number < 65536:
        raise ValueError(_("a port lies between 1 and 65535"))
    return number


def a_host(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9.:-]{0,250}[A-Za-z0-9])?", name):
        raise ValueError(_("a host name alone, such as sftp.example.com"))
    return name


def a_pattern(pattern: str) -> str:
    if "/" in pattern:
        raise ValueError(_("a pattern of file names, such as *.csv, without a folder"))
    return pattern


def a_folder(path: str) -> str:
    if ".." in path.split("/") or "\x00" in path:
        raise ValueError(_("a folder's path has no «..»"))
    return path.rstrip("/") or "/"


def reachable(host: str, port: int) -> str:
    """The address of the host, looked up once. Raises `ConnectorError` for an unknown one, and for one inside our own
    network, which a brand has no business in."""
    try:
        return outbound.address_of(host, port)
    except outbound.UnknownHost as unknown:
        raise ConnectorError("unknown_host", _("no host is called «%s»: check its name") % host) from unknown
    except outbound.PrivateHost as private:
        raise ConnectorError(
            "private_host",
            _("«%s» lies inside the platform's own network, which connectors do not call") % host,
        ) from private


def in_words(fault: BaseException, host: str) -> ConnectorError:
    """A failure of the network, as the brand's administrator would say it."""
    if isinstance(fault, ConnectorError):
        return fault
    if isinstance(fault, TimeoutError):
        return ConnectorError(
            "timeout", _("«%s» does not answer: check the address, the port and its firewall") % host
        )
    if isinstance(fault, ConnectionRefusedError):
        return ConnectorError("refused", _("«%s» refuses the connection: is the port right?") % host)
    return ConnectorError(
        "unreachable", _("«%(host)s» cannot be reached: %(why)s") % {"host": host, "why": fault}
    )


def secret_of(connection: Connection) -> str:
    """The secret in clear. Raises `ConnectorError` where it has to be entered (again)."""
    try:
        secret = connection.secret
    except SecretUnreadable as unreadable:
        raise ConnectorError("no_secret", str(unreadable)) from unreadable
    if not secret:
        raise ConnectorError("no_secret", _("no secret has been entered yet"))
    return secret
