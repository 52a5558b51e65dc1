"""Django's own apps, configured for a database of many schemas: 64-bit keys, no permission rows.

What staff may do stands in `tenants/roles.py`, so the rows that `auth` would write after each migration of each
schema are never read.
"""

from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig
from django.contrib.auth.apps import AuthConfig as DjangoAuthConfig
from django.contrib.contenttypes.apps import ContentTypesConfig as DjangoContentTypesConfig
from django.db.models.signals import post_migrate

BIG = "django.db.models.BigAutoField"


class ContentTypesConfig(DjangoContentTypesConfig):
    default_auto_field = BIG


class AuthConfig(DjangoAuthConfig):
    default_auto_field = BIG

    def ready(self):
        super().ready()
        post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")


class AdminConfig(DjangoAdminConfig):
    default_auto_field = BIG
    # The two sites stand in cdp/admin_sites.py and name their models themselves.
    default_site = "cdp.admin_sites.BrandAdminSite"
