"""The table of rights: every route and every callback that the server answers has its line here.

What has none is refused, and `tests/unit/test_access.py` fails for it: so a new route has to say what it does.
"""

from __future__ import annotations

import re

from dpo.dashboard.web.access import Right

_READ, _ASK, _VOTE, _TRAIN, _CHANGE = Right.READ, Right.ASK, Right.VOTE, Right.TRAIN, Right.CHANGE

# What a page loads, for which a foreign page may link to it; everything else is ours to ask alone.
PAGES = frozenset(
    {"/", "/<path:path>", "/login", "/assets/<path:filename>", "/static/<path:filename>", "/_favicon.ico",
     "/modules/<wanted>/<path:filename>",
     "/_dash-component-suites/<string:package_name>/<path:fingerprinted_path>"}
)  # fmt: skip
CALLBACK = "/_dash-update-component"

ROUTES: dict[tuple[str, str], Right] = {
    **{("GET", rule): _READ for rule in PAGES},
    ("GET", "/_dash-layout"): _READ,
    ("GET", "/_dash-dependencies"): _READ,
    ("GET", "/_reload-hash"): _READ,
    ("POST", CALLBACK): _READ,  # and what CALLBACKS says of the callback
    ("POST", "/login"): _READ,  # open to everybody, as the page is
    ("POST", "/logout"): _READ,
    ("POST", "/api/generate"): _ASK,
    ("POST", "/api/cancel"): _ASK,
    ("GET", "/v1/models"): _READ,
    ("POST", "/v1/completions"): _ASK,
    ("POST", "/v1/chat/completions"): _ASK,
    ("GET", "/v1/<path:other>"): _READ,  # one model; of others, that they are not there
    ("POST", "/v1/<path:other>"): _READ,
    ("GET", "/tokenizer_info"): _READ,
    ("GET", "/api/training"): _READ,
    ("POST", "/api/curves"): _READ,
    ("POST", "/api/checkpoints"): _READ,
    ("POST", "/api/losses"): _READ,
    ("POST", "/api/losses/margins"): _ASK,
    ("POST", "/api/lens/look"): _ASK,
    ("POST", "/api/lens/pairs"): _ASK,
    ("GET", "/api/runs/file"): _ASK,  # who may ask a policy may also have its weights
    ("GET", "/api/runs/card"): _READ,
    ("GET", "/api/data/export"): _READ,
    ("GET", "/api/evaluations"): _READ,
    ("GET", "/api/evaluations/view"): _READ,
    ("GET", "/api/evaluations/prompts"): _READ,
    ("GET", "/api/evaluations/texts"): _READ,
    ("GET", "/api/evaluations/answers"): _READ,
    ("GET", "/api/evaluations/export"): _READ,
    ("GET", "/api/evaluations/progress"): _READ,
    ("GET", "/api/evaluations/ballot"): _READ,
    ("POST", "/api/evaluations/votes"): _VOTE,
    ("POST", "/api/evaluations/plan"): _ASK,
    ("POST", "/api/evaluations/time"): _ASK,
    ("POST", "/api/evaluations/start"): _TRAIN,
    ("POST", "/api/evaluations/stop"): _TRAIN,
    ("POST", "/api/evaluations/resume"): _TRAIN,
    ("POST", "/api/votes"): _VOTE,
    ("GET", "/api/history"): _READ,  # of one's own
    ("GET", "/api/history/one"): _READ,
    ("POST", "/api/history"): _ASK,
    ("POST", "/api/history/forget"): _ASK,
    ("GET", "/api/votes"): _READ,
    ("POST", "/api/votes/undo"): _VOTE,
    ("GET", "/api/votes/prompts"): _READ,
    ("GET", "/api/votes/pairs.jsonl"): _READ,
    ("POST", "/api/votes/train"): _TRAIN,
    ("GET", "/api/commands"): _READ,
    ("GET", "/api/jobs"): _READ,  # says whether training is allowed; lists nothing where it is not
    ("GET", "/api/jobs/form"): _TRAIN,
    ("GET", "/api/jobs/<ident>/log"): _TRAIN,
    ("POST", "/api/jobs"): _TRAIN,
    ("POST", "/api/jobs/check"): _TRAIN,
    ("POST", "/api/jobs/again"): _TRAIN,
    ("POST", "/api/jobs/stop"): _TRAIN,
    ("POST", "/api/jobs/resume"): _TRAIN,
    ("POST", "/api/jobs/sweep"): _TRAIN,
    ("POST", "/api/jobs/forget"): _TRAIN,
    ("GET", "/api/sweep/form"): _READ,
    ("POST", "/api/sweep/check"): _TRAIN,
}

