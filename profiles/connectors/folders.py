"""The rows of the catalogue for folders that are looked into: what SFTP and S3 ask for, and how it is checked.

How they are spoken to stands in `sftp` and `s3`, which are loaded when the first connection is opened or tested.
"""

import re
from urllib.parse import urlsplit

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from profiles.connectors import kinds
from profiles.connectors.kinds import Kind, Setting
from profiles.connectors.samples import customers_csv


def _an_endpoint(address: str) -> str:
    try:
        parts = urlsplit(address)
        kinds.a_host((parts.hostname or "").strip(":"))
        parts.port  # noqa: B018 - read for what it refuses
        if parts.scheme not in ("https", "http") or re.search(r"\s", address):
            raise ValueError(address)
    except ValueError as wrong:
        raise ValueError(_("an address such as https://s3.fr-par.scw.cloud")) from wrong
    return address.rstrip("/")


def _a_region(name: str) -> str:
    if not re.fullmatch(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)", name) or name.isdigit():
        raise ValueError(_("a region such as eu-west-3"))
    return name


SFTP = Kind(
    code="sftp",
    title=gettext_lazy("Watched SFTP folder"),
    summary=gettext_lazy(
        "Files that a back office puts down are fetched every five minutes, taken in, and moved to done/ or failed/ "
        "with a report beside them."
    ),
    icon="folder_shared",
    format=gettext_lazy(
        "CSV or XLSX, one customer a row, with an id that never changes. Columns are read as in the last import of the "
        "same source. A file is taken when two looks find it unchanged, or at once when a file of its name with .done "
        "behind it stands beside it."
    ),
    anchor="watched-sftp-folder",
    sample=customers_csv,
    settings=(
        Setting("host", gettext_lazy("host"), gettext_lazy("e.g. sftp.example.com"), check=kinds.a_host),
        Setting("port", gettext_lazy("port"), default=22, type=int, check=kinds.a_port),
        Setting("user", gettext_lazy("user")),
        Setting("folder", gettext_lazy("folder"), default="/", check=kinds.a_folder),
        Setting("pattern", gettext_lazy("file names"), gettext_lazy("e.g. clients-*.csv"), default="*.csv",
                check=kinds.a_pattern),
        Setting("needs_marker", gettext_lazy("only with a .done file"),
                gettext_lazy("For senders that announce each file with an empty file of its name and .done."),
                required=False, default=False, type=bool),
    ),
    secret=gettext_lazy("password or private key"),
    secret_help=gettext_lazy("A private key is pasted whole, from -----BEGIN to END-----, without a passphrase."),
    secret_has_lines=True,
    open=kinds.when_used("profiles.connectors.sftp.open_folder"),
    test=kinds.when_used("profiles.connectors.sftp.test"),
)  # fmt: skip

S3 = Kind(
    code="s3",
    title=gettext_lazy("Bucket (S3)"),
    summary=gettext_lazy(
        "The same for a bucket at Amazon or any host that speaks S3: objects below a prefix are fetched every five "
        "minutes, taken in, and moved to done/ or failed/."
    ),
    icon="inventory_2",
    format=gettext_lazy(
        "CSV or XLSX, one customer a row, with an id that never changes. Columns are read as in the last import of the "
        "same source."
    ),
    anchor="bucket-s3",
    sample=customers_csv,
    settings=(
        Setting("endpoint", gettext_lazy("address of the host"),
                gettext_lazy("e.g. https://s3.fr-par.scw.cloud; empty for Amazon"), required=False,
                check=_an_endpoint),
        Setting("region", gettext_lazy("region"), default="eu-west-3", check=_a_region),
        Setting("bucket", gettext_lazy("bucket")),
        Setting("prefix", gettext_lazy("prefix"), gettext_lazy("e.g. clients/in; empty for the whole bucket"),
                required=False),
        Setting("access_key", gettext_lazy("access key")),
    ),
    secret=gettext_lazy("secret access key"),
    open=kinds.when_used("profiles.connectors.s3.open_folder"),
    test=kinds.when_used("profiles.connectors.s3.test"),
)  # fmt: skip
