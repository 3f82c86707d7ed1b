/* Lens: the coloured tokens, the card of the selected one, the running reward. */
(() => {
  "use strict";
  const lens = window.dpo.lens, { $, view, put, make, signed, plain, percent, stat, glyph, policy, visible, ratio, bin, unitOf, sides } = lens;

  /* ---- painting ---- */
  function draw() {
    $("lens-range").textContent = `± ${view.clamp.toFixed(1)} nat${view.unit === "token" ? "" : " per token"}`;
    if (!lens.results.length) return;
    const names = sides();
    $("lens-heats").replaceChildren(...lens.results.flatMap((result, row) => {
      const cards = make("div", result.texts.length > 1 ? "grid g2" : "grid", ...result.texts.map((look, text) => heat(result, row, look, text, names[text])));
      if (lens.results.length === 1) return [cards];
      const margin = result.texts.length > 1 ? result.texts[0].reward_per_token - result.texts[1].reward_per_token : null;
      return [make("div", "lens-row-head", make("span", "policy", glyph(result.family, true), result.label),
        make("span", "sub", `β = ${result.beta} · reference: ${result.reference}`),
        margin === null ? null : stat(signed(margin, 3), "margin per token", margin < 0 ? "reward neg" : "reward")), cards];
    }));
    running(); shifts(); lens.command();
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
      node.classList.add("sign");
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
    lens.selected = place;
    if (!place) return;
    const node = $(`lens-tok-${place.row}-${place.text}-${place.unit}`);
    if (!node) return;
    node.classList.add("sel");
    node.classList.toggle("pinned", lens.pinned);
    node.setAttribute("aria-selected", "true");
    node.parentElement.setAttribute("aria-activedescendant", node.id);
    if (scroll) node.scrollIntoView({ block: "nearest" });
    tokenCard(place);
    cursor(place);
  }
  function tokenCard(place, inside = null) {
    const result = lens.results[place.row], look = result.texts[place.text];
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
        chip.addEventListener("click", () => { lens.pinned = true; tokenCard(place, index); });
        return chip;
      })));
    }
    const row = (tuned, logp, rank) => make("div", "cmp", policy(result, tuned),
      make("div", "trip", make("b", "", plain(logp)), make("b", "", String(rank)), make("b", "", percent(Math.exp(logp), 1))));
    parts.push(make("div", "num cmpbox", make("div", "trip h", make("span", "", "log-prob"), make("span", "", "rank"), make("span", "", "share")),
      row(true, token.policy_logp, token.policy_rank), row(false, token.reference_logp, token.reference_rank)));
    parts.push(make("div", "top5", top(result, true, token.policy_top, token), top(result, false, token.reference_top, token)));
    parts.push(make("div", "tok-keys", make("span", "sub", "← → token"), make("span", "sub", lens.pinned ? "Enter lets go" : "Enter pins")));
    $("lens-token").className = "card tokcard";
    $("lens-token").replaceChildren(...parts);
  }
  function top(result, tuned, candidates, token) {
    const most = Math.max(...candidates.map((c) => c.share));
    const rows = candidates.map((candidate) => {
      const bar = make("div", "bar" + (tuned ? "" : " hollow"));
      bar.style.width = percent(candidate.share / most, 1);
      bar.style.setProperty("--c", `var(--${result.family})`);
      return make("div", "t5row" + (candidate.text === token.piece ? " hit" : ""), make("span", "tk mono", visible(candidate.text)), make("div", "", bar), make("span", "sub num", percent(candidate.share, 1)));
    });
    return make("div", "", make("div", "t5head row tight", policy(result, tuned), make("span", "sub", "top 5")), ...rows);
  }

  /* ---- running reward ---- */
  const colorOf = (result, name) => (name === "chosen" ? lens.theme.chosen : name === "rejected" ? lens.theme.rejected : lens.theme.family[result.family]);
  const faint = (hex) => `rgba(${[1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)).join(",")},.08)`;
  function running() {
    [0, 1].forEach((place) => {
      const result = lens.results[place];
      $(`lens-run-card-${place}`).hidden = !result;
      if (!result) return;
      const names = sides(), layout = structuredClone(lens.theme.layout), traces = [], notes = [];
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
      layout.xaxis = { ...layout.xaxis, title: { text: "token position", font: { size: 12, color: lens.theme.neutral } }, range: [1, Math.max(...result.texts.map((l) => l.tokens.length))] };
      layout.yaxis = { ...layout.yaxis, autorange: true, zeroline: true, zerolinecolor: lens.theme.neutral };
      layout.datarevision = performance.now();
      layout.uirevision = performance.now();
      put(`lens-run-${place}`, { figure: { data: traces, layout } });
      $(`lens-run-title-${place}`).textContent = lens.results.length > 1 ? `Running reward, ${result.label}` : "Running reward";
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
    if (!lens.selected || lens.selected.row !== row) return [];
    const x = lens.results[row].texts[lens.selected.text].units[view.unit][lens.selected.unit][0] + 1;
    return [{ type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line: { color: lens.theme.neutral, width: 1 } }];
  }
  function cursor(place) {
    lens.results.forEach((_, row) => {
      const plot = document.querySelector(`#lens-run-${row} .js-plotly-plot`);
      if (plot && window.Plotly && plot.layout) window.Plotly.relayout(plot, { shapes: marks(row) });
    });
    return place;
  }
  function shifts() {
    const kinds = ["unshifted", "marginal", "shifted"];
    const tokens = lens.results[0].texts.flatMap((look) => look.tokens);
    const shares = kinds.map((kind) => tokens.filter((t) => t.shift === kind).length / tokens.length);
    [...$("lens-shift").children].forEach((part, i) => { part.style.flex = `0 0 calc(${percent(shares[i], 2)} - 2px)`; part.hidden = shares[i] === 0; });
    $("lens-shift-text").replaceChildren(stat(percent(shares[0]), "same top token"), stat(percent(shares[1]), "in its top 3"), stat(percent(shares[2]), "new choice"));
  }

  Object.assign(lens, { draw, select, running });
})();
