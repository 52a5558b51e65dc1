"""Imports in head office: upload a file, see how it is read, correct which column is what, check, take in, read the
report, undo.

Each step has its address: what was uploaded, and how it is to be read, stand in the query, the file signed so that
nobody points at another one.
"""

import hashlib
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

from django import forms
from django.contrib import admin, messages
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import FileResponse, Http404, HttpRequest
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from profiles.imports import files, report, run, undo
from profiles.imports import mapping as columns
from profiles.imports.columns import Proof
from profiles.imports.detect import CHARSETS, DELIMITERS, Unreadable
from profiles.imports.mapping import CONSENTS, FIELD_NAMES, PROVEN
from profiles.imports.reading import WHOLE_LINE
from profiles.imports.values import word_of
from profiles.models import Channel, ImportRun, Source
from tenants.network.admin import ScopedModelAdmin
from tenants.network.models import Job, audit

log = logging.getLogger(__name__)
State = ImportRun.State

UPLOAD_SALT = "profiles.imports.upload"
UPLOAD_KEPT_SECONDS = 24 * 3600
REJECTS_A_PAGE = 50
SUGGESTIONS_SHOWN = 20

DELIMITER_NAMES = {
    ";": gettext_lazy("semicolon ;"),
    ",": gettext_lazy("comma ,"),
    "\t": gettext_lazy("tabulator"),
    "|": gettext_lazy("bar |"),
}


@dataclass(frozen=True)
class Upload:
    """A kept file and what the person said about it."""

    file_hash: str
    file_name: str
    source_id: int

    def token(self) -> str:
        return signing.dumps(astuple(self), salt=UPLOAD_SALT, compress=True)

    @classmethod
    def of(cls, token: str) -> "Upload":
        """Raises `Http404` for a token that is forged, older than a day, or of a file no longer kept."""
        try:
            upload = cls(*signing.loads(token, salt=UPLOAD_SALT, max_age=UPLOAD_KEPT_SECONDS))
        except signing.BadSignature as forged:
            raise Http404(_("This upload is not known any more.")) from forged
        if not files.kept(upload.file_hash).exists():
            raise Http404(_("This upload is not known any more."))
        return upload


class UploadForm(forms.Form):
    source = forms.ModelChoiceField(
        Source.objects.all(), label=gettext_lazy("Source"), widget=UnfoldAdminSelectWidget,
        help_text=gettext_lazy("The system that wrote the file."),
    )  # fmt: skip
    file = forms.FileField(
        label=gettext_lazy("File"), widget=UnfoldAdminFileFieldWidget,
        help_text=gettext_lazy("CSV in any charset and with any delimiter, or a spreadsheet (XLSX)."),
    )  # fmt: skip

    def keep(self) -> Upload:
        """Keep the uploaded file among the brand's."""
        uploaded = self.cleaned_data["file"]
        with tempfile.NamedTemporaryFile() as copy:
            for chunk in uploaded.chunks():
                copy.write(chunk)
            copy.flush()
            file_hash = files.keep(Path(copy.name))
        return Upload(file_hash, uploaded.name, self.cleaned_data["source"].pk)


class DialectForm(forms.Form):
    """How the file is to be read, where the guess was wrong."""

    charset = forms.ChoiceField(
        choices=[(name, name) for name in CHARSETS], required=False, label=gettext_lazy("Charset"),
        widget=UnfoldAdminSelectWidget,
    )  # fmt: skip
    delimiter = forms.ChoiceField(
        choices=list(DELIMITER_NAMES.items()), required=False, label=gettext_lazy("Delimiter"),
        widget=UnfoldAdminSelectWidget,
    )  # fmt: skip


# What a person may say of an odd word; unsaid, its rows are refused.
MEANINGS = {
    "": gettext_lazy("– refuse these rows –"),
    "yes": gettext_lazy("yes: agreed"),
    "no": gettext_lazy("no: refused"),
    "nothing": gettext_lazy("says nothing"),
}
SAID: dict[str, bool | None] = {"yes": True, "no": False, "nothing": None}
# A column of more odd words holds no answers, and nobody is asked about all of them.
WORDS_ASKED = 30


