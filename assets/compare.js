/* Compare: asks for answers, goes on from them, and keeps the session's history. */
(() => {
  "use strict";
  const cmp = window.dpo.cmp, { $, PANES, put, element, about, active, sampleOf, problem, told } = cmp;
  const panes = cmp.panes, past = [];

  /* ---- progress of the whole ---- */
  function progress() {
    const run = cmp.run, { stream } = run;
    const all = run.arms.flatMap((pane) => run.samples[pane]);
    const finished = all.filter((s) => s?.end || s?.failed).length;
    const live = all.filter((s) => s?.live).length;
    const seconds = ((performance.now() - stream.started) / 1000).toFixed(1);
    $("cmp-progress").textContent = stream.over ? `${finished} of ${all.length} answered · ${stream.seconds} s`
      : live ? `Writing answer ${Math.min(finished + 1, all.length)} of ${all.length} · ${seconds} s` : stream.note || "Waiting";
    const status = stream.over ? "Ready" : stream.note && !live ? stream.note : "Writing answers";
    if ($("status-text").textContent !== status) $("status-text").textContent = status;
    $("status-dot").classList.toggle("idle", stream.over);
  }
  function busy(on) { $("cmp-generate-box").hidden = on; $("cmp-stop-box").hidden = !on; }
  function paint() {
    if (!cmp.writing()) return;
    const { dirty } = cmp.run.stream;
    for (const pane of dirty) { panes.draw(pane); panes.chips(pane); }
    dirty.clear();
    progress();
    requestAnimationFrame(paint);
  }

  /* ---- asking ---- */
  function shuffled(list) {
    const random = crypto.getRandomValues(new Uint32Array(list.length));
    return list.map((item, i) => [random[i], item]).sort((a, b) => a[0] - b[0]).map(([, item]) => item);
  }
  function armOf(mine, pane) {
    const policy = mine.policies[pane], lambda = mine.lambdas[pane], turns = mine.turns[pane] || [];
    return lambda === 1 && !turns.length ? policy : { policy, lambda, turns };
  }
  const fresh = (seed) => ({ text: "", tokens: 0, seed });
  /* One request: its id tells its events from those of an earlier one, which may still arrive. */
  function request_of(asked) {
    return {
      id: crypto.getRandomValues(new Uint32Array(3)).join("-"), controller: new AbortController(), started: performance.now(),
      asked, dirty: new Set(), over: false, stopping: false, job: null, note: null,
    };
  }
  /* `into`: the generation of which these panes are asked again; `from`: the one that is gone on from; `turns`: what
     each pane's conversation was so far. A pane that is asked again, or goes on, keeps its λ. */
  async function start(request, arms, { into = null, from = null, turns = [], first = request.prompt } = {}) {
    if (cmp.writing()) halt();
    problem("");
    const count = into ? 1 : cmp.samples;
    const mine = (cmp.run = into || {
      samples: [], shown: PANES.map(() => 0), policies: [], lambdas: [], turns, first, arms, request, count, seen: {},
      same_noise: from ? from.same_noise : cmp.noise, strength: { ...(from || cmp).strength },
    });
    // The order in which answers are written would give blind policies away.
    const asked = window.dpo.votes.blind() ? shuffled(arms) : arms, stream = (mine.stream = request_of(asked));
    mine.id = stream.id;
    for (const pane of arms) {
      const known = (into || from)?.policies[pane] === cmp.picked[pane] ? (into || from).lambdas[pane] : undefined;
      mine.samples[pane] = Array.from({ length: count }, (_, index) => fresh(request.seed + index));
      mine.shown[pane] = 0;
      mine.policies[pane] = cmp.picked[pane];
      mine.lambdas[pane] = known ?? cmp.lambdaOf(cmp.picked[pane]);
    }
    if (!into) { past.unshift(mine); past.splice(30); drawHistory(); }
    panes.layOut();
    active().forEach((pane) => (arms.includes(pane) ? panes.waiting(pane) : panes.show(pane)));
    panes.seen(); panes.belong();
    busy(true);
    $("cmp-follow").hidden = true;
    progress();
    told();
    $("cmp-command").textContent = window.dpo.commandOf(mine);
    requestAnimationFrame(paint);
    const tint = cmp.mode === "Reward tint" && arms.some((pane) => about(mine.policies[pane]).tuned);
    const body = { ...request, policies: asked.map((pane) => armOf(mine, pane)), samples: count, same_noise: mine.same_noise, log_ratios: tint };
    try {
      let finished = false;
      await window.dpo.stream("/api/generate", body, cmp.events.handlers(mine, stream, {
        cancel, finished(data) { finished = true; agreement(mine, asked, data.same_tokens); },
      }), stream.controller.signal);
      if (!finished && !stream.over) throw new Error("The connection ended early; the text so far is kept.");
    } catch (error) {
      if (error.name !== "AbortError" && cmp.run === mine && !stream.over) {
        problem(error.message);
        for (const pane of arms) if (!mine.samples[pane].some((s) => s.text)) { mine.samples[pane] = []; panes.show(pane); }
      }
    }
    finish(mine, stream);
  }
  /* How much of two answers in a row is the same, token by token. */
  function agreement(mine, asked, shares) {
    for (const { arms, share } of shares || []) {
      const [a, b] = arms.map((arm) => asked[arm]);
      if (a === (b ^ 1)) (mine.same ??= {})[a >> 1] = share;
    }
  }
  function finish(mine, stream) {
    if (stream.over) return;
    stream.over = true;
    stream.seconds = ((performance.now() - stream.started) / 1000).toFixed(1);
    stream.asked.forEach((pane) => mine.samples[pane].forEach((_, index) => cmp.events.halted(mine, pane, index)));
    if (cmp.run !== mine || mine.stream !== stream) return;
    busy(false);
    mine.arms.forEach(panes.differ);
    progress();
    $("cmp-repro").hidden = false;
    follow();
    told();
    reward(mine);
  }
  function cancel(stream) {
    fetch("/api/cancel", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ job: stream.job }) }).catch(() => {});
  }
  /* The server ends a job that it has begun, and says how; one that it has not told of is left. */
  function stop() {
    if (!cmp.writing()) return;
    const { stream } = cmp.run;
    stream.stopping = true;
    if (stream.job) cancel(stream);
    else halt();
  }
  /* At once, because something else takes its place: what it still says is not heard. */
  function halt() {
    const mine = cmp.run, { stream } = mine;
    if (stream.job) cancel(stream);
    finish(mine, stream);
    stream.controller.abort();
  }
  /* The implicit reward of finished answers, for the chips and the tint; a later turn is judged with those before it. */
  async function reward(mine) {
    for (const pane of mine.arms) {
      for (const [index, sample] of mine.samples[pane].entries()) {
        const arm = about(mine.policies[pane]);
        if (cmp.run !== mine || !mine.stream.over || !arm.tuned || arm.note || !sample.end || !sample.text.trim() || sample.look) continue;
        const id = mine.id, turns = mine.turns[pane] || [], { prompt } = mine.request;
        const messages = [...turns.flatMap(([question, answer]) => [{ role: "user", content: question }, { role: "assistant", content: answer }]), { role: "user", content: prompt }];
        try {
          await window.dpo.stream("/api/lens/look", { policies: [arm.policy], ...(turns.length ? { messages } : { prompt }), texts: [sample.text] }, {
            result: (result) => { sample.look = result.texts[0]; },
          });
        } catch { return; } // a chip less
        if (cmp.run === mine && mine.id === id && mine.shown[pane] === index) { panes.draw(pane); panes.chips(pane); }
      }
    }
  }
  function again(pane) {
    if (!cmp.run || !cmp.picked[pane]) return;
    const request = { ...cmp.run.request, seed: Math.floor(Math.random() * 1e6) };
    if (!cmp.run.arms.includes(pane)) cmp.run.arms.push(pane);
    start(request, [pane], { into: cmp.run });
  }

  /* ---- going on: every pane from its own answer ---- */
  const answered = () => (cmp.run ? cmp.run.arms.filter((pane) => sampleOf(pane)?.end) : []);
  function follow() {
    const box = $("cmp-follow"), turn = Math.max(0, ...PANES.map((pane) => cmp.run?.turns[pane]?.length || 0));
    box.hidden = !cmp.run || cmp.writing() || !answered().length;
    $("cmp-follow-note").textContent = `${turn ? `Turn ${turn + 1}. ` : ""}Each pane goes on from its own answer. The link keeps the first prompt only.`;
    $("cmp-over-box").hidden = !turn;
  }
  function next(text) {
    const run = cmp.run, arms = answered();
    if (!text.trim()) { $("cmp-next").focus(); return false; }
    if (!run || cmp.writing() || !arms.length) return false;
    const turns = PANES.map((pane) => (arms.includes(pane) ? [...(run.turns[pane] || []), [run.request.prompt, sampleOf(pane).text]] : []));
    start({ ...run.request, prompt: text }, arms, { from: run, turns, first: run.first });
    return true;
  }
  function startOver() {
    put("cmp-prompt", { value: cmp.run.first });
    cmp.run = null;
    active().forEach(panes.show);
    panes.layOut(); panes.seen(); panes.belong();
    $("cmp-follow").hidden = true;
    $("cmp-repro").hidden = true;
    $("cmp-progress").textContent = "";
    told();
    $("cmp-prompt").focus();
  }

  function drawHistory() {
    $("cmp-history").replaceChildren(...past.map((old) => {
      const button = element("button", "", (old.turns.some((turns) => turns?.length) ? "↳ " : "") + old.request.prompt.slice(0, 80));
      button.type = "button";
      button.addEventListener("click", () => { if (cmp.writing()) halt(); bringBack(old); });
      return button;
    }));
  }

  /* An earlier generation as it was: its answers, and above them the prompt and all settings that made them. */
  function bringBack(old) {
    cmp.run = old;
    put("cmp-prompt", { value: old.first });
    for (const name of cmp.fields) put(cmp.fieldId(name), { value: old.request[name] });
    Object.assign(cmp, { picked: [...old.policies], strength: { ...old.strength }, samples: old.count, noise: old.same_noise });
    PANES.forEach((pane) => { cmp.linked[pane] = old.policies[pane]; put(`cmp-policy-${pane}`, { value: old.policies[pane] }); });
    for (const [family, value] of Object.entries(old.strength)) put(`cmp-lambda-${family}`, { value });
    put("cmp-samples", { value: old.count });
    put("cmp-noise", { checked: old.same_noise });
    cmp.wanted = { ...old.request, prompt: old.first };
    cmp.remember(cmp.wanted);
    panes.layOut();
    active().forEach(panes.show);
    panes.seen(); panes.belong();
    $("cmp-command").textContent = window.dpo.commandOf(old);
    $("cmp-repro").hidden = false;
    progress(); follow(); told();
  }

  /* ---- keys and buttons ---- */
  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    if (event.target.closest("#cmp-stop")) stop();
    if (event.target.closest("#cmp-over") && cmp.run) startOver();
    if (event.target.closest("#cmp-add")) {
      const pane = PANES.find((free) => !cmp.picked[free]);
      const unused = Object.keys(cmp.known).find((value) => !cmp.picked.includes(value)) || Object.keys(cmp.known)[0];
      if (pane !== undefined) put(`cmp-policy-${pane}`, { value: unused });
    }
    const pane = +event.target.closest(".pane")?.dataset.pane;
    if (Number.isNaN(pane)) return;
    const copy = event.target.closest(".js-copy-answer");
    if (copy) window.dpo.copy(sampleOf(pane)?.text || "", copy);
    if (event.target.closest(".js-again")) again(pane);
    if (event.target.closest(".js-remove")) { delete cmp.linked[pane]; put(`cmp-policy-${pane}`, { value: null }); }
    if (event.target.closest(".js-lens") && sampleOf(pane)?.text) {
      const link = element("a", "js-nav");
      link.href = "/lens?" + new URLSearchParams({ policy: cmp.lensPolicy(pane), prompt: cmp.run.request.prompt, a: sampleOf(pane).text });
      document.body.append(link);
      link.click();
      link.remove();
    }
  });
  document.addEventListener("keydown", (event) => {
    if ($("page-compare")?.hidden !== false) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
      event.preventDefault();
      if (cmp.writing()) return;
      const next = event.target.id === "cmp-next";
      window.dpo.hand(next ? "cmp-next" : "cmp-prompt");
      $(next ? "cmp-continue" : "cmp-generate").click();
    }
    if (event.key === "Escape") stop();
    if (window.dpo.typing(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^[1-6]$/.test(event.key)) $(`cmp-pane-${window.dpo.votes.at(event.key - 1)}`)?.focus();
    const other = { d: "Word diff", t: "Reward tint" }[event.key];
    if (other && !window.dpo.votes.blind()) put("cmp-mode", { value: cmp.mode === other ? "Text" : other });
  });

  Object.assign(cmp, { start, next });
  Object.assign(window.dpo, {
    compare: { state: () => cmp.run, sample: sampleOf, about, draw: () => cmp.run && active().forEach((pane) => sampleOf(pane) && panes.draw(pane)) },
  });
})();
