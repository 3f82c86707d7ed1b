/* Training: one view over all charts (drawing, zoom, hover, the chosen step), and the view in the address. */
(() => {
  "use strict";
  const none = () => window.dash_clientside.no_update;

  /* ---- one view over all charts: zoom, hover and the chosen step ---- */
  const plots = () => [...document.querySelectorAll("#page-training .plot.js-plotly-plot")].filter((plot) => plot._fullLayout);
  const onScreen = (plot) => { const box = plot.getBoundingClientRect(); return box.bottom > 0 && box.top < innerHeight && box.width > 0; };
  const set = (id, data) => window.dash_clientside.set_props(id, data);
  const MAIN = ["loss", "chosen", "rejected"];
  let following = false, probes = [], cursor = null;
  /* The line at the chosen step, the first shape of every figure; none at the newest step, which needs no line. */
  const chosenStep = () => ({ x0: cursor ?? 0, x1: cursor ?? 0, visible: cursor !== null });

  /* ---- drawing: what changed is fetched, and drawn chart by chart so that no task is long ---- */
  let view = null, version = 0, span = null, busy = false, summary = false;
  const revisions = {}, due = new Set(), late = new Set();
  const card = (key) => document.getElementById("tr-card-" + key);
  const keys = () => [...document.querySelectorAll("#page-training [data-chart]")].map((node) => node.dataset.chart);
  const shows = (key) => location.pathname === "/training" && onScreen(card(key));
  /* The next frame is on screen; a tab that nobody sees has no frames. */
  const painted = () => new Promise((done) => { requestAnimationFrame(() => setTimeout(done)); setTimeout(done, 300); });
  /* Plotly's script, from where Dash has it: it runs for half a second, so the page is painted before. */
  let script = null;
  const plotly = () => window.Plotly || (script ??= painted().then(() => new Promise((done, fail) => {
    const node = Object.assign(document.createElement("script"), { src: window._dashPlotlyJSURL, onload: done });
    node.onerror = () => { script = null; node.remove(); fail(new Error("Plotly's script did not come: is app.py running?")); };
    document.head.append(node);
  })));
  const pause = () => new Promise((done) => setTimeout(done));

  async function fetchDue() {
    if (busy || !view || location.pathname !== "/training") return; // elsewhere nothing is drawn until one comes here
    busy = true;
    try {
      while (due.size || summary) {
        // What is looked at comes first.
        const seen = [...due].filter((key) => MAIN.includes(key) || shows(key));
        const batch = seen.length ? seen : [...due];
        batch.forEach((key) => due.delete(key));
        const asked = version;
        const summed = summary;
        summary = false;
        const body = { ...view, span, summary: summed, charts: Object.fromEntries(batch.map((key) => [key, revisions[key] ?? null])) };
        const request = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
        const answer = await fetch("/api/curves", request).catch(() => null);
        const found = answer?.ok ? await answer.json() : null;
        if (found?.summary && asked === version) summarise(found.summary);
        const ready = await Promise.resolve(plotly()).then(() => true, () => false);
        if (!found || !ready) { // the server is away: the next look at it asks again
          batch.forEach((key) => due.add(key));
          summary = summary || (summed && !found);
          break;
        }
        if (!found.span && body.span === span) span = null; // no run on screen has a point in it
        for (const chart of found.charts) {
          if (asked !== version) break; // another view is wanted by now: all are due again
          await put(chart);
          await pause();
        }
      }
    } finally { busy = false; }
  }
  async function put(chart) {
    const box = card(chart.key);
    if (!box) return;
    const plot = box.querySelector(".plot");
    const appears = box.hidden && !chart.hidden;
    box.hidden = chart.hidden;
    if (!chart.hidden) {
      const { data, layout } = chart.figure;
      Object.assign(layout.shapes[0], chosenStep());
      // A second click fits the data, also where the first look at it was a zoom.
      await window.Plotly.react(plot, data, layout, { displayModeBar: false, responsive: true, doubleClick: "autosize" });
      attach(plot);
      if (appears) window.Plotly.Plots.resize(plot);
      window.dpo.readout.note(plot, chart.note);
      window.dpo.training.drawn(box);
    }
    revisions[chart.key] = chart.revision;
  }
  const filled = {};
  const fill = (id, html) => {
    const node = document.getElementById(id);
    if (node && filled[id] !== html) node.innerHTML = filled[id] = html; // escaped by the server (markup.py)
  };
  function summarise(found) {
    const named = (finding) => finding.dataset.code + finding.querySelector("h3").textContent;
    const findings = () => [...document.querySelectorAll("#tr-findings details")];
    const open = new Map(findings().map((finding) => [named(finding), finding.open]));
    fill("tr-kpis", found.kpis);
    fill("tr-findings", found.findings);
    findings().forEach((finding) => { if (open.has(named(finding))) finding.open = open.get(named(finding)); });
    fill("tr-sub", found.sub);
    fill("tr-live", found.live);
    document.getElementById("tr-live").hidden = !found.live;
    document.getElementById("tr-pause-box").hidden = !found.live && !paused;
  }
  function drawAll() { summary = true; version += 1; keys().forEach((key) => due.add(key)); fetchDue(); }
  /* New points: charts that nobody sees wait until they come on screen. */
  function drawSeen() {
    for (const key of keys()) (MAIN.includes(key) || card(key).hidden || shows(key) ? due : late).add(key);
    fetchDue();
  }
  /* Whether anything is new is asked every second while a run trains, every five seconds else. */
  let known = null, paused = false, ticks = 0;
  async function poll() {
    let wait = 5000;
    try {
      const now = await (await fetch("/api/training")).json();
      if (now.running) wait = 1000;
      const before = known;
      ticks += 1;
      if (before && !paused && view && now.signature !== before.signature) {
        // Tiles and verdicts need not follow every point; the end of a run they do.
        summary = summary || !now.running || now.list !== before.list || ticks % 3 === 0;
        drawSeen();
      }
      if (due.size) fetchDue();
      if (view && now.list !== before?.list) set("tr-list", { data: now.list });
      if (view && now.answers !== before?.answers && before) set("tr-answers", { data: now.answers });
      const status = document.getElementById("status-runs");
      if (status) status.textContent = now.text;
      known = paused && before ? { ...now, signature: before.signature } : now;
    } catch { /* the server is away; it is asked again */ }
    setTimeout(poll, wait);
  }
  setTimeout(poll, 500); // on every page: the status bar tells what trains
  let waiting = 0;
  function catchUp() {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => {
      late.forEach((key) => { if (shows(key)) { late.delete(key); due.add(key); } });
      fetchDue();
    });
  }
  for (const event of ["scroll", "resize"]) addEventListener(event, catchUp, { passive: true, capture: true });

  /* Changes that are made for the other charts are not changes of the user. */
  async function follow(act) {
    following = true;
    try { await Promise.all(plots().map(act)); } finally { following = false; }
  }
  function zoomed(source, change) {
    if (following) return;
    const from = change["xaxis.range[0]"], to = change["xaxis.range[1]"];
    const reset = change["xaxis.autorange"] === true;
    if (!reset && from === undefined) return;
    span = reset ? null : [from, to];
    follow((plot) => plot === source ? null : window.Plotly.relayout(plot, span ? { "xaxis.range": span } : { "xaxis.autorange": true, "yaxis.autorange": true }));
    // A curve with more points than a screen shows has finer ones on the server.
    if (plots().some((plot) => plot.layout.meta?.reduced)) drawAll();
  }
  let frame = 0, leaving = false;
  /* A look at one chart is a look at all: each tells in its subtitle what its lines have there. */
  function hovered(source, event) {
    if (following || !event.xvals?.length) return;
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => {
      const place = window.dpo.readout.snap(source, event.xvals[0]);
      for (const plot of plots()) {
        if (!onScreen(plot) || !plot.data.some((trace) => trace.x?.length)) continue;
        window.dpo.readout.show(plot, place);
        if (plot !== source) window.Plotly.Fx.hover(plot, { xval: place.at, yval: 0 }, "xy", true); // true: tell nobody
      }
    });
  }
  function left(source) {
    cancelAnimationFrame(frame);
    if (leaving) return;
    leaving = true;
    plots().forEach(window.dpo.readout.hide);
    try {
      for (const plot of plots()) if (plot !== source && onScreen(plot)) window.Plotly.Fx.unhover(plot);
    } finally { leaving = false; }
  }
  /* The newest probe at or before the point; the first one for points before it. A second click means the zoom. */
  let click = 0;
  function clicked(event) {
    const x = event.points?.[0]?.x;
    clearTimeout(click);
    if (event.event?.detail > 1 || x === undefined || !probes.length) return;
    let place = 0;
    probes.forEach((at, i) => { if (at !== null && at <= x + 1e-9) place = i; });
    click = setTimeout(() => set("tr-step", { value: place }), 300); // Plotly's own time for a second one
  }
  function attach(plot) {
    if (plot.dataset.follows || !plot.on) return;
    plot.dataset.follows = "yes";
    plot.on("plotly_relayout", (change) => zoomed(plot, change));
    plot.on("plotly_hover", (event) => hovered(plot, event));
    plot.on("plotly_unhover", () => left(plot));
    plot.on("plotly_click", clicked);
    plot.on("plotly_doubleclick", () => clearTimeout(click));
  }
  document.addEventListener("keydown", (event) => {
    if (location.pathname !== "/training" || window.dpo?.typing?.(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { "[": -1, "]": 1 }[event.key], prompt = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step) {
      const place = probes.length ? Math.min(Math.max((state.place ?? probes.length - 1) + step, 0), probes.length - 1) : null;
      if (place !== null) set("tr-step", { value: place });
    } else if (prompt && event.target.closest?.(".answers-card, body") && !event.target.closest?.("[role=slider], [role=listbox]") && inAnswers()) {
      const next = state.prompts[Math.min(Math.max(state.prompts.indexOf(state.prompt) + prompt, 0), state.prompts.length - 1)];
      if (next) { event.preventDefault(); set("tr-prompt", { value: next }); }
    }
  });
  /* Up and down scroll the page, unless the answers are what is looked at. */
  const inAnswers = () => { const box = document.querySelector(".answers-card")?.getBoundingClientRect(); return box && box.top < innerHeight / 2 && box.bottom > 0; };
  const state = { place: null, prompt: null, prompts: [] };

  window.dpo = Object.assign(window.dpo || {}, { plotly, training: { ...window.dpo.training, runs: () => view?.runs || [], asked: () => ({ ...view, span }), settled: () => !busy && !due.size && !summary } });
  window.dash_clientside = Object.assign(window.dash_clientside || {}, {
    training: {
      restore(search, pathname) {
        const fold = document.querySelector(".picker-fold");
        if (fold && !fold.dataset.seen && innerWidth <= 1180) fold.open = false; // a button there, not a list
        if (fold) fold.dataset.seen = "yes";
        const query = new URLSearchParams(search || "");
        if (pathname !== "/training" || !"x smooth log norm filter run".split(" ").some((name) => query.has(name))) return Array(6).fill(none());
        const smooth = parseInt(query.get("smooth"), 10);
        const one = (name, values) => values.includes(query.get(name)) ? query.get(name) : none();
        return [
          query.has("run") ? query.getAll("run") : none(),
          one("x", ["Step", "Examples", "Epoch", "Tokens", "Time"]),
          Number.isFinite(smooth) ? Math.min(Math.max(smooth, 0), 99) : none(),
          query.get("log") === "1",
          one("norm", ["Reward", "÷ β", "Per token"]),
          query.get("filter") ?? none(),
        ];
      },
      remember(runs, axis, smoothing, log, norm, filter) {
        if (location.pathname !== "/training") return none();
        const query = new URLSearchParams({ x: axis, smooth: smoothing });
        if (log) query.set("log", "1");
        if (norm !== "Reward") query.set("norm", norm);
        if (filter) query.set("filter", filter);
        (runs || []).forEach((run) => query.append("run", run));
        history.replaceState({}, "", "/training?" + query);
        return none();
      },
      point(place, at) {
        probes = at || [];
        state.place = place;
        cursor = place < probes.length - 1 ? probes[place] ?? null : null;
        const line = Object.fromEntries(Object.entries(chosenStep()).map(([name, value]) => [`shapes[0].${name}`, value]));
        follow((plot) => plot.layout.shapes?.[0]?.name === "cursor" ? window.Plotly.relayout(plot, line) : null);
        return none();
      },
      prompts(prompts, prompt) { state.prompts = prompts || []; state.prompt = prompt; return none(); },
      draw(runs, axis, smoothing, log, unit) {
        const wanted = { runs: runs || [], axis, smoothing, log, unit };
        const same = JSON.stringify(wanted) === JSON.stringify(view);
        // Another axis has other places: those on the old one mean nothing there, until `point` is told the new ones.
        if (view && view.axis !== axis) span = cursor = null;
        view = wanted;
        if (same) drawSeen(); else drawAll();
        return none();
      },
      smooth(value) { return (value / 100).toFixed(2); },
      pause(clicks) { paused = clicks % 2 === 1; return paused ? "Go on" : "Pause"; },
    },
  });
})();