class MappingForm(forms.Form):
    """A field of ours for each column of the file, what its odd words mean, and the proof of its consents.

    `odd_words(mapping)` finds the words of a mapping. What a new choice of columns makes worth asking is asked before
    the form is valid.
    """

    ids_of_content = forms.BooleanField(
        required=False, widget=UnfoldBooleanSwitchWidget,
        label=gettext_lazy("No column holds an id: make one of all that a row says"),
        help_text=gettext_lazy(
            "The same row again is recognised. One in which anything has changed is somebody new, until matching joins"
            " the two."
        ),
    )  # fmt: skip

    def __init__(self, plan: run.Plan, odd_words: Callable[[Mapping[str, str]], dict], data=None):
        super().__init__(data, initial={"ids_of_content": plan.ids_of_content})
        self.plan = plan
        choices = list(FIELD_NAMES.items())
        for place, column in enumerate(plan.dialect.header):
            self.fields[f"column_{place}"] = forms.ChoiceField(
                choices=choices, initial=plan.mapping[column], label=column, widget=UnfoldAdminSelectWidget
            )
        looked_at = plan.mapping if data is None else self._sent(data)
        fields = set(looked_at.values())
        self.words: list[tuple[str, str, int, str]] = []
        self.has_too_many = []
        if fields & set(CONSENTS):
            for column, counted in odd_words(looked_at).items():
                self._ask_words(column, counted)
        self.asks_proof = bool(fields & PROVEN)
        if self.asks_proof:
            self._ask_proof("consent_wording" not in fields)

    def _sent(self, data) -> dict[str, str]:
        header = self.plan.dialect.header
        return {column: data.get(f"column_{place}", "") for place, column in enumerate(header)}

    def _ask_words(self, column: str, counted: Counter[str]) -> None:
        said = {word_of(word): answer for word, answer in self.plan.answers.get(column, {}).items()}
        names = {answer: name for name, answer in SAID.items()}
        if len(counted) > WORDS_ASKED:
            self.has_too_many.append(column)
        for word, number in counted.most_common(WORDS_ASKED):
            name = "answer_" + hashlib.sha256(f"{column}\0{word}".encode()).hexdigest()[:16]
            self.words.append((column, word, number, name))
            self.fields[name] = forms.ChoiceField(
                choices=list(MEANINGS.items()), required=False, label=word,
                initial=names[said[word]] if word in said else "", widget=UnfoldAdminSelectWidget,
            )  # fmt: skip

    def _ask_proof(self, lacks_wording: bool) -> None:
        self.fields["proof_wording"] = forms.CharField(
            required=False, max_length=500, initial=self.plan.proof.wording, strip=True,
            label=gettext_lazy("What everybody was shown who agreed, and where"),
            help_text=gettext_lazy(
                "For rows without words of their own, e.g. «I agree to receive offers by e-mail» – sign-up form of the"
                " shop, version of March 2025. Kept with each consent as its proof."
            ),
            widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        )  # fmt: skip
        self.fields["proof_on"] = forms.DateField(
            required=False, initial=self.plan.proof.on, label=gettext_lazy("Day of the agreement"),
            help_text=gettext_lazy("For rows that do not say when."),
            widget=UnfoldAdminTextInputWidget(attrs={"type": "date"}),
        )  # fmt: skip
        self.lacks_wording = lacks_wording

    @property
    def mapping(self) -> dict[str, str]:
        return {
            column: self.cleaned_data[f"column_{place}"]
            for place, column in enumerate(self.plan.dialect.header)
            if f"column_{place}" in self.cleaned_data
        }

    @property
    def answers(self) -> dict[str, dict[str, bool | None]]:
        """What is said of odd words: what was said before of the same columns, and now."""
        answers = {
            column: {word_of(word): answer for word, answer in said.items()}
            for column, said in self.plan.answers.items()
            if self.mapping.get(column) in CONSENTS
        }
        for column, word, _number, name in self.words:
            meaning = self.cleaned_data.get(name, "")
            said = answers.setdefault(column, {})
            if meaning in SAID:
                said[word] = SAID[meaning]
            else:
                said.pop(word, None)
        return {column: said for column, said in answers.items() if said}

    @property
    def proof(self) -> Proof:
        return Proof(self.cleaned_data.get("proof_wording", ""), self.cleaned_data.get("proof_on"))

    def clean_proof_on(self):
        day = self.cleaned_data["proof_on"]
        if day and day > timezone.localdate():
            raise forms.ValidationError(_("This day is still to come."))
        return day

    def clean(self):
        try:
            chosen = columns.check(self.mapping, self.plan.dialect.header)
        except columns.WrongMapping as fault:
            self.add_error(f"column_{self.plan.dialect.header.index(fault.column)}", fault.message)
        else:
            for problem in columns.problems(chosen, ids_of_content=self.cleaned_data["ids_of_content"]):
                if problem.stops:
                    self.add_error(None, problem.message)
        if any(name not in self.data for _column, _word, _number, name in self.words):
            self.add_error(
                None, _("Say below what the odd words mean, or leave them and their rows are refused.")
            )
        if self.asks_proof and self.lacks_wording and "proof_wording" not in self.data:
            self.add_error(
                None, _("Say below what people were shown who agreed, or leave it and every yes is left out.")
            )
        return self.cleaned_data

    def odd_words(self) -> list[tuple[str, list[dict]]]:
        """[(column, [{word, number, field}])] as the page asks."""
        asked: dict[str, list[dict]] = {}
        for column, word, number, name in self.words:
            asked.setdefault(column, []).append({"word": word, "number": number, "field": self[name]})
        return list(asked.items())

    def proof_fields(self):
        return [self["proof_wording"], self["proof_on"]] if self.asks_proof else []

    def rows(self) -> list[dict]:
        """The columns as the page shows them: name, sample values, select, confidence."""
        return [
            {
                "column": column,
                "values": [row[place] for row in self.plan.dialect.sample_rows if place < len(row)],
                "field": self[f"column_{place}"],
                "confidence": self.plan.confidence[column],
                "ignored": self[f"column_{place}"].value() == columns.IGNORE,
            }
            for place, column in enumerate(self.plan.dialect.header)
        ]


