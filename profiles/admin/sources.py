"""The systems that tell us about people, and how much each is trusted."""

from django.contrib import admin

from profiles.models import Source
from tenants.network.admin import ScopedModelAdmin


@admin.register(Source)
class SourceAdmin(ScopedModelAdmin):
    list_display = ("name", "code", "kind", "trust")
    list_filter = ("kind",)
    search_fields = ("name", "code")

    def get_readonly_fields(self, request, obj=None):
        # Files and tills name a source by its code: it stays what it was.
        return ("code",) if obj else ()

    def has_delete_permission(self, request, obj=None):
        return False
