/* Lens: asks for scores, and keeps controls, keys and address in step with what is shown. */
(() => {
  "use strict";
  const lens = window.dpo.lens, { $, view, list, none, put, make, ratio, unitOf, sides, status, waiting } = lens;
  let started = false, controller = null;

  /* ---- asking for a score ---- */
  async function score() {
    if (!view.prompt.trim() || !view.texts.length) return;
    controller?.abort();
    const mine = (controller = new AbortController());
    const began = performance.now(), got = [];
    const policies = view.beside && view.beside !== view.policy ? [view.policy, view.beside] : [view.policy];
    $("lens-heats").classList.add("stale");
    status("lens-status", "Waiting", null);
    remember();
    let failed = null;
    try {
      await window.dpo.stream("/api/lens/look", { policies, reference: view.reference || undefined, prompt: view.prompt, messages: view.messages || undefined, texts: view.texts.map((t) => t.text) }, {
        queued: ({ position }) => status("lens-status", waiting(position), null),
        loading: ({ message }) => status("lens-status", message, null),
        progress: ({ done, total }) => status("lens-status", "Scoring", total > 1 ? done / total : null),
        result: (result) => { got[result.place] = result; },
        failed: ({ message }) => { failed = message; },
      }, mine.signal);
    } catch (error) {
      if (error.name === "AbortError") return;
      failed = error.message;
    }
    if (mine !== controller) return;
    if (failed || got.filter(Boolean).length < policies.length) {
      status("lens-status", failed || "The connection ended early: score again.", null, true);
      return;
    }
    lens.results = got;
    lens.pinned = false;
    status("lens-status", "");
    const tokens = lens.results.flatMap((r) => r.texts).reduce((total, look) => total + look.tokens.length, 0);
    $("status-text").textContent = `Scored ${tokens} tokens in ${((performance.now() - began) / 1000).toFixed(1)} s`;
    $("lens-heats").classList.remove("stale");
    lens.select(null);
    lens.draw();
    // The largest move is the best place to begin reading.
    const look = lens.results[0].texts[0];
    const units = look.units[view.unit].map((span) => Math.abs(unitOf(look, span).mean));
    lens.select({ row: 0, text: 0, unit: units.indexOf(Math.max(...units)) });
  }

  /* ---- the same from a terminal ---- */
  const quote = (text) => (/^[\w./@-]+$/.test(text) ? text : "'" + text.replaceAll("'", "'\\''") + "'");
  function command() {
    $("lens-repro").hidden = false;
    $("lens-command").textContent = `dpo score --policy ${quote(view.policy)}` + (view.reference ? ` --reference ${quote(view.reference)}` : "") +
      (view.messages ? ` --messages ${quote(JSON.stringify(view.messages))}` : ` --prompt ${quote(view.prompt)}`) + view.texts.map((t) => ` --text ${quote(t.text)}`).join("") + (view.unit === "token" ? "" : ` --unit ${view.unit}`);
  }
  function download() {
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify({ prompt: view.prompt, messages: view.messages || undefined, texts: view.texts, policies: lens.results }, null, 1)], { type: "application/json" }));
    link.download = "lens.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
  function remember() {
    if (location.pathname !== "/lens") return;
    const query = new URLSearchParams({ policy: view.policy });
    if (view.reference) query.set("reference", view.reference);
    if (view.beside) query.set("beside", view.beside);
    if (view.unit !== "token") query.set("unit", view.unit);
    if (view.clamp !== 0.8) query.set("clamp", view.clamp);
    if (view.prompt) query.set("prompt", view.prompt);
    if (view.messages) query.set("messages", JSON.stringify(view.messages));
    const [a, b] = sides()[0] === "chosen" ? ["chosen", "rejected"] : ["a", "b"];
    if (view.texts[0]) query.set(a, view.texts[0].text);
    if (view.texts[1]) query.set(b, view.texts[1].text);
    history.replaceState({}, "", "/lens?" + query);
  }

  /* ---- pointer and keys ---- */
  const placeOf = (node) => ({ row: +node.parentElement.dataset.row, text: +node.parentElement.dataset.text, unit: +node.dataset.unit });
  document.addEventListener("mouseover", (event) => {
    const node = event.target instanceof Element && event.target.closest("#lens-heats .tok");
    if (node && !lens.pinned) lens.select(placeOf(node));
  });
  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    const node = event.target.closest("#lens-heats .tok");
    if (node) {
      const place = placeOf(node);
      lens.pinned = !(lens.pinned && lens.selected && lens.selected.row === place.row && lens.selected.text === place.text && lens.selected.unit === place.unit);
      lens.select(place);
    }
    if (event.target.closest("#lens-previous")) lens.go(-1);
    if (event.target.closest("#lens-next")) lens.go(1);
    if (event.target.closest("#lens-json") && lens.results.length) download();
    if (event.target.closest("#lens-copy-command")) window.dpo.copy($("lens-command").textContent, event.target.closest("button"));
  });
  document.addEventListener("focusin", (event) => {
    const box = event.target instanceof Element && event.target.classList.contains("heat") ? event.target : null;
    if (box && !lens.pinned && (!lens.selected || lens.selected.row !== +box.dataset.row || lens.selected.text !== +box.dataset.text)) lens.select({ row: +box.dataset.row, text: +box.dataset.text, unit: 0 });
  });
  document.addEventListener("keydown", (event) => {
    if ($("page-lens")?.hidden !== false) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter" && view.mode === "My texts") {
      event.preventDefault();
      window.dpo.hand("lens-prompt", "lens-a", "lens-b");
      $("lens-score").click();
      return;
    }
    if (window.dpo.typing(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    const box = event.target instanceof Element && event.target.classList.contains("heat") ? event.target : null;
    if (!box || !lens.selected) { if (event.key === "Escape") { lens.pinned = false; lens.select(lens.selected); } return; }
    const count = lens.results[lens.selected.row].texts[lens.selected.text].units[view.unit].length;
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (by) { event.preventDefault(); lens.select({ ...lens.selected, unit: Math.min(count - 1, Math.max(0, lens.selected.unit + by)) }, true); }
    else if (event.key === "Home" || event.key === "End") { event.preventDefault(); lens.select({ ...lens.selected, unit: event.key === "Home" ? 0 : count - 1 }, true); }
    else if (event.key === "Enter") { event.preventDefault(); lens.pinned = !lens.pinned; lens.select(lens.selected); }
    else if (event.key === "Escape") { lens.pinned = false; lens.select(lens.selected); }
  });

  /* ---- from the address ---- */
  const turns = (text) => { try { return JSON.parse(text); } catch { return null; } };
  function restore(search) {
    const query = new URLSearchParams(search || "");
    const text = (name, fallback) => query.get(name) || fallback;
    view.policy = text("policy", view.policy);
    view.reference = text("reference", null);
    view.beside = text("beside", null);
    view.unit = ["word", "sentence"].includes(query.get("unit")) ? query.get("unit") : "token";
    const clamp = parseFloat(query.get("clamp"));
    view.clamp = clamp >= 0.1 && clamp <= 3 ? clamp : 0.8;
    put("lens-policy", { value: view.policy });
    put("lens-reference", { value: view.reference });
    put("lens-beside", { value: view.beside });
    put("lens-unit", { value: view.unit[0].toUpperCase() + view.unit.slice(1) });
    put("lens-clamp", { value: view.clamp });
    const prompt = query.get("prompt");
    if (prompt && query.get("chosen") && query.get("rejected")) { setMode("Pair"); lens.showPair({ prompt, messages: turns(query.get("messages")), chosen: query.get("chosen"), rejected: query.get("rejected") }); return; }
    if (prompt && query.get("a")) {
      setMode("My texts");
      put("lens-prompt", { value: prompt }); put("lens-a", { value: query.get("a") }); put("lens-b", { value: query.get("b") || "" });
      mine(prompt, query.get("a"), query.get("b"));
      return;
    }
    setMode("Pair");
    if (list.pairs.length) lens.showPair(list.pairs[0]);
  }
  function setMode(value) {
    view.mode = value;
    put("lens-mode", { value });
    $("lens-mine").hidden = value === "Pair";
    $("lens-steps").hidden = value !== "Pair";
    put("lens-prompt", { readOnly: value === "Pair" });
  }
  function mine(prompt, a, b) {
    const problem = !(prompt || "").trim() ? "The prompt is blank: write a question or a sentence." : !(a || "").trim() ? "Text A is blank: give an answer to score." : "";
    $("lens-error").textContent = problem;
    $("lens-error").hidden = !problem;
    if (problem) return;
    view.prompt = prompt;
    view.messages = null;
    view.texts = [{ text: a }, ...((b || "").trim() ? [{ text: b }] : [])];
    score();
  }

  Object.assign(lens, { score, command });
  window.dash_clientside = Object.assign(window.dash_clientside || {}, {
    lens: {
      show(pathname, search, data) {
        lens.theme = data;
        if (pathname !== "/lens") return none();
        // A look elsewhere and back leaves everything as it was; a link with a query is a new view.
        if (started && !search) { requestAnimationFrame(() => lens.results.length && lens.running()); return none(); }
        if (!started) list.pairs = data.examples;
        started = true;
        restore(search);
        return none();
      },
      choose(policyName, reference, beside) {
        if (!started || !policyName || (policyName === view.policy && (reference || null) === view.reference && (beside || null) === view.beside)) return none();
        Object.assign(view, { policy: policyName, reference: reference || null, beside: beside || null });
        score();
        return none();
      },
      mode(value) {
        if (!started || value === view.mode) return none();
        setMode(value);
        if (value === "Pair") { const pairs = lens.shownPairs(); if (pairs.length) lens.showPair(pairs[Math.min(view.pair, pairs.length - 1)]); }
        return none();
      },
      unit(value) {
        const unit = (value || "Token").toLowerCase();
        if (unit === view.unit) return none();
        view.unit = unit; lens.pinned = false; lens.selected = null;
        lens.draw(); remember();
        if (lens.results.length) lens.select({ row: 0, text: 0, unit: 0 });
        return none();
      },
      clamp(value) {
        if (typeof value !== "number") return none();
        view.clamp = value;
        $("lens-clamp-value").textContent = value.toFixed(1);
        const kept = lens.selected;
        lens.draw(); lens.select(kept);
        if (started && lens.results.length) remember();
        return none();
      },
      score(_clicks, prompt, a, b) { mine(prompt, a, b); return none(); },
      pairs(_clicks, source) { lens.scorePairs(source); return none(); },
      sort(order, which) { Object.assign(list, { sort: order, which }); if (list.scored) lens.table(); return none(); },
      brush(data, id) {
        const name = id.replace("lens-hist-", "");
        if (!data) return none();
        const values = list.pairs.map((pair) => pair[name]);
        const size = ((Math.max(...values) - Math.min(...values)) || 1) / 24;
        const x = data.range?.x || (data.points?.length === 1 ? [data.points[0].x - size / 2, data.points[0].x + size / 2] : null);
        if (!x) return none();
        list.ranges[name] = [Math.min(...x), Math.max(...x)];
        lens.histograms(); lens.table();
        return none();
      },
      open(cell) {
        if (!cell) return none();
        const pairs = lens.filtered();
        const index = pairs.findIndex((pair) => pair.id === cell.rowId);
        if (index < 0) return none();
        view.pair = index;
        setMode("Pair");
        if (list.policy !== view.policy) { view.policy = list.policy; put("lens-policy", { value: list.policy }); }
        lens.showPair(pairs[index]);
        $("lens-heats").scrollIntoView({ behavior: "smooth", block: "center" });
        return none();
      },
    },
  });
})();
