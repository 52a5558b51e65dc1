from django.apps import AppConfig


class CdpConfig(AppConfig):
    name = "cdp"
    verbose_name = "Platform"

    def ready(self):
        # Makes the app that knows the broker the current one, for every @shared_task.
        from cdp import celery  # noqa: F401
