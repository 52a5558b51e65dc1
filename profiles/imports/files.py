"""Where the files that were uploaded are kept: each under the SHA-256 of its content, apart for each brand."""

import hashlib
import shutil
import time
from datetime import timedelta
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
    else:
        kept(file_hash).touch()  # it is wanted anew
    return file_hash


def left_lying(longer_than: timedelta) -> set[str]:
    """The hashes of the files that were put there longer ago than this."""
    if not folder().is_dir():
        return set()
    limit = time.time() - longer_than.total_seconds()
    return {path.name for path in folder().iterdir() if path.stat().st_mtime < limit}


def forget(file_hash: str) -> bool:
    """Remove a kept file; whether there was one."""
    path = kept(file_hash)
    there = path.exists()
    path.unlink(missing_ok=True)
    return there
