"""`manage.py record_tickets`: the recorder, which web processes of this machine hand their tickets to."""

import signal

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db.backends.signals import connection_created

from cdp import silence
from cdp.till_lane import hurry
from loyalty.till.recorder import Recorder


class Command(BaseCommand):
    help = "Record the tickets of this machine's web processes, several in a call, until Ctrl-C."

    def handle(self, **options):
        if not settings.TILL_RECORDER:
            raise CommandError("TILL_RECORDER does not say where its socket shall be")
        silence.listen()
        connection_created.connect(lambda connection, **_sent: hurry(connection), weak=False)
        recorder = Recorder(silence.silence)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_told: recorder.stop())
        recorder.serve()
