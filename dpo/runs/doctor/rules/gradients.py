"""Gradient spikes: single updates many times larger than their neighbours."""

from __future__ import annotations

import numpy as np

from dpo.runs.doctor.case import Case
from dpo.runs.doctor.verdict import Change, Evidence, Source, Verdict

SOURCE = Source("Chowdhery et al. 2022, PaLM, section 5.1 (loss spikes)", "https://arxiv.org/abs/2204.02311")
_WINDOW = 15


def check(case: Case) -> Verdict | None:
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
    tighter = f"{max(float(np.median(norms.values)) * 2, 1e-3):.1g}"
    return Verdict(
        "gradient spikes",
        "single updates far too large",
        "warn",
        f"{len(spikes)} of {len(norms)} logged updates have a gradient more than {case.limits.spike:.0f} times their "
        f"neighbours', the worst {later[worst]:.3g} at step {step} (usual there: {usual[worst]:.3g}).",
        (
            Evidence("gradient norm", float(later[worst]), step),
            Evidence("is usual there", float(usual[worst])),
            Evidence("spikes", len(spikes)),
        ),
        Change("--max-grad-norm", tighter, "twice the usual norm; look at the pairs of those steps"),
        SOURCE,
    )
