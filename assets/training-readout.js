/* Training: what the lines of a chart have at the step under the pointer, told in the chart's subtitle. */
(() => {
  "use strict";
  const notes = new WeakMap(); // plot -> its subtitle while nothing is pointed at
  const noteOf = (plot) => plot.closest(".chart").querySelector(".card-head .sub");
  const lines = (plot) => plot.data.filter((trace) => trace.meta?.kind && trace.x.length);

  /* Of ascending places the nearest to `at`: its index, how far away it is, and how far its neighbours are apart. */
  function nearest(places, at) {
    let low = 0, high = places.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (places[middle] < at) low = middle + 1; else high = middle;
    }
    const index = low > 0 && at - places[low - 1] < Math.abs(places[low] - at) ? low - 1 : low;
    const right = Math.max(low, 1), gap = places.length > 1 ? places[right] - places[right - 1] : 0;
    return { index, away: Math.abs(places[index] - at), gap: gap || Infinity };
  }
  /* The logged place nearest to the pointer, and how long a step is there: that of the line with most points. */
  function snap(plot, at) {
    const found = lines(plot).map((line) => ({ line, ...nearest(line.x, at) }));
    if (!found.length) return { at, step: Infinity };
    const best = found.reduce((one, other) => (other.away < one.away ? other : one));
    return { at: best.line.x[best.index], step: Math.min(...found.map(({ gap }) => gap)) };
  }
  function shown(value, percent, digits) {
    if (percent) return `${+(100 * value).toFixed(1)}%`;
    const rounded = +value.toPrecision(digits), small = value !== 0 && Math.abs(value) < 1e-3;
    return (small ? rounded.toExponential() : String(rounded)).replaceAll("-", "−");
  }
  const PLACES = {
    Step: (at) => `Step ${at}`, Examples: (at) => `Example ${Math.round(at).toLocaleString("en")}`, Epoch: (at) => `Epoch ${+at.toFixed(3)}`,
    Tokens: (at) => `Token ${Math.round(at).toLocaleString("en")}`, Time: (at) => `${+at.toFixed(1)} s`,
  };
  /* A line that has no point within half a step has no value there: the last one of a run that has ended is not it. */
  function sentence(plot, { at, step }) {
    const { axis, percent } = plot.layout.meta, values = new Map();
    // The second measure of a chart lies below the first, but is named after it.
    for (const line of lines(plot).sort((one, other) => Number(one.meta.second ?? false) - Number(other.meta.second ?? false))) {
      const { index, away, gap } = nearest(line.x, at), { label, kind } = line.meta;
      if (away > 0 && away >= Math.min(step, gap) / 2) continue;
      if (!values.has(label)) values.set(label, new Map());
      values.get(label).set(kind, shown(line.y[index], percent, kind === "smoothed" ? 3 : 4));
      if (line.customdata) values.get(label).set("raw", shown(line.customdata[index], percent, 4)); // logged, and not drawn
    }
    const parts = [...values].map(([label, of]) => {
      const [first, ...rest] = ["raw", "smoothed", "held out"].filter((kind) => of.has(kind));
      const more = [...(first === "raw" ? [] : [first]), ...rest.map((kind) => `${kind} ${of.get(kind)}`)];
      return `${label} ${of.get(first)}${more.length ? ` (${more.join(", ")})` : ""}`;
    });
    return [(PLACES[axis] || String)(at), ...(parts.length ? parts : ["nothing logged here"])].join(" · ");
  }
  function show(plot, place) {
    const node = noteOf(plot);
    node.textContent = sentence(plot, place);
    node.classList.add("read");
  }
  function hide(plot) {
    const node = noteOf(plot);
    if (!node.classList.contains("read")) return;
    node.classList.remove("read");
    node.textContent = notes.get(plot) ?? "";
  }
  /* The subtitle of a chart that has been drawn; it waits while its readout is looked at. */
  function note(plot, text) {
    notes.set(plot, text);
    if (!noteOf(plot).classList.contains("read")) noteOf(plot).textContent = text;
  }
  window.dpo = Object.assign(window.dpo || {}, { readout: { snap, show, hide, note } });
})();
