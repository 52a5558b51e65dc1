"""The Chromium of this machine, its flags, and the sizes of window that pages are looked at with."""

import shutil

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.localhost 127.0.0.1, MAP localhost 127.0.0.1",
]
DESK = {"width": 1440, "height": 1000}
TABLET = {"width": 820, "height": 1000}
PHONE = {"width": 390, "height": 844}
