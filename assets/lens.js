/* Lens: asks for scores, paints tokens, and keeps token card, chart and pair table in step. */
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const none = () => window.dash_clientside.no_update;
  const put = (id, props) => window.dash_clientside.set_props(id, props);
  const NAMES = { t5: "T5", gpt2: "GPT-2" }, SHAPES = { t5: "circle", gpt2: "diamond" };
  const view = { policy: "demo/gpt2-dpo", reference: null, beside: null, mode: "Pair", unit: "token", clamp: 0.8, prompt: "", texts: [], pair: 0 };
  const list = { pairs: [], scored: false, policy: null, which: "all", sort: "low", ranges: {} };
  let theme = null, results = [], selected = null, pinned = false, started = false, controller = null, pairsController = null;

  /* ---- small things ---- */
  function make(tag, className, ...children) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }
  const signed = (value, digits = 2) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
  const plain = (value, digits = 2) => value.toFixed(digits).replace("-", "−");
  const percent = (share, digits = 0) => (100 * share).toFixed(digits) + "%";
  const stat = (value, label, extra = "") => make("span", "stat " + extra, make("b", "num", value), make("span", "", label));
  const glyph = (family, tuned) => { const node = make("span", `glyph ${SHAPES[family]} ${family} ${tuned ? "solid" : "hollow"}`); node.setAttribute("aria-hidden", "true"); return node; };
  const policy = (family, tuned) => make("span", "policy", glyph(family, tuned), `${NAMES[family]} ${tuned ? "DPO" : "base"}`);
  const visible = (text) => text.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replace(/^ /, "␣") || "␣";
  const ratio = (token) => window.dpo.heat.ratio(token);
  const bin = (value) => window.dpo.heat.bin(value, view.clamp);
  /* A unit's colour is its mean per token, so that long sentences are not all at the clamp. */
  function unitOf(look, [start, end]) {
    const tokens = look.tokens.slice(start, end);
    const sum = tokens.reduce((total, token) => total + ratio(token), 0);
    return { tokens, start, end, sum, mean: sum / tokens.length, text: tokens.map((t) => t.text).join("") };
  }
  const sides = () => (view.texts.length === 2 && view.texts[0].side ? ["chosen", "rejected"] : ["A", "B"]);

  /* ---- status ---- */
  function status(id, text, share, bad = false) {
    const box = $(id);
    box.hidden = !text;
    box.classList.toggle("bad", bad);
    if (!text) return;
    const bar = make("div", "progress" + (share === null ? " indeterminate" : ""));
    if (share !== null) { const part = make("i"); part.style.width = percent(share); bar.append(part); }
    bar.setAttribute("role", "progressbar");
    bar.setAttribute("aria-label", text);
    box.replaceChildren(make("span", "", text), ...(bad ? [] : [bar]));
  }
  const waiting = (position) => (position ? `${position} ahead in the queue` : "Waiting");

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
      await window.dpo.stream("/api/lens/look", { policies, reference: view.reference || undefined, prompt: view.prompt, texts: view.texts.map((t) => t.text) }, {
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
    results = got;
    pinned = false;
    status("lens-status", "");
    const tokens = results.flatMap((r) => r.texts).reduce((total, look) => total + look.tokens.length, 0);
    $("status-text").textContent = `Scored ${tokens} tokens in ${((performance.now() - began) / 1000).toFixed(1)} s`;
    $("lens-heats").classList.remove("stale");
    select(null);
    draw();
    // The largest move is the best place to begin reading.
    const look = results[0].texts[0];
    const units = look.units[view.unit].map((span) => Math.abs(unitOf(look, span).mean));
    select({ row: 0, text: 0, unit: units.indexOf(Math.max(...units)) });
  }

  /* ---- painting ---- */
  function draw() {
    $("lens-range").textContent = `± ${view.clamp.toFixed(1)} nat${view.unit === "token" ? "" : " per token"}`;
    if (!results.length) return;
    const names = sides();
    $("lens-heats").replaceChildren(...results.flatMap((result, row) => {
      const cards = make("div", result.texts.length > 1 ? "grid g2" : "grid", ...result.texts.map((look, text) => heat(result, row, look, text, names[text])));
      if (results.length === 1) return [cards];
      const margin = result.texts.length > 1 ? result.texts[0].reward_per_token - result.texts[1].reward_per_token : null;
      return [make("div", "lens-row-head", make("span", "policy", glyph(result.family, true), result.label),
        make("span", "sub", `β = ${result.beta} · reference: ${result.reference}`),
        margin === null ? null : stat(signed(margin, 3), "margin per token", margin < 0 ? "reward neg" : "reward")), cards];
    }));
    running(); shifts(); command();
  }
  function heat(result, row, look, text, name) {
    const pair = name === "chosen" || name === "rejected";
    const shifted = look.shifts.shifted;
    const head = make("div", "heat-head", make("span", "pill " + (pair ? name : ""), pair ? name : view.texts.length > 1 ? `Text ${name}` : "Text"),
      stat(String(look.tokens.length), "tokens"), stat(signed(look.reward), "reward", look.reward < 0 ? "reward neg" : "reward"),
      stat(signed(look.reward_per_token, 3), "per token"), stat(percent(shifted), "shifted"));
    const box = make("div", "heat");
    box.tabIndex = 0;
    box.id = `lens-heat-${row}-${text}`;
    box.dataset.row = row;
    box.dataset.text = text;
    box.setAttribute("role", "listbox");
    box.setAttribute("aria-label", `${pair ? name : "text"} under ${result.label}: reward ${signed(look.reward)}`);
    look.units[view.unit].forEach((span, index) => {
      const unit = unitOf(look, span);
      const lead = unit.text.match(/^\s+/)?.[0] || "";
      const body = unit.text.slice(lead.length);
      const node = make("span", `tok ${bin(unit.mean)}`);
      node.id = `lens-tok-${row}-${text}-${index}`;
      node.dataset.unit = index;
      node.setAttribute("role", "option");
      node.setAttribute("aria-selected", "false");
      node.setAttribute("aria-label", `${body || (unit.tokens[0].text ? "blank" : "end of text")}, ${signed(unit.sum)} nat`);
      if (body) { node.textContent = body; box.append(lead, node); return; }
      // Blanks and the end of the text would be invisible: they get a sign of their own.
      node.classList.add("mark");
      node.textContent = unit.text ? visible(unit.text) : unit.tokens[0].id === look.tokens.at(-1).id ? "end" : unit.tokens[0].piece;
      box.append(node, lead.includes("\n") ? lead : "");
    });
    const card = make("section", "card heat-card", head, box);
    if (look.cut) card.append(make("p", "sub heat-note", "Cut where training cut it."));
    return card;
  }

  /* ---- the selected unit ---- */
  function select(place, scroll = false) {
    document.querySelectorAll(".tok.sel").forEach((node) => { node.classList.remove("sel", "pinned"); node.setAttribute("aria-selected", "false"); });
    selected = place;
    if (!place) return;
    const node = $(`lens-tok-${place.row}-${place.text}-${place.unit}`);
    if (!node) return;
    node.classList.add("sel");
    node.classList.toggle("pinned", pinned);
    node.setAttribute("aria-selected", "true");
    node.parentElement.setAttribute("aria-activedescendant", node.id);
    if (scroll) node.scrollIntoView({ block: "nearest" });
    tokenCard(place);
    cursor(place);
  }
  function tokenCard(place, inside = null) {
    const result = results[place.row], look = result.texts[place.text];
    const unit = unitOf(look, look.units[view.unit][place.unit]);
    const token = unit.tokens[inside ?? unit.tokens.reduce((best, t, i) => (Math.abs(ratio(t)) > Math.abs(ratio(unit.tokens[best])) ? i : best), 0)];
    const name = sides()[place.text];
    const where = unit.tokens.length > 1 ? `Tokens ${unit.start + 1}–${unit.end}` : `Token ${unit.start + 1}`;
    const text = unit.text.trim() || (unit.text ? visible(unit.text) : "end of text");
    const big = make("code", "bigtok " + bin(unit.mean), (unit.text.startsWith(" ") && unit.text.trim() && view.unit === "token" ? "␣" : "") + text);
    const parts = [make("div", "tok-top", big, make("div", "", make("div", "sub", `${where} of ${look.tokens.length}, ${name}`),
      make("div", "tok-value", make("b", "num", signed(unit.sum)), make("span", "sub", "nat")),
      make("div", "sub num", `reward ${signed(result.beta * unit.sum, 3)}`)))];
    if (unit.tokens.length > 1) {
      parts.push(make("div", "tok-parts", ...unit.tokens.map((t, index) => {
        const chip = make("button", t === token ? "on" : "", `${visible(t.text || t.piece)} ${signed(ratio(t))}`);
        chip.type = "button";
        chip.addEventListener("click", () => { pinned = true; tokenCard(place, index); });
        return chip;
      })));
    }
    const row = (tuned, logp, rank) => make("div", "cmp", policy(result.family, tuned),
      make("div", "trip", make("b", "", plain(logp)), make("b", "", String(rank)), make("b", "", percent(Math.exp(logp), 1))));
    parts.push(make("div", "num cmpbox", make("div", "trip h", make("span", "", "log-prob"), make("span", "", "rank"), make("span", "", "share")),
      row(true, token.policy_logp, token.policy_rank), row(false, token.reference_logp, token.reference_rank)));
    parts.push(make("div", "top5", top(result.family, true, token.policy_top, token), top(result.family, false, token.reference_top, token)));
    parts.push(make("div", "tok-keys", make("span", "sub", "← → token"), make("span", "sub", pinned ? "Enter lets go" : "Enter pins")));
    $("lens-token").className = "card tokcard";
    $("lens-token").replaceChildren(...parts);
  }
  function top(family, tuned, candidates, token) {
    const most = Math.max(...candidates.map((c) => c.share));
    const rows = candidates.map((candidate) => {
      const bar = make("div", "bar" + (tuned ? "" : " hollow"));
      bar.style.width = percent(candidate.share / most, 1);
      bar.style.setProperty("--c", `var(--${family})`);
      return make("div", "t5row" + (candidate.text === token.piece ? " hit" : ""), make("span", "tk mono", visible(candidate.text)), make("div", "", bar), make("span", "sub num", percent(candidate.share, 1)));
    });
    return make("div", "", make("div", "t5head row tight", policy(family, tuned), make("span", "sub", "top 5")), ...rows);
  }

  /* ---- running reward ---- */
  const colorOf = (result, name) => (name === "chosen" ? theme.chosen : name === "rejected" ? theme.rejected : theme.family[result.family]);
  const faint = (hex) => `rgba(${[1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)).join(",")},.08)`;
  function running() {
    [0, 1].forEach((place) => {
      const result = results[place];
      $(`lens-run-card-${place}`).hidden = !result;
      if (!result) return;
      const names = sides(), layout = structuredClone(theme.layout), traces = [], notes = [];
      const ends = result.texts.map((look) => look.reward);
      result.texts.forEach((look, text) => {
        let sum = 0;
        const color = colorOf(result, names[text]);
        traces.push({ type: "scatter", mode: "lines", name: names[text], x: look.tokens.map((_, i) => i + 1), y: look.tokens.map((t) => (sum += t.reward)),
          text: look.tokens.map((t) => visible(t.text || "end")), hovertemplate: "%{text} %{y:+.3f}<extra>" + names[text] + "</extra>",
          line: { color, width: 2.25, dash: text ? "5px,3px" : "solid", shape: "hv" }, fill: "tozeroy", fillcolor: faint(color) });
        notes.push({ x: 1, xref: "paper", y: ends[text], text: `${names[text]}<br>${signed(ends[text])}`, showarrow: false, xanchor: "left", xshift: 8, align: "left", font: { size: 12, color, weight: 600 } });
      });
      const span = Math.max(...traces.flatMap((t) => t.y), 0) - Math.min(...traces.flatMap((t) => t.y), 0) || 1;
      if (notes.length === 2 && Math.abs(ends[0] - ends[1]) < 0.16 * span) { const up = ends[0] >= ends[1] ? 0 : 1; notes[up].yshift = 14; notes[1 - up].yshift = -14; }
      Object.assign(layout, { annotations: notes, shapes: marks(place), margin: { l: 44, r: 78, t: 8, b: 40 } });
      layout.xaxis = { ...layout.xaxis, title: { text: "token position", font: { size: 12, color: theme.neutral } }, range: [1, Math.max(...result.texts.map((l) => l.tokens.length))] };
      layout.yaxis = { ...layout.yaxis, zeroline: true, zerolinecolor: theme.neutral };
      layout.datarevision = performance.now();
      layout.uirevision = performance.now();
      put(`lens-run-${place}`, { figure: { data: traces, layout } });
      $(`lens-run-title-${place}`).textContent = results.length > 1 ? `Running reward, ${result.label}` : "Running reward";
      $(`lens-run-note-${place}`).textContent = finding(result);
    });
    requestAnimationFrame(() => dispatchEvent(new Event("resize")));
  }
  function finding(result) {
    const moves = result.texts.flatMap((look) => look.tokens.map((t) => Math.abs(ratio(t)))).sort((a, b) => b - a);
    const all = moves.reduce((a, b) => a + b, 0);
    let part = 0, count = 0;
    while (count < moves.length && part < all / 2) part += moves[count++];
    const gap = result.texts.length > 1 ? `The gap at the end is the margin: ${signed(result.texts[0].reward - result.texts[1].reward)}.` : `It ends at the reward: ${signed(result.texts[0].reward)}.`;
    return `${gap} β = ${result.beta}. ${count} of ${moves.length} tokens carry half of all movement.`;
  }
  function marks(row) {
    if (!selected || selected.row !== row) return [];
    const x = results[row].texts[selected.text].units[view.unit][selected.unit][0] + 1;
    return [{ type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line: { color: theme.neutral, width: 1 } }];
  }
  function cursor(place) {
    results.forEach((_, row) => {
      const plot = document.querySelector(`#lens-run-${row} .js-plotly-plot`);
      if (plot && window.Plotly && plot.layout) window.Plotly.relayout(plot, { shapes: marks(row) });
    });
    return place;
  }
  function shifts() {
    const kinds = ["unshifted", "marginal", "shifted"];
    const tokens = results[0].texts.flatMap((look) => look.tokens);
    const shares = kinds.map((kind) => tokens.filter((t) => t.shift === kind).length / tokens.length);
    [...$("lens-shift").children].forEach((part, i) => { part.style.flex = `0 0 calc(${percent(shares[i], 2)} - 2px)`; part.hidden = shares[i] === 0; });
    $("lens-shift-text").replaceChildren(stat(percent(shares[0]), "same top token"), stat(percent(shares[1]), "in its top 3"), stat(percent(shares[2]), "new choice"));
  }

  /* ---- the same from a terminal ---- */
  const quote = (text) => (/^[\w./@-]+$/.test(text) ? text : "'" + text.replaceAll("'", "'\\''") + "'");
  function command() {
    $("lens-repro").hidden = false;
    $("lens-command").textContent = `dpo score --policy ${quote(view.policy)}` + (view.reference ? ` --reference ${quote(view.reference)}` : "") +
      ` --prompt ${quote(view.prompt)}` + view.texts.map((t) => ` --text ${quote(t.text)}`).join("") + (view.unit === "token" ? "" : ` --unit ${view.unit}`);
  }
  function download() {
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify({ prompt: view.prompt, texts: view.texts, policies: results }, null, 1)], { type: "application/json" }));
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
    const [a, b] = sides()[0] === "chosen" ? ["chosen", "rejected"] : ["a", "b"];
    if (view.texts[0]) query.set(a, view.texts[0].text);
    if (view.texts[1]) query.set(b, view.texts[1].text);
    history.replaceState({}, "", "/lens?" + query);
  }

  /* ---- pairs ---- */
  function showPair(pair) {
    view.prompt = pair.prompt;
    view.texts = [{ text: pair.chosen, side: "chosen" }, { text: pair.rejected, side: "rejected" }];
    put("lens-prompt", { value: pair.prompt });
    put("lens-a", { value: pair.chosen });
    put("lens-b", { value: pair.rejected });
    steps();
    score();
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
  async function scorePairs(source) {
    pairsController?.abort();
    const mine = (pairsController = new AbortController());
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
    if (mine !== pairsController) return;
    if (!result) { status("lens-pairs-status", failed || "The connection ended early: try again.", null, true); return; }
    status("lens-pairs-status", "");
    for (const pair of result.pairs) {
      pair.id = String(pair.index);
      pair.told = [pair.wrong ? "wrong sign" : "", pair.displaced ? "both fell" : ""].filter(Boolean).join(", ");
    }
    Object.assign(list, { pairs: result.pairs, scored: true, policy: policyName, ranges: {} });
    const means = result.summary, wrong = result.pairs.filter((p) => p.wrong).length, fell = result.pairs.filter((p) => p.displaced).length;
    $("lens-pairs-note").textContent = result.pairs.length
      ? `${result.label}: ${result.told}. Margin ${signed(means["rewards/margins"], 3)} on average, ${wrong} with the wrong sign, ${fell} where both fell (n = ${means.n}${result.left_out ? `, ${result.left_out} did not fit` : ""}).`
      : `${result.label}: ${result.told}; none could be scored.`;
    $("lens-pairs-body").hidden = false;
    histograms();
    table();
  }
  const HISTOGRAMS = { margin: () => theme.neutral, chosen_reward: () => theme.chosen, rejected_reward: () => theme.rejected };
  function histograms() {
    for (const [name, color] of Object.entries(HISTOGRAMS)) {
      const values = list.pairs.map((pair) => pair[name]);
      const low = Math.min(...values), high = Math.max(...values);
      const size = (high - low || 1) / 24;
      const layout = structuredClone(theme.layout);
      Object.assign(layout, { margin: { l: 30, r: 8, t: 6, b: 24 }, dragmode: "select", selectdirection: "h", hovermode: "closest", bargap: 0.08, uirevision: performance.now(), datarevision: performance.now() });
      const range = list.ranges[name];
      layout.shapes = [{ type: "line", x0: 0, x1: 0, yref: "paper", y0: 0, y1: 1, line: { color: theme.neutral, width: 1, dash: "2px,3px" } }];
      if (range) layout.shapes.push({ type: "rect", x0: range[0], x1: range[1], yref: "paper", y0: 0, y1: 1, line: { width: 0 }, fillcolor: theme.neutral, opacity: 0.18 });
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

  /* ---- pointer and keys ---- */
  const placeOf = (node) => ({ row: +node.parentElement.dataset.row, text: +node.parentElement.dataset.text, unit: +node.dataset.unit });
  document.addEventListener("mouseover", (event) => {
    const node = event.target instanceof Element && event.target.closest("#lens-heats .tok");
    if (node && !pinned) select(placeOf(node));
  });
  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    const node = event.target.closest("#lens-heats .tok");
    if (node) {
      const place = placeOf(node);
      pinned = !(pinned && selected && selected.row === place.row && selected.text === place.text && selected.unit === place.unit);
      select(place);
    }
    if (event.target.closest("#lens-previous")) go(-1);
    if (event.target.closest("#lens-next")) go(1);
    if (event.target.closest("#lens-json") && results.length) download();
    if (event.target.closest("#lens-copy-command")) window.dpo.copy($("lens-command").textContent, event.target.closest("button"));
  });
  document.addEventListener("focusin", (event) => {
    const box = event.target instanceof Element && event.target.classList.contains("heat") ? event.target : null;
    if (box && !pinned && (!selected || selected.row !== +box.dataset.row || selected.text !== +box.dataset.text)) select({ row: +box.dataset.row, text: +box.dataset.text, unit: 0 });
  });
  document.addEventListener("keydown", (event) => {
    if ($("page-lens")?.hidden !== false) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter" && view.mode === "My texts") { event.preventDefault(); $("lens-score").click(); return; }
    if (window.dpo.typing(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    const box = event.target instanceof Element && event.target.classList.contains("heat") ? event.target : null;
    if (!box || !selected) { if (event.key === "Escape") { pinned = false; select(selected); } return; }
    const count = results[selected.row].texts[selected.text].units[view.unit].length;
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (by) { event.preventDefault(); select({ ...selected, unit: Math.min(count - 1, Math.max(0, selected.unit + by)) }, true); }
    else if (event.key === "Home" || event.key === "End") { event.preventDefault(); select({ ...selected, unit: event.key === "Home" ? 0 : count - 1 }, true); }
    else if (event.key === "Enter") { event.preventDefault(); pinned = !pinned; select(selected); }
    else if (event.key === "Escape") { pinned = false; select(selected); }
  });

  /* ---- from the address ---- */
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
    if (prompt && query.get("chosen") && query.get("rejected")) { setMode("Pair"); showPair({ prompt, chosen: query.get("chosen"), rejected: query.get("rejected") }); return; }
    if (prompt && query.get("a")) {
      setMode("My texts");
      put("lens-prompt", { value: prompt }); put("lens-a", { value: query.get("a") }); put("lens-b", { value: query.get("b") || "" });
      mine(prompt, query.get("a"), query.get("b"));
      return;
    }
    setMode("Pair");
    if (list.pairs.length) showPair(list.pairs[0]);
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
    view.texts = [{ text: a }, ...((b || "").trim() ? [{ text: b }] : [])];
    score();
  }

  window.dash_clientside = Object.assign(window.dash_clientside || {}, {
    lens: {
      show(pathname, search, data) {
        theme = data;
        if (pathname !== "/lens") return none();
        // A look elsewhere and back leaves everything as it was; a link with a query is a new view.
        if (started && !search) { requestAnimationFrame(() => results.length && running()); return none(); }
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
        if (value === "Pair") { const pairs = shownPairs(); if (pairs.length) showPair(pairs[Math.min(view.pair, pairs.length - 1)]); }
        return none();
      },
      unit(value) {
        const unit = (value || "Token").toLowerCase();
        if (unit === view.unit) return none();
        view.unit = unit; pinned = false; selected = null;
        draw(); remember();
        if (results.length) select({ row: 0, text: 0, unit: 0 });
        return none();
      },
      clamp(value) {
        if (typeof value !== "number") return none();
        view.clamp = value;
        $("lens-clamp-value").textContent = value.toFixed(1);
        const kept = selected;
        draw(); select(kept);
        if (started && results.length) remember();
        return none();
      },
      score(_clicks, prompt, a, b) { mine(prompt, a, b); return none(); },
      pairs(_clicks, source) { scorePairs(source); return none(); },
      sort(order, which) { Object.assign(list, { sort: order, which }); if (list.scored) table(); return none(); },
      brush(data, id) {
        const name = id.replace("lens-hist-", "");
        if (!data) return none();
        const values = list.pairs.map((pair) => pair[name]);
        const size = ((Math.max(...values) - Math.min(...values)) || 1) / 24;
        const x = data.range?.x || (data.points?.length === 1 ? [data.points[0].x - size / 2, data.points[0].x + size / 2] : null);
        if (!x) return none();
        list.ranges[name] = [Math.min(...x), Math.max(...x)];
        histograms(); table();
        return none();
      },
      open(cell) {
        if (!cell) return none();
        const pairs = filtered();
        const index = pairs.findIndex((pair) => pair.id === cell.rowId);
        if (index < 0) return none();
        view.pair = index;
        setMode("Pair");
        if (list.policy !== view.policy) { view.policy = list.policy; put("lens-policy", { value: list.policy }); }
        showPair(pairs[index]);
        $("lens-heats").scrollIntoView({ behavior: "smooth", block: "center" });
        return none();
      },
    },
  });
})();
