"""Secrets at rest: sealed under a key made of the platform's SECRET_KEY, so that they can be used and not be read."""

import base64
import hashlib

from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings


def seal_for(purpose: str) -> MultiFernet:
    """What seals and opens the secrets of one purpose. What an older SECRET_KEY sealed opens by the fallbacks."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet(
        Fernet(base64.urlsafe_b64encode(hashlib.sha256(purpose.encode() + b"\0" + key.encode()).digest()))
        for key in keys
    )
