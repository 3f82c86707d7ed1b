/* Lens: the held-out pairs: stepping through them, their histograms and table. */
(() => {
  "use strict";
  const lens = window.dpo.lens, { $, view, list, put, make, signed, plain, status, waiting } = lens;

  function showPair(pair) {
    view.prompt = pair.prompt;
    view.messages = pair.messages || null;  // a conversation is scored by its turns, as it was trained on
    view.texts = [{ text: pair.chosen, side: "chosen" }, { text: pair.rejected, side: "rejected" }];
    put("lens-prompt", { value: pair.prompt });
    put("lens-a", { value: pair.chosen });
    put("lens-b", { value: pair.rejected });
    steps();
    lens.score();
  }
  const shownPairs = () => (list.scored ? filtered() : list.pairs);
  function steps() {
    const pairs = shownPairs();
    $("lens-place").textContent = pairs.length ? `${view.pair + 1} of ${pairs.length}` : "no pair";
  }
  function go(by) {
    const pairs = shownPairs();
    if (!pairs.length) return;
    view.pair = (view.pair + by + pairs.length) % pairs.length;
    showPair(pairs[view.pair]);
  }
  function filtered() {
    const order = { high: (a, b) => b.margin - a.margin, low: (a, b) => a.margin - b.margin, fall: (a, b) => a.chosen_reward - b.chosen_reward }[list.sort];
    return list.pairs.filter((pair) => (list.which === "all" || pair[list.which]) &&
      Object.entries(list.ranges).every(([name, [low, high]]) => pair[name] >= low && pair[name] <= high)).sort(order);
  }
  let controller = null;
  async function scorePairs(source) {
    controller?.abort();
    const mine = (controller = new AbortController());
    const policyName = view.policy;
    let result = null, failed = null;
    $("lens-pairs-body").hidden = true;
    status("lens-pairs-status", "Waiting", null);
    try {
      await window.dpo.stream("/api/lens/pairs", { policy: policyName, source }, {
        queued: ({ position }) => status("lens-pairs-status", waiting(position), null),
        loading: ({ message }) => status("lens-pairs-status", message, null),
        progress: ({ done, total }) => status("lens-pairs-status", `Scoring pair ${done} of ${total}`, total ? done / total : null),
        result: (data) => { result = data; },
        failed: ({ message }) => { failed = message; },
      }, mine.signal);
    } catch (error) {
      if (error.name === "AbortError") return;
      failed = error.message;
    }
    if (mine !== controller) return;
    if (!result) { status("lens-pairs-status", failed || "The connection ended early: try again.", null, true); return; }
    status("lens-pairs-status", "");
    for (const pair of result.pairs) {
      pair.id = String(pair.index);
      pair.finding = [pair.wrong ? "wrong sign" : "", pair.displaced ? "both fell" : ""].filter(Boolean).join(", ");
    }
    Object.assign(list, { pairs: result.pairs, scored: true, policy: policyName, ranges: {} });
    const means = result.summary, wrong = result.pairs.filter((p) => p.wrong).length, fell = result.pairs.filter((p) => p.displaced).length;
    $("lens-pairs-note").textContent = result.pairs.length
      ? `${result.label}: ${result.message}. Margin ${signed(means["rewards/margins"], 3)} on average, ${wrong} with the wrong sign, ${fell} where both fell (n = ${means.n}${result.left_out ? `, ${result.left_out} left out, too long for the context or for training` : ""}).`
      : `${result.label}: ${result.message}; none could be scored.`;
    $("lens-pairs-body").hidden = false;
    histograms();
    table();
  }
  const HISTOGRAMS = { margin: () => lens.theme.neutral, chosen_reward: () => lens.theme.chosen, rejected_reward: () => lens.theme.rejected };
  function histograms() {
    for (const [name, color] of Object.entries(HISTOGRAMS)) {
      const values = list.pairs.map((pair) => pair[name]);
      const low = Math.min(...values), high = Math.max(...values);
      const size = (high - low || 1) / 24;
      const layout = structuredClone(lens.theme.layout);
      Object.assign(layout, { margin: { l: 30, r: 8, t: 6, b: 24 }, dragmode: "select", selectdirection: "h", hovermode: "closest", bargap: 0.08, uirevision: performance.now(), datarevision: performance.now() });
      const range = list.ranges[name];
      layout.shapes = [{ type: "line", x0: 0, x1: 0, yref: "paper", y0: 0, y1: 1, line: { color: lens.theme.neutral, width: 1, dash: "2px,3px" } }];
      if (range) layout.shapes.push({ type: "rect", x0: range[0], x1: range[1], yref: "paper", y0: 0, y1: 1, line: { width: 0 }, fillcolor: lens.theme.neutral, opacity: 0.18 });
      const counts = Array(24).fill(0);
      values.forEach((v) => { counts[Math.min(23, Math.floor((v - low) / size))] += 1; });
      const centers = counts.map((_, i) => low + (i + 0.5) * size);
      put(`lens-hist-${name}`, { figure: { layout, data: [{ type: "bar", x: centers, y: counts, width: Array(24).fill(size * 0.92), marker: { color: color() }, hovertemplate: "%{x:.3f}: %{y} pairs<extra></extra>", selected: { marker: { opacity: 1 } }, unselected: { marker: { opacity: 1 } } }] } });
    }
    requestAnimationFrame(() => dispatchEvent(new Event("resize")));
  }
  function table() {
    const rows = filtered();
    view.pair = 0;
    put("lens-table", { rowData: rows });
    $("lens-count").textContent = `${rows.length} of ${list.pairs.length} pairs`;
    $("lens-filters").replaceChildren(...Object.entries(list.ranges).map(([name, [low, high]]) => {
      const close = make("button", "", "×");
      close.type = "button";
      close.setAttribute("aria-label", `Remove the filter on ${name.replace("_", " ")}`);
      close.addEventListener("click", () => { delete list.ranges[name]; histograms(); table(); });
      return make("span", "filter-chip num", `${name.replace("_", " ")} ${plain(low, 3)} to ${plain(high, 3)}`, close);
    }));
    if (view.mode === "Pair") steps();
  }

  Object.assign(lens, { showPair, shownPairs, go, filtered, scorePairs, histograms, table });
})();
