/* Compare: asks for answers and streams them into up to six panes. */
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const none = () => window.dash_clientside.no_update;
  const put = (id, props) => window.dash_clientside.set_props(id, props);
  const PANES = [0, 1, 2, 3, 4, 5];
  const ENDS = { eos: "ended itself", stopped: "stopped", stop: "met a stop string" };
  const FIELDS = ["temperature", "top_p", "top_k", "max_new_tokens", "seed"];
  const IDS = { temperature: "cmp-temperature", top_p: "cmp-top-p", top_k: "cmp-top-k", max_new_tokens: "cmp-max-new", seed: "cmp-seed" };
  const NAMES = { t5: "T5", gpt2: "GPT-2" }, SHAPES = { t5: "circle", gpt2: "diamond" };
  const KINDS = { t5: "encoder–decoder", gpt2: "decoder only" };
  let known = {}, picked = PANES.map(() => null), linked = {};
  let mode = "Text", samples = 1, noise = true;
  const strength = { t5: 1, gpt2: 1 };
  const past = [];
  /* The generation on screen: request, arms, policies by pane, samples by pane, which of them is shown. */
  let run = null;

  /* ---- policies and panes ---- */
  const about = (value) => known[value] || { value, label: value, short: value.split("/").pop() || value, family: null, tuned: false };
  const active = () => PANES.filter((pane) => picked[pane]);
  const partner = (pane) => (picked[pane ^ 1] ? pane ^ 1 : null);
  function element(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }
  function layOut() {
    for (const pane of PANES) {
      const node = $(`cmp-pane-${pane}`);
      node.hidden = !picked[pane];
      if (!picked[pane]) continue;
      const arm = about(picked[pane]);
      Object.assign(node.dataset, { name: arm.label, short: arm.short, tuned: String(+arm.tuned), family: arm.family || "" });
      node.className = `pane ${arm.family || "other"}`;
      const glyph = element("span", `glyph ${SHAPES[arm.family] || "square"} ${arm.family || "other"} ${arm.tuned ? "solid" : "hollow"}`);
      glyph.setAttribute("aria-hidden", "true");
      const name = $(`cmp-name-${pane}`);
      name.replaceChildren(glyph, element("span", "pane-name", arm.short));
      name.title = arm.label;
      const lambda = lambdaOf(picked[pane]);
      if (lambda !== 1) name.append(element("span", "pill num", `λ ${lambda.toFixed(2)}`));
      node.setAttribute("aria-label", arm.label);
      node.querySelector(".js-lens").hidden = !lensPolicy(pane);
    }
    for (const row of [0, 1, 2]) {
      const panes = [2 * row, 2 * row + 1].filter((pane) => picked[pane]);
      $(`cmp-row-${row}`).hidden = !panes.length;
      $(`cmp-row-${row}`).querySelector(".duo-body").classList.toggle("single", panes.length === 1);
      const families = [...new Set(panes.map((pane) => about(picked[pane]).family))];
      $(`cmp-row-title-${row}`).textContent = families.map((f) => NAMES[f] || "Other").join(" and ");
      $(`cmp-row-kind-${row}`).textContent = families.length === 1 ? KINDS[families[0]] || "" : "";
    }
    $("cmp-add").disabled = active().length === PANES.length;
    document.querySelectorAll(".js-remove").forEach((button) => { button.disabled = active().length <= 2; });
    window.dpo.votes?.rearrange();
  }
  /* Whose rewards colour the answer of a pane: a tuned policy's own, a base's tuned neighbour's. */
  function lensPolicy(pane) {
    const arm = about(picked[pane]);
    if (arm.tuned) return arm.value;
    const near = [partner(pane), ...active()].filter((other) => other !== null).map((other) => about(picked[other]));
    return near.find((other) => other.tuned && other.family === arm.family)?.value || null;
  }

  /* ---- one pane ---- */
  const sampleOf = (pane) => run?.samples[pane]?.[run.shown[pane]] || null;
  const hidden = (pane) => window.dpo.votes?.hidden(pane);
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
  function draw(pane) {
    const sample = sampleOf(pane), out = $(`cmp-out-${pane}`);
    if (!sample || sample.failed) { out.textContent = ""; return; }
    out.classList.remove("empty-out");
    const words = mode === "Word diff" && !hidden(pane) && diffOf(pane);
    if (words) {
      const tuned = pane % 2;
      out.replaceChildren(...words.map(([text, own]) => (own ? element("span", tuned ? "new" : "gone", text) : document.createTextNode(text))));
    } else if (mode === "Reward tint" && sample.look && !hidden(pane)) {
      out.replaceChildren(...window.dpo.heat.paint(sample.look, "token", 0.8));
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
    const left = pane - (pane % 2), sides = [sampleOf(left), sampleOf(left + 1)];
    const ready = sides.every((sample) => sample?.end && sample.text);
    const words = ready ? window.dpo.diff.words(sides[0].text, sides[1].text).flat() : [];
    $(`cmp-differ-${left / 2}`).textContent = ready ? `${Math.round((100 * words.filter(([, own]) => own).length) / Math.max(words.length, 1))}% of words differ${run.same?.[left / 2] === undefined ? "" : ` · ${Math.round(100 * run.same[left / 2])}% of tokens in the same place`}` : "";
  }
  const grams = (text) => { const words = text.split(/\s+/).filter(Boolean); return words.slice(3).map((_, i) => words.slice(i, i + 4).join(" ")); };
  function chips(pane) {
    const sample = sampleOf(pane), parts = [];
    if (!sample) { $(`cmp-chips-${pane}`).replaceChildren(); return; }
    if (sample.position > 0 && !sample.tokens) parts.push(stat(String(sample.position), "ahead in the queue", "waiting"));
    if (sample.tokens) parts.push(stat(String(sample.tokens), sample.tokens === 1 ? "token" : "tokens"));
    if (sample.rate) parts.push(stat(Math.round(sample.rate).toLocaleString("en"), "tok/s"));
    if (sample.end && sample.first !== undefined) parts.push(stat(sample.first < 1 ? String(Math.round(1000 * sample.first)) : sample.first.toFixed(1), `${sample.first < 1 ? "ms" : "s"} to first token`));
    if (sample.end) {
      const end = element("span", "stat end " + sample.end), icon = element("span", "i " + (sample.end === "eos" ? "i-check" : "i-warn"));
      icon.style.width = icon.style.height = "14px";
      end.append(icon, document.createTextNode(ENDS[sample.end] || `hit ${run.request.max_new_tokens}-token limit`));
      parts.push(end);
      const all = grams(sample.text), repeated = all.length ? 1 - new Set(all).size / all.length : 0;
      if (repeated >= 0.05) parts.push(stat(`${Math.round(100 * repeated)}%`, "repeated"));
    } else if (sample.live) parts.push(element("span", "stat waiting", "writing"));
    if (sample.note) parts.push(element("span", "stat", sample.note));
    if (sample.look) {
      const signed = (value, digits) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
      parts.push(stat(signed(sample.look.reward, 2), "reward", sample.look.reward < 0 ? "reward neg" : "reward"));
      parts.push(stat(signed(sample.look.reward_per_token, 3), "reward / token", sample.look.reward < 0 ? "reward neg" : "reward"));
    }
    const done = run.samples[pane].filter((s) => s?.end);
    if (done.length > 1) {
      const tokens = done.map((s) => s.tokens), different = new Set(done.map((s) => s.text)).size;
      const [least, most] = [Math.min(...tokens), Math.max(...tokens)];
      parts.push(stat(least === most ? String(least) : `${least}–${most}`, `tokens in ${done.length} samples, ${different} different`));
    }
    $(`cmp-chips-${pane}`).replaceChildren(...parts);
  }
  function tabs(pane) {
    const box = $(`cmp-tabs-${pane}`), list = run?.samples[pane] || [];
    box.hidden = list.length < 2;
    box.replaceChildren(...list.map((sample, index) => {
      const button = element("button", "ex" + (index === run.shown[pane] ? " on" : ""), String(index + 1));
      button.type = "button";
      button.disabled = !sample?.text && !sample?.end;
      button.setAttribute("aria-label", `Sample ${index + 1}`);
      button.addEventListener("click", () => { run.shown[pane] = index; show(pane); told(); });
      return button;
    }));
  }
  function show(pane) {
    const sample = sampleOf(pane);
    state(pane);
    if (!sample) { empty(pane); pill(pane, ""); } else if (sample.failed) failure(pane, sample.failed);
    else { pill(pane, sample.end === "stopped" ? "stopped" : ""); draw(pane); }
    chips(pane); tabs(pane); differ(pane);
    if (mode === "Word diff" && partner(pane) !== null && sampleOf(partner(pane))) draw(partner(pane));
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

  /* ---- progress of the whole; voting follows along ---- */
  const told = () => document.dispatchEvent(new Event("compare"));
  function progress() {
    const all = run.arms.flatMap((pane) => run.samples[pane]);
    const finished = all.filter((s) => s?.end || s?.failed).length;
    const live = all.filter((s) => s?.live).length;
    const seconds = ((performance.now() - run.started) / 1000).toFixed(1);
    $("cmp-progress").textContent = run.over ? `${finished} of ${all.length} answered · ${run.seconds} s`
      : live ? `Writing answer ${Math.min(finished + 1, all.length)} of ${all.length} · ${seconds} s` : run.note || "Waiting";
    const status = run.over ? "Ready" : run.note && !live ? run.note : "Writing answers";
    if ($("status-text").textContent !== status) $("status-text").textContent = status;
    $("status-dot").classList.toggle("idle", run.over);
  }
  function busy(on) { $("cmp-generate-box").hidden = on; $("cmp-stop-box").hidden = !on; }
  function problem(text) { $("cmp-error").textContent = text || ""; $("cmp-error").hidden = !text; }

  /* ---- events of a stream: `arm` counts the policies as they were asked, `sample` their answers ---- */
  function handlers(mine, asked) {
    const began = performance.now();
    const of = (data) => { const pane = asked[data.arm], index = data.sample || 0; return { pane, index, sample: mine.samples[pane][index] }; };
    const seen = (pane, index) => run === mine && mine.shown[pane] === index;
    const each = (pane, act) => mine.samples[pane].forEach((sample, index) => { if (!sample.end && !sample.failed) act(sample, index); });
    return {
      job(data) { mine.job = data.job; if (mine.stopping) cancel(mine); },
      queued(data) {
        const wait = data.wait_seconds ? `, about ${Math.ceil(data.wait_seconds)} s` : "";
        mine.note = data.position ? `${data.position} ahead in the queue${wait}` : "Waiting";
        for (const pane of asked) each(pane, (sample, index) => {
          sample.position = data.position;
          if (seen(pane, index)) { pill(pane, "waiting"); state(pane, ...skeleton()); chips(pane); }
        });
      },
      loading(data) {
        mine.note = window.dpo.votes.blind() ? "Reading policies" : data.message;
        const pane = asked[data.arm];
        if (!seen(pane, mine.shown[pane])) return;
        const bar = element("div", "progress" + (data.share ? "" : " indeterminate"));
        if (data.share) { const part = element("i"); part.style.width = `${100 * data.share}%`; bar.append(part); }
        bar.setAttribute("role", "progressbar");
        bar.setAttribute("aria-label", data.message);
        pill(pane, "loading");
        state(pane, element("span", "strong", data.message), bar, element("span", "sub", "The first use of a policy takes a few seconds."));
      },
      start(data) {
        const pane = asked[data.arm];
        mine.note = null;
        each(pane, (sample) => Object.assign(sample, { live: true, position: undefined, note: data.note }));
        const family = about(mine.policies[pane]).family;
        if ($(`cmp-seen-${family}`)) {
          const node = $(`cmp-seen-${family}`);
          node.textContent = data.seen.replaceAll("\n", "⏎");
          node.title = data.seen;
          node.classList.remove("unseen");
          $(`cmp-seen-count-${family}`).textContent = data.prompt_tokens ? `${data.prompt_tokens} tokens` : "";
        }
        if (run === mine) { pill(pane, ""); state(pane); draw(pane); chips(pane); tabs(pane); }
      },
      token(data) {
        const { pane, index, sample } = of(data);
        if (sample.first === undefined) sample.first = (performance.now() - began) / 1000;
        sample.text += data.text;
        sample.tokens = data.tokens;
        if (seen(pane, index)) mine.dirty.add(pane);
      },
      done(data) {
        const { pane, index, sample } = of(data);
        Object.assign(sample, { text: sample.text + data.text, tokens: data.tokens, rate: data.tokens_per_second, end: data.end, live: false, seconds: data.seconds, first: data.first_seconds ?? sample.first });
        if (seen(pane, index)) { show(pane); $(`cmp-out-${pane}`).setAttribute("aria-live", "polite"); } else if (run === mine) { tabs(pane); chips(pane); }
        if (run === mine) told();
      },
      skipped(data) { each(asked[data.arm], (_, index) => halted(mine, asked[data.arm], index)); },
      failed(data) {
        const pane = asked[data.arm];
        each(pane, (sample) => Object.assign(sample, { failed: data.message, live: false }));
        if (run === mine) show(pane);
      },
    };
  }
  function halted(mine, pane, index) {
    const sample = mine.samples[pane][index];
    if (sample.end || sample.failed) return;
    Object.assign(sample, { live: false, end: sample.tokens ? "stopped" : undefined, position: undefined, stopped: true });
    if (run === mine && mine.shown[pane] === index) { show(pane); pill(pane, "stopped"); }
  }
  function paint() {
    if (!run || run.over) return;
    for (const pane of run.dirty) { draw(pane); chips(pane); }
    run.dirty.clear();
    progress();
    requestAnimationFrame(paint);
  }

  /* ---- asking ---- */
  function shuffled(list) {
    const random = crypto.getRandomValues(new Uint32Array(list.length));
    return list.map((item, i) => [random[i], item]).sort((a, b) => a[0] - b[0]).map(([, item]) => item);
  }
  const lambdaOf = (value) => (about(value).tuned ? strength[about(value).family] ?? 1 : 1);
  const armOf = (mine, pane) => (mine.lambdas[pane] === 1 ? mine.policies[pane] : { policy: mine.policies[pane], lambda: mine.lambdas[pane] });
  function fresh(seed) { return { text: "", tokens: 0, seed }; }
  async function start(request, arms, into = null) {
    if (!arms.length) return problem("The panes are still loading: press Generate again in a moment");
    if (run && !run.over) stop();
    problem("");
    const count = into ? 1 : samples;
    const mine = (run = into || { samples: [], shown: PANES.map(() => 0), policies: [], lambdas: [], arms, request, same_noise: noise, count });
    Object.assign(mine, { id: crypto.getRandomValues(new Uint32Array(3)).join("-"), controller: new AbortController(), started: performance.now(), dirty: new Set(), over: false, stopping: false, job: null, note: null });
    for (const pane of arms) {
      mine.samples[pane] = Array.from({ length: count }, (_, index) => fresh(request.seed + index));
      mine.shown[pane] = 0;
      mine.policies[pane] = picked[pane];
      mine.lambdas[pane] = lambdaOf(picked[pane]);
    }
    if (!into) { past.unshift(mine); past.splice(30); drawHistory(); }
    for (const pane of arms) {
      $(`cmp-out-${pane}`).textContent = "";
      $(`cmp-out-${pane}`).removeAttribute("aria-live");
      pill(pane, "waiting"); state(pane, ...skeleton()); chips(pane); tabs(pane); differ(pane);
    }
    busy(true);
    progress();
    told();
    $("cmp-command").textContent = window.dpo.commandOf(mine);
    requestAnimationFrame(paint);
    // The order in which answers are written would give blind policies away.
    const asked = window.dpo.votes.blind() ? shuffled(arms) : arms;
    const body = { ...request, policies: asked.map((pane) => armOf(mine, pane)), samples: count, same_noise: mine.same_noise };
    try {
      let finished = false;
      await window.dpo.stream("/api/generate", body, { ...handlers(mine, asked), finished(data) { finished = true; agreement(mine, asked, data.same_tokens); } }, mine.controller.signal);
      if (!finished) throw new Error("The connection ended early; the text so far is kept.");
    } catch (error) {
      if (error.name !== "AbortError" && run === mine) {
        problem(error.message);
        for (const pane of arms) if (!mine.samples[pane].some((s) => s.text)) { mine.samples[pane] = []; show(pane); }
      }
    }
    finish(mine);
  }
  /* How much of two answers in a row is the same, token by token. */
  function agreement(mine, asked, shares) {
    for (const { arms, share } of shares || []) {
      const [a, b] = arms.map((arm) => asked[arm]);
      if (a === (b ^ 1)) (mine.same ??= {})[a >> 1] = share;
    }
  }
  function finish(mine) {
    if (mine.over) return;
    mine.over = true;
    mine.seconds = ((performance.now() - mine.started) / 1000).toFixed(1);
    mine.arms.forEach((pane) => mine.samples[pane].forEach((_, index) => halted(mine, pane, index)));
    if (run !== mine) return;
    busy(false);
    mine.arms.forEach(differ);
    progress();
    $("cmp-repro").hidden = false;
    told();
    reward(mine);
  }
  function cancel(mine) {
    fetch("/api/cancel", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ job: mine.job }) }).catch(() => {});
  }
  function stop() {
    if (!run || run.over) return;
    run.stopping = true;
    if (run.job) cancel(run);
    else { run.controller.abort(); finish(run); }
  }
  /* The implicit reward of finished answers, for the chips and the tint. */
  async function reward(mine) {
    for (const pane of mine.arms) {
      for (const [index, sample] of mine.samples[pane].entries()) {
        const policy = mine.policies[pane];
        if (run !== mine || !mine.over || !about(policy).tuned || !sample.end || !sample.text.trim() || sample.look) continue;
        const id = mine.id;
        try {
          await window.dpo.stream("/api/lens/look", { policies: [policy], prompt: mine.request.prompt, texts: [sample.text] }, {
            result: (result) => { sample.look = result.texts[0]; },
          });
        } catch { return; } // a chip less
        if (run === mine && mine.id === id && mine.shown[pane] === index) { draw(pane); chips(pane); }
      }
    }
  }
  function again(pane) {
    if (!run || !picked[pane]) return;
    const request = { ...run.request, seed: Math.floor(Math.random() * 1e6) };
    if (!run.arms.includes(pane)) run.arms.push(pane);
    start(request, [pane], run);
  }
  function drawHistory() {
    $("cmp-history").replaceChildren(...past.map((old) => {
      const button = element("button", "", old.request.prompt.slice(0, 80));
      button.type = "button";
      button.addEventListener("click", () => {
        if (run && !run.over) stop();
        run = old;
        put("cmp-prompt", { value: old.request.prompt });
        for (const name of FIELDS) put(IDS[name], { value: old.request[name] });
        PANES.forEach((pane) => { linked[pane] = old.policies[pane]; put(`cmp-arm-${pane}`, { value: old.policies[pane] }); });
        picked = [...old.policies];
        layOut();
        active().forEach(show);
        $("cmp-command").textContent = window.dpo.commandOf(old);
        progress(); told();
      });
      return button;
    }));
  }

  /* ---- keys and buttons ---- */
  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    if (event.target.closest("#cmp-stop")) stop();
    if (event.target.closest("#cmp-add")) {
      const pane = PANES.find((free) => !picked[free]);
      const unused = Object.keys(known).find((value) => !picked.includes(value)) || Object.keys(known)[0];
      if (pane !== undefined) put(`cmp-arm-${pane}`, { value: unused });
    }
    const pane = +event.target.closest(".pane")?.dataset.arm;
    if (Number.isNaN(pane)) return;
    const copy = event.target.closest(".js-copy-answer");
    if (copy) window.dpo.copy(sampleOf(pane)?.text || "", copy);
    if (event.target.closest(".js-again")) again(pane);
    if (event.target.closest(".js-remove")) { delete linked[pane]; put(`cmp-arm-${pane}`, { value: null }); }
    if (event.target.closest(".js-lens") && sampleOf(pane)?.text) {
      const link = element("a", "js-nav");
      link.href = "/lens?" + new URLSearchParams({ policy: lensPolicy(pane), prompt: run.request.prompt, a: sampleOf(pane).text });
      document.body.append(link);
      link.click();
      link.remove();
    }
  });
  document.addEventListener("keydown", (event) => {
    if ($("page-compare")?.hidden !== false) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") { event.preventDefault(); if (!run || run.over) $("cmp-generate").click(); }
    if (event.key === "Escape") stop();
    if (window.dpo.typing(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^[1-6]$/.test(event.key)) $(`cmp-pane-${window.dpo.votes.at(event.key - 1)}`)?.focus();
    const other = { d: "Word diff", t: "Reward tint" }[event.key];
    if (other && !window.dpo.votes.blind()) put("cmp-mode", { value: mode === other ? "Text" : other });
  });

  function remember(request) {
    const query = new URLSearchParams({ prompt: request.prompt, ...Object.fromEntries(FIELDS.map((name) => [name, request[name]])) });
    const standard = ["demo/t5", "demo/t5-dpo", "demo/gpt2", "demo/gpt2-dpo", null, null];
    if (picked.some((value, pane) => value !== standard[pane])) picked.forEach((value) => query.append("arm", value || ""));
    if (samples !== 1) query.set("samples", samples);
    if (!noise) query.set("noise", "own");
    for (const family of ["t5", "gpt2"]) if (strength[family] !== 1) query.set(`lambda_${family}`, strength[family]);
    if (mode !== "Text") query.set("show", mode);
    history.replaceState({}, "", "/?" + query);
  }

  window.dpo = Object.assign(window.dpo || {}, { compare: { state: () => run, sample: sampleOf, about, draw: () => run && active().forEach((pane) => sampleOf(pane) && draw(pane)) } });
  window.dash_clientside = Object.assign(window.dash_clientside || {}, {
    compare: {
      generate(_clicks, prompt, temperature, topP, topK, maxNew, seed) {
        const request = { prompt: prompt || "", temperature, top_p: topP, top_k: topK, max_new_tokens: maxNew, seed };
        if (!request.prompt.trim()) { problem("The prompt is blank: write a question or a sentence."); $("cmp-prompt").focus(); return none(); }
        for (const name of FIELDS) if (typeof request[name] !== "number") { problem(`${name.replaceAll("_", "-")} is missing: give a number.`); $(IDS[name]).focus(); return none(); }
        remember(request);
        start(request, active());
        return none();
      },
      arms(data, ...values) {
        if (!$("cmp-pane-0")) return none();
        known = data || {};
        values.forEach((value, pane) => {
          // A link may name policies that are not in the list: they are asked for all the same, and fail visibly.
          if (value && value !== linked[pane] && linked[pane] !== undefined && picked[pane] !== linked[pane]) return;
          if (value) delete linked[pane];
          const now = value || linked[pane] || null;
          if (now === picked[pane]) return;
          picked[pane] = now;
          if (run && run.policies[pane] !== now) { run.samples[pane] = []; run.arms = run.arms.filter((arm) => arm !== pane); show(pane); }
          // A tuned policy comes with what it was tuned from, if that place still holds a base.
          const left = pane - 1, reference = now && about(now).reference;
          if (pane % 2 && reference && known[reference] && values[left] && !about(values[left]).tuned && values[left] !== reference) put(`cmp-arm-${left}`, { value: reference });
        });
        layOut();
        return none();
      },
      more(count, same) { samples = Math.min(8, Math.max(1, Number(count) || 1)); noise = same !== false; return none(); },
      strength(t5, gpt2) {
        Object.assign(strength, { t5: t5 ?? 1, gpt2: gpt2 ?? 1 });
        for (const family of ["t5", "gpt2"]) if ($(`cmp-lambda-value-${family}`)) $(`cmp-lambda-value-${family}`).textContent = strength[family].toFixed(2);
        if ($("cmp-pane-0")) layOut();
        return none();
      },
      restore(search, ...values) {
        const query = new URLSearchParams(search || ""), same = () => values.map(none);
        if (location.pathname !== "/" || !["prompt", "arm", "t5", "gpt2", ...FIELDS].some((name) => query.has(name))) return same();
        const asked = query.getAll("arm").slice(0, PANES.length);
        // Links of earlier versions name pairs: base|tuned.
        ["t5", "gpt2"].forEach((family, row) => { const pair = query.get(family)?.split("|"); if (pair?.length === 2) [asked[2 * row], asked[2 * row + 1]] = pair; });
        // A link that names panes names them all: the rest are closed.
        if (query.has("arm")) while (asked.length < PANES.length) asked.push("");
        asked.forEach((value, pane) => { if (value) linked[pane] = value; picked[pane] = value || null; put(`cmp-arm-${pane}`, { value: value || null }); });
        if (asked.length) setTimeout(layOut);
        if (query.has("samples")) put("cmp-samples", { value: parseInt(query.get("samples"), 10) || 1 });
        if (query.has("noise")) put("cmp-noise", { checked: query.get("noise") !== "own" });
        for (const family of ["t5", "gpt2"]) if (query.has(`lambda_${family}`) && $(`cmp-lambda-${family}`)) put(`cmp-lambda-${family}`, { value: parseFloat(query.get(`lambda_${family}`)) || 0 });
        if (["Word diff", "Reward tint"].includes(query.get("show"))) put("cmp-mode", { value: query.get("show") });
        const numbers = FIELDS.map((name) => { const n = parseFloat(query.get(name)); return Number.isFinite(n) ? n : none(); });
        return [query.get("prompt") ?? none(), ...numbers];
      },
      dice() { return Math.floor(Math.random() * 1e6); },
      view(value) {
        mode = value;
        $("cmp-scale").hidden = value !== "Reward tint";
        if (run) active().forEach((pane) => sampleOf(pane) && draw(pane));
        return none();
      },
    },
  });
})();
