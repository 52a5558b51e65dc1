"""The systems that tell us about people, and how much each is trusted."""

from django.contrib import admin
from django.db import transaction

from profiles.models import Source
from profiles.tasks import recompute_source
from tenants.network.admin import Audited, ScopedModelAdmin


@admin.register(Source)
class SourceAdmin(Audited, ScopedModelAdmin):
    list_display = ("name", "code", "kind", "trust")
    list_filter = ("kind",)
    search_fields = ("name", "code")

    def get_readonly_fields(self, request, obj=None):
        # Files and tills name a source by its code: it stays what it was.
        return ("code",) if obj else ()

    def save_model(self, request, obj, form, change):
        super().save_model(request, obj, form, change)
        if change and "trust" in form.changed_data:
            # Which value wins rests on trust: everybody the source speaks of is settled anew.
            transaction.on_commit(lambda: recompute_source.delay(obj.pk))

    def has_delete_permission(self, request, obj=None):
        return False
