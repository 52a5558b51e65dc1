"""Whoever asks for a task, in whichever thread, asks our own app."""

from concurrent.futures import ThreadPoolExecutor

from celery import current_app
from django.conf import settings

from cdp.celery import app
from profiles.tasks import import_file


def test_a_thread_of_the_web_server_asks_our_broker():
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: current_app.main).result() == app.main == "cdp"
        told = pool.submit(lambda: (import_file.app.main, import_file.app.conf.broker_url)).result()
    assert told == ("cdp", settings.CELERY_BROKER_URL)


def test_every_task_of_the_timetable_exists():
    app.loader.import_default_modules()
    assert {entry["task"] for entry in app.conf.beat_schedule.values()} <= set(app.tasks)
