/* Compare: streams the answers of POST /api/generate into the four regions. */
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const ARMS = [0, 1, 2, 3];
  const ENDS = { eos: "ended itself", stopped: "stopped" };
  const FIELDS = ["temperature", "top_p", "top_k", "max_new_tokens", "seed"];
  const IDS = { temperature: "cmp-temperature", top_p: "cmp-top-p", top_k: "cmp-top-k", max_new_tokens: "cmp-max-new", seed: "cmp-seed" };
  let run = null; // the generation on screen: {request, policies, answers, controller, job, started}
  let mode = "Text";
  let linked = {}; // pairs of policies that the address named

  /* ---- one region ---- */
  function element(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }
  function stat(value, label, extra = "") {
    const span = element("span", "stat " + extra);
    span.append(element("b", "num", value), element("span", "", label));
    return span;
  }
  function pill(arm, text, kind = "") {
    const node = $(`cmp-pill-${arm}`);
    node.hidden = !text;
    node.className = "pill " + kind;
    node.textContent = text || "";
  }
  function state(arm, ...children) {
    const box = $(`cmp-state-${arm}`);
    box.replaceChildren(...children);
    box.hidden = children.length === 0;
    $(`cmp-out-${arm}`).hidden = children.length > 0 && !run?.answers[arm].text;
  }
  function skeleton() {
    return [100, 92, 64].map((width) => {
      const bar = element("div", "skeleton");
      bar.style.width = width + "%";
      return bar;
    });
  }
  function draw(arm) {
    const answer = run.answers[arm];
    const out = $(`cmp-out-${arm}`);
    out.classList.remove("empty-out");
    const words = mode === "Word diff" && diffOf(arm);
    if (words) {
      out.replaceChildren(...words.map(([text, own]) => (own ? element("span", arm % 2 ? "new" : "gone", text) : document.createTextNode(text))));
    } else {
      out.textContent = answer.text;
    }
    if (answer.live) out.append(element("span", "caret"));
  }
  function chips(arm) {
    const answer = run.answers[arm];
    const box = $(`cmp-chips-${arm}`);
    const parts = [];
    if (answer.position !== undefined && answer.position > 0 && !answer.tokens) parts.push(stat(String(answer.position), "ahead in the queue"));
    if (answer.tokens) parts.push(stat(String(answer.tokens), answer.tokens === 1 ? "token" : "tokens"));
    if (answer.rate) parts.push(stat(Math.round(answer.rate).toLocaleString("en"), "tok/s"));
    if (answer.end) {
      const end = element("span", "stat end " + answer.end);
      const icon = element("span", "i " + (answer.end === "eos" ? "i-check" : "i-warn"));
      icon.style.width = icon.style.height = "14px";
      end.append(icon, document.createTextNode(ENDS[answer.end] || `hit ${run.request.max_new_tokens}-token limit`));
      parts.push(end);
    } else if (answer.live) parts.push(element("span", "stat", "writing"));
    box.replaceChildren(...parts);
  }

  /* ---- word diff between base and DPO of one family (longest common subsequence of words) ---- */
  const split = (text) => text.match(/\s*\S+/g) || [];
  function lcs(a, b) {
    const width = b.length + 1;
    const table = new Uint16Array((a.length + 1) * width);
    for (let i = a.length - 1; i >= 0; i--)
      for (let j = b.length - 1; j >= 0; j--)
        table[i * width + j] = a[i] === b[j] ? table[(i + 1) * width + j + 1] + 1 : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
    const shared = [new Set(), new Set()];
    for (let i = 0, j = 0; i < a.length && j < b.length; ) {
      if (a[i] === b[j]) { shared[0].add(i++); shared[1].add(j++); }
      else if (table[(i + 1) * width + j] >= table[i * width + j + 1]) i++;
      else j++;
    }
    return shared;
  }
  function pairDiff(base, tuned) {
    const words = [split(base), split(tuned)];
    const shared = lcs(words[0].map((w) => w.trim()), words[1].map((w) => w.trim()));
    return words.map((list, side) => list.map((word, i) => [word, !shared[side].has(i)]));
  }
  function diffOf(arm) {
    const family = arm - (arm % 2);
    const [base, tuned] = [run.answers[family].text, run.answers[family + 1].text];
    if (!base || !tuned) return null;
    return pairDiff(base, tuned)[arm % 2];
  }
  function differ(arm) {
    const family = arm - (arm % 2);
    const [base, tuned] = [run.answers[family], run.answers[family + 1]];
    const node = $(`cmp-differ-${family ? "gpt2" : "t5"}`);
    if (!base.end || !tuned.end || !base.text || !tuned.text) { node.textContent = ""; return; }
    const words = pairDiff(base.text, tuned.text).flat();
    node.textContent = `${Math.round((100 * words.filter(([, own]) => own).length) / Math.max(words.length, 1))}% of words differ`;
  }

  /* ---- progress of the whole ---- */
  /* Voting follows along: it is told of every change and asks for the state. */
  const told = () => document.dispatchEvent(new Event("compare"));
  window.dpo = Object.assign(window.dpo || {}, { compare: { state: () => run, draw: () => run && ARMS.forEach((arm) => { if (run.answers[arm].text) draw(arm); }) } });
  function progress() {
    const finished = run.answers.filter((a) => a.end || a.failed).length;
    const writing = run.answers.findIndex((a) => a.live);
    const seconds = ((performance.now() - run.started) / 1000).toFixed(1);
    const text = run.over ? `${finished} of 4 answered · ${seconds} s`
      : writing >= 0 ? `Writing answer ${writing + 1} of 4 · ${seconds} s` : run.note || "Waiting";
    $("cmp-progress").textContent = text;
    const status = run.over ? "Ready" : run.note && writing < 0 ? run.note : "Writing answers";
    if ($("status-text").textContent !== status) $("status-text").textContent = status;
    $("status-dot").classList.toggle("idle", run.over);
  }
  function busy(on) {
    $("cmp-generate-box").hidden = on;
    $("cmp-stop-box").hidden = !on;
  }
  function problem(text) {
    const line = $("cmp-error");
    line.textContent = text || "";
    line.hidden = !text;
  }

  /* ---- events of the stream ---- */
  const handlers = {
    job(data) { run.job = data.job; },
    queued(data) {
      run.note = data.position ? `${data.position} ahead in the queue` : "Waiting";
      run.answers.forEach((answer, arm) => {
        if (answer.end || answer.failed) return;
        answer.position = data.position;
        pill(arm, "waiting");
        state(arm, ...skeleton());
        chips(arm);
      });
    },
    loading(data) {
      run.note = data.message;
      pill(data.arm, "loading");
      const bar = element("div", "progress indeterminate");
      bar.setAttribute("role", "progressbar");
      bar.setAttribute("aria-label", data.message);
      state(data.arm, element("span", "strong", data.message), bar, element("span", "sub", "The first use of a policy takes a few seconds."));
    },
    start(data) {
      const answer = run.answers[data.arm];
      answer.live = true;
      run.note = null;
      pill(data.arm, "");
      state(data.arm);
      const family = data.arm < 2 ? "t5" : "gpt2";
      const seen = $(`cmp-seen-${family}`);
      seen.textContent = data.seen.replaceAll("\n", "⏎");
      seen.title = data.seen;
      seen.classList.remove("unseen");
      $(`cmp-seen-count-${family}`).textContent = `${data.prompt_tokens} tokens`;
      draw(data.arm); chips(data.arm);
    },
    token(data) {
      const answer = run.answers[data.arm];
      answer.text += data.text;
      answer.tokens = data.tokens;
      run.dirty.add(data.arm);
    },
    done(data) {
      const answer = run.answers[data.arm];
      Object.assign(answer, { text: answer.text + data.text, tokens: data.tokens, rate: data.tokens_per_second, end: data.end, live: false, seconds: data.seconds });
      if (data.end === "stopped") pill(data.arm, "stopped");
      draw(data.arm); chips(data.arm); differ(data.arm);
      $(`cmp-out-${data.arm}`).setAttribute("aria-live", "polite");
      if (mode === "Word diff" && data.arm % 2) draw(data.arm - 1);
      told();
    },
    skipped(data) { halted(data.arm); },
    failed(data) {
      const answer = run.answers[data.arm];
      Object.assign(answer, { failed: data.message, live: false });
      pill(data.arm, "failed", "bad");
      const again = element("button", "ex", "Try again");
      again.type = "button";
      again.addEventListener("click", () => $("cmp-generate").click());
      const row = element("div", "row");
      row.append(again);
      state(data.arm, element("span", "strong", data.message), row);
      chips(data.arm);
    },
    finished() { finish(); },
  };
  function halted(arm) {
    const answer = run.answers[arm];
    if (answer.end || answer.failed) return;
    answer.live = false; answer.end = answer.tokens ? "stopped" : undefined; answer.position = undefined;
    pill(arm, "stopped");
    state(arm);
    draw(arm); chips(arm);
  }
  function finish() {
    run.over = true;
    ARMS.forEach(halted);
    busy(false);
    progress();
    told();
    $("cmp-repro").hidden = false;
  }
  function paint() {
    if (!run) return;
    for (const arm of run.dirty) { draw(arm); chips(arm); }
    run.dirty.clear();
    progress();
    if (!run.over) requestAnimationFrame(paint);
  }

  async function read(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let buffer = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      buffer += value;
      for (let end; (end = buffer.indexOf("\n\n")) >= 0; buffer = buffer.slice(end + 2)) {
        const event = {};
        for (const line of buffer.slice(0, end).split("\n")) {
          const colon = line.indexOf(": ");
          if (colon > 0) event[line.slice(0, colon)] = line.slice(colon + 2);
        }
        if (event.event && handlers[event.event]) handlers[event.event](JSON.parse(event.data));
      }
    }
  }

  async function start(request, policies) {
    if (run && !run.over) stop();
    problem("");
    const mine = (run = {
      request, policies, id: crypto.getRandomValues(new Uint32Array(3)).join("-"), controller: new AbortController(), started: performance.now(), dirty: new Set(), over: false,
      answers: ARMS.map(() => ({ text: "", tokens: 0 })),
    });
    ARMS.forEach((arm) => {
      $(`cmp-out-${arm}`).textContent = "";
      $(`cmp-out-${arm}`).removeAttribute("aria-live");
      pill(arm, "waiting"); state(arm, ...skeleton()); chips(arm); differ(arm);
    });
    busy(true);
    told();
    $("cmp-command").textContent = commandLine(request, policies);
    requestAnimationFrame(paint);
    try {
      const response = await fetch("/api/generate", {
        method: "POST", headers: { "Content-Type": "application/json" }, signal: mine.controller.signal,
        body: JSON.stringify({ ...request, policies }),
      });
      if (!response.ok) {
        const body = await response.json().catch(() => ({}));
        throw new Error(body.error || `The server answered ${response.status}.`);
      }
      await read(response);
      if (run === mine && !mine.over) throw new Error("The connection ended early; the text so far is kept.");
    } catch (error) {
      if (error.name === "AbortError" || run !== mine) return;
      problem(error instanceof TypeError ? "The server cannot be reached: is it still running?" : error.message);
      finish();
      ARMS.forEach((arm) => { if (!mine.answers[arm].text) { pill(arm, ""); empty(arm); } });
    }
  }
  function stop() {
    if (!run || run.over) return;
    if (run.job) {
      fetch("/api/cancel", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ job: run.job }) }).catch(() => {});
    } else {
      run.controller.abort();
      finish();
    }
  }
  function empty(arm) {
    const out = $(`cmp-out-${arm}`);
    out.hidden = false;
    out.classList.add("empty-out");
    out.textContent = "";
  }

  /* ---- the same from a terminal ---- */
  const quote = (text) => "'" + text.replaceAll("'", "'\\''") + "'";
  function commandLine(request, policies) {
    return `dpo compare --prompt ${quote(request.prompt)} --policies ${policies.map((p) => (/^[\w./-]+$/.test(p) ? p : quote(p))).join(" ")} ` +
      FIELDS.map((name) => `--${name.replaceAll("_", "-")} ${request[name]}`).join(" ");
  }
  function download() {
    const body = JSON.stringify({ ...run.request, answers: run.answers.map((a, i) => ({
      policy: run.policies[i], text: a.text, tokens: a.tokens, tokens_per_second: a.rate, end: a.end, error: a.failed })) }, null, 1);
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([body], { type: "application/json" }));
    link.download = "compare.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    if (event.target.closest("#cmp-stop")) stop();
    if (event.target.closest("#cmp-copy-command")) window.dpo.copy($("cmp-command").textContent, event.target.closest("button"));
    if (event.target.closest("#cmp-json") && run) download();
    const copy = event.target.closest(".js-copy-answer");
    if (copy) window.dpo.copy(run?.answers[+copy.closest(".pane").dataset.arm].text || "", copy);
  });
  document.addEventListener("keydown", (event) => {
    if ($("page-compare")?.hidden !== false) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") { event.preventDefault(); if (!run || run.over) $("cmp-generate").click(); }
    if (event.key === "Escape") stop();
    if (window.dpo.typing(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^[1-4]$/.test(event.key)) $(`cmp-pane-${window.dpo.votes.at(event.key - 1)}`).focus();
    if (event.key === "d") document.querySelectorAll("#cmp-mode input").forEach((input) => { if (!input.checked) setTimeout(() => input.click()); });
  });

  window.dash_clientside = Object.assign(window.dash_clientside || {}, {
    compare: {
      generate(_clicks, prompt, temperature, topP, topK, maxNew, seed, t5, gpt2) {
        const request = { prompt: prompt || "", temperature, top_p: topP, top_k: topK, max_new_tokens: maxNew, seed };
        if (!request.prompt.trim()) { problem("The prompt is blank: write a question or a sentence."); $("cmp-prompt").focus(); return window.dash_clientside.no_update; }
        for (const name of FIELDS) if (typeof request[name] !== "number") { problem(`${name.replaceAll("_", "-")} is missing: give a number.`); $(IDS[name]).focus(); return window.dash_clientside.no_update; }
        // A link may name policies that are not in the list: they are asked for all the same, and fail visibly.
        [t5, gpt2] = [t5 || linked.t5 || "demo", gpt2 || linked.gpt2 || "demo"];
        const pair = (value, family) => (value.includes("|") ? value.split("|") : [`demo/${family}`, `demo/${family}-dpo`]);
        const query = new URLSearchParams({ prompt: request.prompt, ...Object.fromEntries(FIELDS.map((n) => [n, request[n]])) });
        if (t5 !== "demo") query.set("t5", t5);
        if (gpt2 !== "demo") query.set("gpt2", gpt2);
        history.replaceState({}, "", "/?" + query);
        start(request, [...pair(t5, "t5"), ...pair(gpt2, "gpt2")]);
        return window.dash_clientside.no_update;
      },
      restore(search, ...values) {
        const query = new URLSearchParams(search || "");
        if (location.pathname !== "/" || !["prompt", "t5", "gpt2", ...FIELDS].some((name) => query.has(name))) return values.map(() => window.dash_clientside.no_update);
        const numbers = FIELDS.map((name) => { const n = parseFloat(query.get(name)); return Number.isFinite(n) ? n : window.dash_clientside.no_update; });
        linked = { t5: query.get("t5"), gpt2: query.get("gpt2") };
        const text = (name) => query.get(name) ?? window.dash_clientside.no_update;
        return [text("prompt"), ...numbers, text("t5"), text("gpt2")];
      },
      dice() { return Math.floor(Math.random() * 1e6); },
      view(value) { mode = value; if (run) ARMS.forEach((arm) => { if (run.answers[arm].text) draw(arm); }); return value; },
    },
  });
})();
