"""Gradient spikes: single updates many times larger than their neighbours."""

from __future__ import annotations

import numpy as np

from dpo.runs.doctor.case import Case
from dpo.runs.doctor.verdict import Change, Citation, Diagnosis, Evidence

SOURCE = Citation("Chowdhery et al. 2022, PaLM, section 5.1 (loss spikes)", "https://arxiv.org/abs/2204.02311")
_WINDOW = 15


def check(case: Case) -> Diagnosis | None:
    """Norms far above the running median of the points before them, and above where they are clipped."""
    norms = case.train("grad_norm")
    if len(norms) < 2 * _WINDOW:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(norms.values[:-1], _WINDOW)
    usual = np.median(windows, axis=1)
    later = norms.values[_WINDOW:]
    # Where the loss is saturated every norm is tiny, and a spike among them harms nothing.
    floor = max(case.limit, 0.5 * float(np.median(norms.head(0.2))))
    spikes = np.flatnonzero((later > case.limits.spike * usual) & (later > floor))
    if not len(spikes):
        return None
    worst = int(spikes[np.argmax(later[spikes])])
    step = int(norms.steps[_WINDOW + worst])
    verb = "has" if len(spikes) == 1 else "have"
    typical = float(np.median(norms.head(0.5)))
    if case.limit > 2 * typical:
        change = Change(
            "--max-grad-norm", f"{2 * typical:.1g}", "twice the usual norm; look at the pairs of those steps"
        )
    else:
        change = Change("--learning-rate", case.slower(2), "half; look at the pairs of those steps")
    return Diagnosis(
        "gradient spikes",
        "single updates far too large",
        "warning",
        f"{len(spikes)} of {len(norms)} logged updates {verb} a gradient more than {case.limits.spike:.0f} times their "
        f"neighbours', the worst {later[worst]:.3g} at step {step} (usual there: {usual[worst]:.3g}).",
        (
            Evidence("gradient norm", float(later[worst]), step),
            Evidence("is usual there", float(usual[worst])),
            Evidence("such updates", len(spikes)),
        ),
        change,
        SOURCE,
    )
