"""A secret key for a machine where nobody set one: made once, kept readable by its owner alone."""

import os
import secrets
from pathlib import Path


def local_secret(folder: Path) -> str:
    """The key kept in `folder`, made on first use. Safe when two processes ask at once."""
    path = folder / "secret_key"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text()
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_urlsafe(50))
    return path.read_text()
