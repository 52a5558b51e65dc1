"""What a web process loads before it answers: tills wait for it when all of them were killed."""

import json
import subprocess
import sys

from django.conf import settings

# Large libraries that hardly any request needs, and our modules on top of them: loaded when first used.
WHEN_USED = {
    "boto3", "botocore", "paramiko", "invoke", "nacl", "profiles.connectors.s3", "profiles.connectors.sftp",
    "reportlab", "loyalty.owed_pdf",
    "httpx", "jwt", "loyalty.wallet.google", "loyalty.wallet.telling",
    "PIL", "faker", "rich",
}  # fmt: skip
START = """
import gc, json, sys
import cdp.wsgi
collector = [gc.isenabled(), gc.get_freeze_count() > 0]
import cdp.urls  # with the first page
print(json.dumps([sorted(sys.modules), collector]))
"""


def test_a_web_process_starts_without_what_it_hardly_ever_needs():
    done = subprocess.run(
        [sys.executable, "-c", START], check=True, capture_output=True, cwd=settings.BASE_DIR
    )
    loaded, collector = json.loads(done.stdout)
    assert WHEN_USED & set(loaded) == set()
    assert "cdp.urls" in loaded
    assert collector == [True, True], "off while all is loaded, and on again; what is loaded is left alone"
