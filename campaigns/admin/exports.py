"""Every file that left, and the way to fetch one: who takes a file with customers in it is written down."""

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, Http404
from django.shortcuts import get_object_or_404
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from unfold.decorators import display

from campaigns.exports import FORMATS, writer
from campaigns.models import Export
from tenants.network.admin import ReadOnly, ScopedModelAdmin
from tenants.network.models import audit


@admin.register(Export)
class ExportAdmin(ReadOnly, ScopedModelAdmin):
    list_display = ("asked_at", "campaign", "destination", "rows", "state", "asked_by", "purpose", "file")
    list_display_links = ("asked_at",)
    list_filter = ("format", "campaign")
    list_select_related = ("campaign", "job", "asked_by")
    search_fields = ("campaign__name", "purpose", "file_name")
    fields = (
        "campaign", "segment_version", "destination", "columns", "rows", "sha256", "file_name", "file", "state",
        "purpose", "store", "asked_by", "asked_at", "finished_at",
    )  # fmt: skip
    readonly_fields = ("destination", "state", "file")

    @display(description=_lazy("destination"))
    def destination(self, export):
        return FORMATS[export.format].label if export.format in FORMATS else export.format

    @display(description=_lazy("state"))
    def state(self, export):
        return export.job.get_state_display() if export.job else None

    @display(description=_lazy("file"))
    def file(self, export):
        if export.finished_at is None:
            return None
        address = reverse("admin:campaigns_export_download", args=[export.pk])
        return format_html('<a href="{}">{}</a>', address, _("Download"))

    def get_fields(self, request, obj=None):
        return self._offered(request, self.fields)

    def get_list_display(self, request):
        return self._offered(request, self.list_display)

    @staticmethod
    def _offered(request, names):
        may = request.user.has_perm("campaigns.download_export")
        return [name for name in names if name != "file" or may]

    def get_urls(self):
        download = self.admin_site.admin_view(self.download_view)
        return [path("<int:pk>/download/", download, name="campaigns_export_download"), *super().get_urls()]

    def download_view(self, request, pk):
        """The file itself, to whoever may have it."""
        if not request.user.has_perm("campaigns.download_export"):
            raise PermissionDenied
        export = get_object_or_404(Export, pk=pk)
        address = writer.path_of(export)
        if export.finished_at is None or not address.is_file():
            raise Http404(_("This file is not there (any more)."))
        audit(
            request.user,
            "download",
            export,
            store_id=export.store_id,
            file=export.file_name,
            rows=export.rows,
        )
        answer = FileResponse(
            address.open("rb"), as_attachment=True, filename=export.file_name, content_type="text/csv"
        )
        answer["X-Content-SHA256"] = export.sha256
        answer["Cache-Control"] = "no-store"
        return answer
