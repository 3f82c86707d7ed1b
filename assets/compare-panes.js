/* Compare: what stands in a pane. */
(() => {
  "use strict";
  const cmp = window.dpo.cmp, { $, PANES, element, about, sampleOf, hidden, partner } = cmp;
  const ENDS = { eos: "ended itself", cancelled: "stopped", stop: "met a stop string" };
  const KINDS = { seq2seq: "encoder–decoder", causal: "decoder only" };
  const CLAMP = 0.8;

  function layOut() {
    for (const pane of PANES) {
      const node = $(`cmp-pane-${pane}`), value = cmp.picked[pane];
      node.hidden = !value;
      if (!value) continue;
      const arm = about(value);
      const lambda = cmp.shownLambda(pane), turned = lambda === 1 ? "" : ` λ ${lambda.toFixed(2)}`;
      Object.assign(node.dataset, { name: arm.label + turned, short: arm.short + turned, tuned: String(+arm.tuned), family: arm.family || "" });
      node.className = `pane ${arm.family || "other"}`;
      const glyph = element("span", `glyph ${cmp.SHAPES[arm.family] || "square"} ${arm.family || "other"} ${arm.tuned ? "solid" : "hollow"}`);
      glyph.setAttribute("aria-hidden", "true");
      const name = $(`cmp-name-${pane}`);
      name.replaceChildren(glyph, element("span", "pane-name", arm.short));
      name.title = arm.label;
      if (turned) name.append(element("span", "pill num", turned.trim()));
      node.setAttribute("aria-label", arm.label);
      node.querySelector(".js-lens").hidden = !cmp.lensPolicy(pane);
      note(pane);
    }
    for (const row of [0, 1, 2]) {
      const panes = [2 * row, 2 * row + 1].filter((pane) => cmp.picked[pane]);
      $(`cmp-row-${row}`).hidden = !panes.length;
      $(`cmp-row-${row}`).querySelector(".duo-body").classList.toggle("single", panes.length === 1);
      const families = [...new Set(panes.map((pane) => about(cmp.picked[pane]).family))];
      $(`cmp-row-title-${row}`).textContent = [...new Set(families.flatMap((family) => cmp.modelsOf(family, panes)))].join(" and ");
      $(`cmp-row-kind-${row}`).textContent = families.length === 1 ? KINDS[families[0]] || "" : "";
    }
    for (const node of document.querySelectorAll("[data-family-name]")) {
      const models = cmp.modelsOf(node.dataset.familyName, cmp.active());
      if (models.length) node.textContent = models.join(", ");
    }
    $("cmp-add").disabled = cmp.active().length === PANES.length;
    document.querySelectorAll(".js-remove").forEach((button) => { button.disabled = cmp.active().length <= 2; });
    window.dpo.votes?.rearrange();
  }
  /* What does not act in this pane; an engine may add what it measured. */
  function note(pane) {
    const text = sampleOf(pane)?.note || about(cmp.picked[pane]).note;
    $(`cmp-note-${pane}`).textContent = text ? text + "." : "";
    $(`cmp-note-${pane}`).hidden = !text;
  }
  /* What was said before, folded. */
  function earlier(pane) {
    const turns = cmp.run?.turns[pane] || [], box = $(`cmp-earlier-${pane}`);
    box.hidden = !turns.length;
    box.querySelector("summary").textContent = `${turns.length} earlier ${turns.length === 1 ? "turn" : "turns"}`;
    box.querySelector("div").replaceChildren(...turns.flatMap(([said, answer]) => [element("p", "asked", said), element("p", "answered", answer)]));
  }

  /* What each family was given for the answers on screen. */
  function seen() {
    for (const family of cmp.FAMILIES) {
      const node = $(`cmp-seen-${family}`), given = cmp.run?.seen[family];
      if (!node) continue;
      node.textContent = given ? given.text.replaceAll("\n", "⏎") : "shown with the first answer";
      node.title = given?.text || "";
      node.classList.toggle("unseen", !given);
      $(`cmp-seen-count-${family}`).textContent = given?.tokens ? `${given.tokens} tokens` : "";
    }
  }
  /* Answers that belong to another question or other settings than those above say so, and stand back. */
  function belong() {
    const run = cmp.run, now = cmp.wanted, line = $("cmp-belong");
    if (!line) return;
    const other = Boolean(run && now) && now.prompt !== run.first, names = [];
    if (run && now) {
      for (const name of cmp.fields) if (now[name] !== run.request[name]) names.push(name.replaceAll("_", " "));
      const turned = run.arms.filter((pane) => run.policies[pane] === cmp.picked[pane] && cmp.lambdaOf(cmp.picked[pane]) !== run.lambdas[pane]);
      for (const family of new Set(turned.map((pane) => about(cmp.picked[pane]).family))) names.push(`λ of ${cmp.modelsOf(family, turned).join(", ")}`);
      if (cmp.samples !== run.count) names.push("samples");
      if (cmp.noise !== run.same_noise) names.push("same noise");
    }
    const parts = [...(other ? [`Answers to: “${run.first.length > 80 ? `${run.first.slice(0, 79)}…` : run.first}”.`] : []), ...(names.length ? [`Settings changed since: ${names.join(", ")}.`] : [])];
    line.textContent = parts.join(" ");
    line.hidden = !parts.length;
    $("cmp-rows").classList.toggle("stale", parts.length > 0);
    document.querySelector(".sees").classList.toggle("stale", other);
  }

  function stat(value, label, extra = "") {
    const span = element("span", "stat " + extra);
    span.append(element("b", "num", value), element("span", "", label));
    return span;
  }
  function pill(pane, text, kind = "") {
    const node = $(`cmp-pill-${pane}`);
    node.hidden = !text;
    node.className = "pill " + kind;
    node.textContent = text || "";
  }
  function state(pane, ...children) {
    const box = $(`cmp-state-${pane}`);
    box.replaceChildren(...children);
    box.hidden = children.length === 0;
    $(`cmp-out-${pane}`).hidden = children.length > 0 && !sampleOf(pane)?.text;
  }
  function skeleton() {
    return [100, 92, 64].map((width) => { const bar = element("div", "skeleton"); bar.style.width = width + "%"; return bar; });
  }

  /* What of a tinted answer stands in a pane: each frame adds what is new. */
  const painted = new WeakMap();
  function draw(pane) {
    const sample = sampleOf(pane), out = $(`cmp-out-${pane}`);
    if (!sample || sample.failed) { out.textContent = ""; return; }
    out.classList.remove("empty-out");
    const words = cmp.mode === "Word diff" && !hidden(pane) && diffOf(pane);
    if (words) {
      const tuned = pane % 2;
      out.replaceChildren(...words.map(([text, own]) => (own ? element("span", tuned ? "new" : "gone", text) : document.createTextNode(text))));
    } else if (cmp.mode === "Reward tint" && (sample.look || sample.arriving) && !hidden(pane)) {
      // As it arrives, by the engine's own log-ratios; then as Lens has it.
      const look = sample.look || sample.arriving, stands = painted.get(out);
      const known = stands?.look === look && stands.last?.parentNode === out ? stands : null;
      if (known) while (out.lastChild !== known.last) out.lastChild.remove();
      else out.replaceChildren();
      out.append(...window.dpo.heat.paint(look, "token", CLAMP, known?.units));
      painted.set(out, { look, units: look.units.token.length, last: out.lastChild });
      if (!sample.look) out.append(sample.text.slice(look.length));
    } else out.textContent = sample.text;
    if (sample.live) out.append(element("span", "caret"));
  }
  function diffOf(pane) {
    const other = partner(pane);
    if (other === null || !sampleOf(other)?.text || !sampleOf(pane)?.text) return null;
    const [left, right] = pane % 2 ? [other, pane] : [pane, other];
    return window.dpo.diff.words(sampleOf(left).text, sampleOf(right).text)[pane % 2];
  }
  function differ(pane) {
    const left = pane - (pane % 2), sides = [sampleOf(left), sampleOf(left + 1)], node = $(`cmp-differ-${left / 2}`);
    if (!sides.every((sample) => sample?.end && sample.text)) { node.textContent = ""; return; }
    const words = window.dpo.diff.words(sides[0].text, sides[1].text).flat();
    const share = Math.round((100 * words.filter(([, own]) => own).length) / Math.max(words.length, 1));
    const same = cmp.run.same?.[left / 2];
    node.textContent = `${share}% of words differ${same === undefined ? "" : ` · ${Math.round(100 * same)}% of tokens in the same place`}`;
  }

  const grams = (text) => { const words = text.split(/\s+/).filter(Boolean); return words.slice(3).map((_, i) => words.slice(i, i + 4).join(" ")); };
  const signed = (value, digits) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
  function ended(sample) {
    const end = element("span", "stat end " + sample.end), icon = element("span", "i " + (sample.end === "eos" ? "i-check" : "i-warn"));
    icon.style.width = icon.style.height = "14px";
    end.append(icon, document.createTextNode(ENDS[sample.end] || `hit ${cmp.run.request.max_new_tokens}-token limit`));
    return end;
  }
  function chips(pane) {
    const sample = sampleOf(pane), parts = [];
    if (!sample) { $(`cmp-chips-${pane}`).replaceChildren(); return; }
    if (sample.position > 0 && !sample.tokens) parts.push(stat(String(sample.position), "ahead in the queue", "waiting"));
    if (sample.tokens) parts.push(stat(String(sample.tokens), sample.tokens === 1 ? "token" : "tokens"));
    if (sample.rate) parts.push(stat(Math.round(sample.rate).toLocaleString("en"), "tok/s"));
    if (sample.end && sample.first !== undefined) {
      const [value, unit] = sample.first < 1 ? [String(Math.round(1000 * sample.first)), "ms"] : [sample.first.toFixed(1), "s"];
      parts.push(stat(value, `${unit} to first token`));
    }
    if (sample.end) {
      parts.push(ended(sample));
      const all = grams(sample.text), repeated = all.length ? 1 - new Set(all).size / all.length : 0;
      if (repeated >= 0.05) parts.push(stat(`${Math.round(100 * repeated)}%`, "repeated"));
    } else if (sample.live) parts.push(element("span", "stat waiting", "writing"));
    if (sample.look) {
      const sign = sample.look.reward < 0 ? "reward neg" : "reward";
      parts.push(stat(signed(sample.look.reward, 2), "reward", sign), stat(signed(sample.look.reward_per_token, 3), "reward / token", sign));
    }
    const done = cmp.run.samples[pane].filter((s) => s?.end);
    if (done.length > 1) {
      const tokens = done.map((s) => s.tokens), different = new Set(done.map((s) => s.text)).size;
      const [least, most] = [Math.min(...tokens), Math.max(...tokens)];
      parts.push(stat(least === most ? String(least) : `${least}–${most}`, `tokens in ${done.length} samples, ${different} different`));
    }
    $(`cmp-chips-${pane}`).replaceChildren(...parts);
  }
  function tabs(pane) {
    const run = cmp.run, box = $(`cmp-tabs-${pane}`), list = run?.samples[pane] || [];
    box.hidden = list.length < 2;
    box.replaceChildren(...list.map((sample, index) => {
      const button = element("button", "ex" + (index === run.shown[pane] ? " on" : ""), String(index + 1));
      button.type = "button";
      button.disabled = !sample?.text && !sample?.end;
      button.setAttribute("aria-label", `Sample ${index + 1}`);
      button.addEventListener("click", () => { run.shown[pane] = index; show(pane); cmp.told(); });
      return button;
    }));
  }

  function show(pane) {
    const sample = sampleOf(pane);
    state(pane);
    if (!sample) { empty(pane); pill(pane, ""); } else if (sample.failed) failure(pane, sample.failed);
    else { pill(pane, sample.end === "cancelled" ? "stopped" : ""); draw(pane); }
    chips(pane); tabs(pane); differ(pane); earlier(pane);
    if (cmp.picked[pane]) note(pane);
    if (cmp.mode === "Word diff" && partner(pane) !== null && sampleOf(partner(pane))) draw(partner(pane));
  }
  function empty(pane) {
    const out = $(`cmp-out-${pane}`);
    out.hidden = false;
    out.classList.add("empty-out");
    out.textContent = "";
  }
  function failure(pane, message) {
    pill(pane, "failed", "bad");
    const again = element("button", "ex js-again", "Try again");
    again.type = "button";
    const row = element("div", "row");
    row.append(again);
    state(pane, element("span", "strong", message), row);
  }
  /* A pane whose answer was asked for a moment ago. */
  function waiting(pane) {
    $(`cmp-out-${pane}`).textContent = "";
    $(`cmp-out-${pane}`).removeAttribute("aria-live");
    pill(pane, "waiting"); state(pane, ...skeleton()); chips(pane); tabs(pane); differ(pane); earlier(pane); note(pane);
  }
  function loading(pane, message, share) {
    const bar = element("div", "progress" + (share ? "" : " indeterminate"));
    if (share) { const part = element("i"); part.style.width = `${100 * share}%`; bar.append(part); }
    bar.setAttribute("role", "progressbar");
    bar.setAttribute("aria-label", message);
    pill(pane, "loading");
    state(pane, element("span", "strong", message), bar, element("span", "sub", "The first use of a policy takes a few seconds."));
  }
  function queued(pane) { pill(pane, "waiting"); state(pane, ...skeleton()); chips(pane); }
  function started(pane) { pill(pane, ""); state(pane); draw(pane); chips(pane); tabs(pane); note(pane); }

  cmp.panes = { layOut, seen, belong, pill, draw, differ, chips, tabs, show, waiting, loading, queued, started };
})();