@admin.register(ImportRun)
class ImportRunAdmin(ScopedModelAdmin):
    list_display = (
        "file_name", "source", "state_label", "received", "created", "corrected", "unchanged", "rejected", "started_at",
    )  # fmt: skip
    list_filter = ("source",)
    list_select_related = ("source", "job")
    search_fields = ("file_name",)
    date_hierarchy = "started_at"
    actions = None

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False

    @display(
        description=gettext_lazy("state"), ordering="state",
        label={
            "checking": "warning", "checked": "info", "taking_in": "warning", "done": "success", "failed": "danger",
            "undoing": "warning", "cancelled": "info", "undone": "info",
        },
    )  # fmt: skip
    def state_label(self, import_run):
        if import_run.job and import_run.job.state == Job.State.FAILED:
            return Job.State.FAILED, Job.State.FAILED.label
        return import_run.state, import_run.get_state_display()

    def get_urls(self):
        own = [
            path("add/mapping/", self._view(self.mapping_view), name="profiles_importrun_mapping"),
            *(
                path(
                    f"<int:pk>/{deed}/",
                    self._view(self.deed_view if deed == "undo" else require_POST(self.deed_view)),
                    {"deed": deed},
                    name=f"profiles_importrun_{deed}",
                )
                for deed in DEEDS
            ),
            path("<int:pk>/errors.csv", self._view(self.errors_view), name="profiles_importrun_errors"),
        ]
        return [*own, *super().get_urls()]

    def _view(self, view):
        return self.admin_site.admin_view(view)

    def _page(self, request: HttpRequest, template: str, **context) -> TemplateResponse:
        request.current_app = self.admin_site.name
        shared = {**self.admin_site.each_context(request), "opts": self.opts}
        return TemplateResponse(request, f"profiles/imports/{template}", shared | context)

    # --- Upload, mapping ----------------------------------------------------------------------------------------

    def add_view(self, request, form_url="", extra_context=None):
        """The first step: which file, from which source."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = UploadForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            try:
                upload = form.keep()
                run.prepare(files.kept(upload.file_hash), form.cleaned_data["source"])
            except Unreadable as fault:
                form.add_error("file", str(fault))
            except OSError:
                log.exception("an uploaded file could not be kept")
                form.add_error("file", _("the file could not be kept: no room, or no access, on the server"))
            else:
                return redirect(_mapping_address(upload))
        return self._page(request, "upload.html", title=_("Import a file"), form=form)

    def mapping_view(self, request):
        """The second step: how the file is read and which column is what; then the check, or the run at once."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        upload = Upload.of(request.GET.get("upload", ""))
        source = get_object_or_404(Source, pk=upload.source_id)
        kept = files.kept(upload.file_hash)
        known = _dialect_in(request.GET)
        # Whoever comes back from a check finds the columns as they were chosen.
        checked = ImportRun.objects.filter(file_hash=upload.file_hash, source=source).order_by("-pk")
        before = (
            checked.filter(pk=request.GET["import"]).first()
            if request.GET.get("import", "").isdigit()
            else None
        )
        chosen = {}
        if before and not known:
            known = {"charset": before.charset, "delimiter": before.delimiter}
            chosen = {
                "mapping": before.mapping, "answers": before.answers, "ids_of_content": before.ids_of_content,
                "proof": Proof(before.proof_wording, before.proof_on),
            }  # fmt: skip
        try:
            plan = run.prepare(kept, source, **chosen, **known)
        except Unreadable as fault:
            messages.error(request, str(fault))
            return redirect(_mapping_address(upload) if known else "admin:profiles_importrun_add")

        def odd_words(mapping):
            found = run.odd_words(kept, plan.dialect, mapping)
            # The check has read the file to its end.
            for column, words in (before.forecast.get("odd_words", {}) if before else {}).items():
                if mapping.get(column) in CONSENTS:
                    found[column] = Counter(words) | found.get(column, Counter())
            return found

        form = MappingForm(plan, odd_words, request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                started = run.start(
                    kept, source, request.user, upload.file_name, mapping=form.mapping, answers=form.answers,
                    proof=form.proof, ids_of_content=form.cleaned_data["ids_of_content"],
                    charset=plan.dialect.charset, delimiter=plan.dialect.delimiter,
                    awaits_word="run" not in request.POST,
                )  # fmt: skip
            except run.NotNow as fault:
                form.add_error(None, str(fault))
            else:
                return redirect("admin:profiles_importrun_change", started.pk)
        return self._page(
            request,
            "mapping.html",
            title=upload.file_name,
            subtitle=source.name,
            plan=plan,
            form=form,
            source=source,
            dialect_form=DialectForm(
                initial={"charset": plan.dialect.charset, "delimiter": plan.dialect.delimiter}
            ),
            upload=upload.token(),
        )

    # --- Report -------------------------------------------------------------------------------------------------

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """The report: progress while it runs, then the numbers, the rejects and the error file."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        import_run = self.get_object(request, object_id)
        if import_run is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        rejects = Paginator(import_run.rejects.all(), REJECTS_A_PAGE).get_page(request.GET.get("page"))
        for row in rejects:
            row.cells = _as_received(row.raw, import_run.columns)
        job = import_run.job
        return self._page(
            request,
            "report.html",
            title=import_run.file_name,
            subtitle=import_run.source.name,
            original=import_run,
            import_run=import_run,
            job=job,
            is_moving=import_run.is_moving and job is not None and job.state not in Job.OVER,
            deeds=_deeds_open(import_run) if self.has_add_permission(request) else (),
            forecast=import_run.state == State.CHECKED and _shown(import_run.forecast),
            findings=_findings(import_run),
            upload=_upload_of(import_run).token(),
            undo_until=import_run.finished_at and import_run.finished_at + undo.WITHIN,
            numbers=report.numbers(import_run),
            rejects=rejects,
            mapping=_in_words(import_run),
            answers=_answers_in_words(import_run),
            delimiter=DELIMITER_NAMES.get(import_run.delimiter, import_run.delimiter),
        )

    def deed_view(self, request, pk, deed):
        """What somebody asks to be done with the import: see `DEEDS`."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        import_run = get_object_or_404(ImportRun, pk=pk)
        if request.method != "POST":
            return self._ask_before_undo(request, import_run)
        do, done = DEEDS[deed]
        try:
            do(import_run, request.user)
        except run.NotNow as fault:
            messages.error(request, str(fault))
        else:
            messages.success(request, done)
        return redirect("admin:profiles_importrun_change", pk)

    def _ask_before_undo(self, request, import_run):
        """What would go away, before it does."""
        if "undo" not in _deeds_open(import_run):
            return redirect("admin:profiles_importrun_change", import_run.pk)
        return self._page(
            request, "undo.html", title=_("Undo %s") % import_run.file_name, subtitle=import_run.source.name,
            import_run=import_run, original=import_run, would=undo.preview(import_run),
        )  # fmt: skip

    def errors_view(self, request, pk):
        """The rejected rows as a file, to be mended and taken in again."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        import_run = get_object_or_404(ImportRun, pk=pk)
        # Written out here, not streamed: a body produced later would have left the scope of this request.
        text = tempfile.TemporaryFile("w+", encoding="utf-8-sig", newline="")  # noqa: SIM115 - the response closes it
        rows = report.write_errors(import_run, text)
        text.flush()
        body = text.detach()
        body.seek(0)
        audit(request.user, "downloaded", import_run, rows=rows)
        name = f"{Path(import_run.file_name).stem}-erreurs.csv"
        return FileResponse(body, as_attachment=True, filename=name, content_type="text/csv; charset=utf-8")


def _mapping_address(upload: Upload) -> str:
    return reverse("admin:profiles_importrun_mapping") + "?" + urlencode({"upload": upload.token()})


def _dialect_in(query: Mapping[str, str]) -> dict[str, str]:
    """The charset and delimiter that the address asks for; words nobody knows are passed over."""
    allowed = {"charset": CHARSETS, "delimiter": DELIMITERS}
    return {name: query[name] for name, known in allowed.items() if query.get(name) in known}


def _in_words(import_run: ImportRun) -> list[tuple[str, str]]:
    """[(column, what it is read as)] in the order of the file."""
    order = import_run.columns or sorted(import_run.mapping)
    read = [(column, import_run.mapping.get(column, columns.IGNORE)) for column in order]
    told = [(column, str(FIELD_NAMES.get(field, field))) for column, field in read if field != columns.IGNORE]
    if import_run.ids_of_content:
        told.insert(0, (_("all columns"), str(FIELD_NAMES["external_id"])))
    return told


def _answers_in_words(import_run: ImportRun) -> list[tuple[str, str, str]]:
    """[(column, odd word, what it was said to mean)]."""
    names = {answer: MEANINGS[name] for name, answer in SAID.items()}
    return [
        (column, word, str(names[answer]))
        for column, said in import_run.answers.items()
        for word, answer in sorted(said.items())
    ]


def _as_received(raw: Mapping[str, str], order: list[str]) -> list[tuple[str, str]]:
    """The cells of a rejected row in the order of the file; of one with too many or too few, its line."""
    if WHOLE_LINE in raw:
        return [("", raw[WHOLE_LINE])]
    known = [column for column in order if column in raw]
    return [(column, raw[column]) for column in [*known, *(c for c in raw if c not in known)] if raw[column]]


def _shown(forecast: Mapping) -> dict:
    """The forecast as the page shows it: numbers with their names, reasons and samples by verdict."""
    matched = forecast["matched_by"]
    return {
        "received": forecast["received"],
        "counts": [(_VERDICT_NAMES[word], forecast[word]) for word in report.VERDICTS],
        "new": forecast["new"],
        "updated": forecast["updated"],
        "repeated": forecast.get("repeated", 0),
        "matched_by": [(_MATCHED_NAMES[kind], matched[kind]) for kind in _MATCHED_NAMES if matched.get(kind)],
        "faults": [
            (
                _VERDICT_NAMES[word],
                [
                    {
                        "column": column,
                        "reason": reason,
                        "number": number,
                        "values": values[0] if values else [],
                    }
                    for column, reason, number, *values in forecast["reasons"][word]
                ],
                forecast["samples"][word],
            )
            for word in ("rejected", "corrected")
            if forecast["reasons"][word]
        ],
    }


def _findings(import_run: ImportRun) -> dict:
    """What the check found beside faults, worth telling before and after: consents left out for want of proof, and
    e-mails that look mistyped."""
    unproven = import_run.forecast.get("unproven", {})
    suggestions = import_run.forecast.get("suggestions", [])
    return {
        "unproven": [(Channel(channel).label, number) for channel, number in sorted(unproven.items())],
        "unproven_count": sum(unproven.values()),
        "suggestions": suggestions[:SUGGESTIONS_SHOWN],
        "mistyped": sum(number for _typed, _meant, number in suggestions),
    }


def _upload_of(import_run: ImportRun) -> Upload:
    """The upload that the import came from, for whoever wants to map it anew."""
    return Upload(import_run.file_hash, import_run.file_name, import_run.source_id)


def _resume(import_run: ImportRun, by) -> None:
    if import_run.state == State.UNDOING:
        undo.resume(import_run)
    elif import_run.is_moving:
        run.resume(import_run)
    else:
        raise run.NotNow(_("this import is over"))


# What can be asked of an import: the verb, and what is said when it is done.
DEEDS = {
    "take_in": (run.go_on, gettext_lazy("The rows are being taken in.")),
    "call_off": (run.cancel, gettext_lazy("Called off. What was taken in so far stays until it is undone.")),
    "resume": (_resume, gettext_lazy("The import goes on behind its last whole chunk.")),
    "undo": (undo.undo, gettext_lazy("The import is being undone.")),
}


def _is_kept(import_run: ImportRun) -> bool:
    return files.kept(import_run.file_hash).exists()


def _deeds_open(import_run: ImportRun) -> set[str]:
    """Which of `DEEDS` make sense now."""
    is_open = {
        "take_in": import_run.state == State.CHECKED
        or (import_run.state == State.CANCELLED and import_run.staged is not None and _is_kept(import_run)),
        "call_off": import_run.state in (State.CHECKING, State.CHECKED, State.TAKING_IN),
        "resume": import_run.is_moving,
        "undo": undo.is_open(import_run) and undo.stands_before(import_run) is None,
    }
    return {deed for deed, now in is_open.items() if now}


_MATCHED_NAMES = {
    "card": gettext_lazy("the loyalty card"),
    "email": gettext_lazy("the e-mail"),
    "phone": gettext_lazy("the phone"),
}
_VERDICT_NAMES = {
    "created": gettext_lazy("accepted"),
    "corrected": gettext_lazy("corrected"),
    "unchanged": gettext_lazy("already known"),
    "rejected": gettext_lazy("rejected"),
}