# By the callback's first input and first output; a page's own coming, when it is visited, is right for all.
CALLBACKS: dict[str, Right] = {
    "cmp-pairs-poll.n_intervals > cmp-known.data": _READ,
    "tr-list.data > tr-run-list.children": _READ,
    "tr-answers.data > tr-step.max": _READ,
    "tr-step.value > tr-texts.children": _READ,
    "url.search > docs-shown.children": _READ,
    "url.search > rp-known.data": _READ,
    "url.search > sw-known.data": _READ,
    "rp-known.data > rp-head.children": _READ,
    "rp-known.data > rp-charts.children": _READ,
    "rp-known.data > rp-step.max": _READ,
    "rp-step.value > rp-texts.children": _READ,
    "rp-note.n_blur > rp-note.error": _CHANGE,
    "lens-poll.n_intervals > lens-policy.data": _READ,
    "da-upload.contents > da-source.data": _ASK,
    '{"key":["ALL"],"type":"da-reading"}.n_clicks > da-layout.data': _READ,
    "da-source.value > da-detect.children": _ASK,
    "da-start.data > da-job.data": _ASK,
    "da-path.n_submit > da-source.data": _ASK,
    '{"key":["ALL"],"type":"da-cancel"}.n_clicks > da-cancelled.data': _ASK,
    '{"key":["ALL"],"type":"da-fix"}.n_clicks > da-fix.data': _READ,
    "da-fix.data > da-effect.children": _ASK,
    "da-fix-go.n_clicks > da-written.children": _CHANGE,
    "da-fix-leave.n_clicks > da-fix-box.opened": _READ,
    "da-poll.n_intervals > da-progress.children": _READ,
    "da-ches-go.n_clicks > da-ches-state.children": _ASK,
    "da-ches-poll.n_intervals > da-ches-state.children": _READ,
    "da-rows.getRowsRequest > da-rows.getRowsResponse": _READ,
    "da-rows.selectedRows > da-at.data": _READ,
    "da-at.data > da-pair.children": _READ,
    "da-query.data > da-export.href": _READ,
    "rn-poll.n_intervals > rn-grid.rowData": _READ,
    "rn-grid.virtualRowData > rn-frontier.figure": _READ,
    "rn-grid.virtualRowData > rn-importance.children": _READ,
    "rn-grid.cellValueChanged > rn-changed.data": _CHANGE,
    "rn-grid.selectedRows > rn-chosen.hidden": _READ,
    "rn-delete.n_clicks > rn-delete-box.opened": _READ,  # shows what would be deleted
    "rn-delete-go.n_clicks > rn-delete-box.opened": _CHANGE,
    "rn-pin.n_clicks > rn-changed.data": _CHANGE,
    "rn-undo.n_clicks > rn-changed.data": _CHANGE,
    "rn-trash.n_clicks > rn-trash-box.opened": _READ,
    '{"entry":["ALL"],"type":"rn-back"}.n_clicks > rn-trash-list.children': _CHANGE,
    "rn-empty.n_clicks > rn-trash-list.children": _CHANGE,
    "rn-export.n_clicks > rn-download.data": _READ,
}
_VISIT = re.compile(r"visit-(\w+)\.data > page-\1\.children")


def right_of_callback(name: str) -> Right | None:
    """What a callback does; None if it has no line here."""
    return Right.READ if _VISIT.fullmatch(name) else CALLBACKS.get(name)


UPLOAD = "da-upload.contents > da-source.data"
