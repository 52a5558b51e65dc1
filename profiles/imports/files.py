"""Where the files that were uploaded are kept: each under the SHA-256 of its content, apart for each brand."""

import hashlib
import shutil
from pathlib import Path
from tempfile import NamedTemporaryFile

from django.conf import settings
from django.db import connection


def folder() -> Path:
    """Where the files of the brand are kept."""
    return Path(settings.MEDIA_ROOT) / connection.schema_name / "imports"


def kept(file_hash: str) -> Path:
    return folder() / file_hash


def keep(path: Path) -> str:
    """Keep a copy of the file; returns its SHA-256 in hexadecimal, under which `kept` finds it. Raises `OSError`
    where there is no room, and then leaves nothing behind."""
    with Path(path).open("rb") as stream:
        file_hash = hashlib.file_digest(stream, "sha256").hexdigest()
    if not kept(file_hash).exists():
        folder().mkdir(parents=True, exist_ok=True)
        # Written beside and renamed: a copy cut short must not stand under the hash of the whole.
        with NamedTemporaryFile(dir=folder(), delete=False) as copy, Path(path).open("rb") as stream:
            try:
                shutil.copyfileobj(stream, copy)
                copy.flush()
            except OSError:
                Path(copy.name).unlink()
                raise
        Path(copy.name).replace(kept(file_hash))
    return file_hash


def forget(file_hash: str) -> None:
    kept(file_hash).unlink(missing_ok=True)
