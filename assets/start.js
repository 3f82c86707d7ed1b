/* Training: start, watch, stop and resume runs from the drawer. */
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const make = (tag, props = {}, ...children) => {
    const node = Object.assign(document.createElement(tag), props);
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };
  let form = null, values = {}, open = false, pane = "form", timer = 0, checking = 0, shown = "", others = "", logs = new Set();

  async function ask(path, body) {
    const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    const answer = await fetch(path, options);
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.error || "The server refused that");
    return found;
  }
  function tell(text, bad = false) { const node = $("st-message"); node.textContent = text; node.classList.toggle("bad", bad); }
  const failed = (error) => tell(error instanceof TypeError ? "The server does not answer: is app.py running?" : error.message, true);

  /* ---- the form, made from the settings' definition ---- */
  const same = (a, b) => JSON.stringify(a ?? null) === JSON.stringify(b ?? null);
  const settings = () => Object.fromEntries(form.fields.filter((field) => !same(values[field.name], field.default)).map((field) => [field.name, values[field.name]]));
  function read(field, node) {
    if (field.kind === "switch") return node.checked;
    if (field.kind === "choices") return [...node.selectedOptions].map((option) => option.value);
    const text = node.value.trim();
    if (text === "") return field.kind === "choice" ? null : field.default;
    if (field.kind === "texts") return text.split(/[\s,]+/);
    // What is no number is sent as it is: the server says what is wrong with it.
    if (field.kind === "numbers") return text.split(/[\s,]+/).map((part) => (Number.isNaN(+part) ? part : +part));
    if (field.kind === "integer" || field.kind === "number") return Number.isNaN(+text) ? text : +text;
    return text;
  }
  function control(field) {
    const id = "st-f-" + field.name, value = values[field.name];
    if (field.kind === "switch") return make("input", { type: "checkbox", id, checked: Boolean(value) });
    if (field.kind === "choice" || field.kind === "choices") {
      const many = field.kind === "choices";
      return make("select", { id, multiple: many }, ...field.choices.map((choice) => make("option", { value: choice, textContent: choice, selected: many ? (value || []).includes(choice) : value === choice })));
    }
    const node = make("input", { type: "text", id, value: Array.isArray(value) ? value.join(" ") : value ?? "", autocomplete: "off", spellcheck: false });
    if (field.kind === "integer" || field.kind === "number") node.inputMode = "decimal";
    if (field.default === null) node.placeholder = "by default";
    if (form.suggestions[field.name]) node.setAttribute("list", "st-list-" + field.name);
    return node;
  }
  function bounds(field) {
    const parts = [];
    if (field.above !== null) parts.push("above " + field.above);
    if (field.low !== null) parts.push("from " + field.low);
    if (field.high !== null) parts.push("to " + field.high);
    return parts.length ? ` (${parts.join(", ")})` : "";
  }
  function row(field) {
    const node = control(field);
    const line = make("div", { className: "st-field" },
      make("label", { className: "st-name", htmlFor: node.id, textContent: field.name.replaceAll("_", " "), title: field.flag }),
      node, make("span", { className: "sub", textContent: field.help + bounds(field) }));
    line.dataset.words = `${field.name.replaceAll("_", " ")} ${field.flag} ${field.help}`.toLowerCase();
    const mark = () => line.classList.toggle("changed", !same(values[field.name], field.default));
    node.addEventListener("input", () => { values[field.name] = read(field, node); mark(); later(); });
    mark();
    return line;
  }
  function draw() {
    const groups = new Map();
    form.fields.forEach((field) => groups.set(field.group, [...(groups.get(field.group) || []), field]));
    const opened = [...document.querySelectorAll(".st-group[open]")].map((group) => group.dataset.group);
    const top = make("div", { className: "st-top" });
    const method = make("select", { id: "st-kind" }, ...Object.entries(KINDS).map(([value, textContent]) => make("option", { value, textContent, selected: value === form.kind })));
    method.addEventListener("change", () => fetchForm(method.value, ""));
    const preset = make("select", { id: "st-preset" }, make("option", { value: "", textContent: "Defaults" }), ...form.presets.map((one) => make("option", { value: one.name, textContent: one.title, selected: one.name === form.preset })));
    preset.addEventListener("change", () => choose(preset.value));
    const name = make("input", { type: "text", id: "st-name", placeholder: "by policy and time", autocomplete: "off", spellcheck: false, value: form.name || "" });
    name.addEventListener("input", () => { form.name = name.value; later(); });
    const search = make("input", { type: "search", id: "st-search", placeholder: "Search settings", value: "" });
    search.setAttribute("aria-label", "Search settings");
    search.addEventListener("input", () => find(search.value.trim().toLowerCase()));
    top.append(make("label", { className: "label", htmlFor: "st-kind" }, "Learn from", method), make("label", { className: "label", htmlFor: "st-preset" }, "Preset", preset), make("label", { className: "label", htmlFor: "st-name" }, "Run name", name), make("div", { className: "wide" }, search));
    const parts = [...groups].map(([title, fields], place) => {
      const changed = fields.filter((field) => !same(values[field.name], field.default)).length;
      const group = make("details", { className: "st-group", open: opened.length ? opened.includes(title) : place === 0 || changed > 0 },
        make("summary", {}, title, make("span", { className: "sub", textContent: changed ? `${changed} changed` : `${fields.length} settings` })), ...fields.map(row));
      group.dataset.group = title;
      return group;
    });
    const lists = Object.entries(form.suggestions).map(([field, options]) => make("datalist", { id: "st-list-" + field }, ...options.map((value) => make("option", { value }))));
    $("st-fields").replaceChildren(top, ...parts, ...lists);
    later();
  }
  function find(words) {
    document.querySelectorAll(".st-group").forEach((group) => {
      const rows = [...group.querySelectorAll(".st-field")];
      rows.forEach((line) => { line.hidden = !words.split(/\s+/).every((word) => line.dataset.words.includes(word)); });
      group.hidden = rows.every((line) => line.hidden);
      if (words) group.open = true;
    });
  }
  function choose(name) {
    const preset = form.presets.find((one) => one.name === name);
    form.preset = name;
    values = Object.fromEntries(form.fields.map((field) => [field.name, field.default]));
    Object.assign(values, preset ? preset.settings : {});
    document.querySelectorAll(".st-group").forEach((group) => group.remove());
    draw();
  }
  const request = () => ({ kind: form.kind, settings: settings(), name: form.name || "" });
  const KINDS = { dpo: "preferences (DPO)", sft: "answers (SFT)" };
  /* Settings that both kinds of training have keep what was given for them. */
  async function fetchForm(kind, preset) {
    try {
      const given = form ? settings() : {}, name = form?.name || "";
      form = await ask("/api/jobs/form?kind=" + kind);
      form.name = name;
      choose(preset);
      if (preset) return;
      form.fields.forEach((field) => { if (field.name in given) values[field.name] = given[field.name]; });
      draw();
    } catch (error) { failed(error); }
  }
  /* Settings are validated as they are typed; looking at data and disk is asked for. */
  function later() { clearTimeout(checking); $("st-lines").replaceChildren(); checking = setTimeout(() => check(false), 250); }
  async function check(look) {
    const asked = JSON.stringify(request());
    try {
      const found = await ask("/api/jobs/check", { ...request(), look });
      if (asked !== JSON.stringify(request())) return;
      problem("");
      $("st-command").textContent = found.command;
      if (found.lines) $("st-lines").replaceChildren(...found.lines.map(line));
    } catch (error) { if (error instanceof TypeError) failed(error); else problem(error.message); }
  }
  const signs = { ok: ["check", "OK"], warning: ["warn", "Check"], fault: ["stop", "Problem"], note: ["help", "Note"] };
  function line(found) {
    const [icon, text] = signs[found.level];
    const sign = make("span", { className: "i i-" + icon, style: "width:14px;height:14px" });
    return make("li", { className: found.level }, make("span", {}, sign, make("span", { className: "vh", textContent: text })), make("b", { textContent: found.topic }), make("span", { textContent: found.text }));
  }
  function problem(text) { $("st-problem").textContent = text; $("st-problem").hidden = !text; $("st-start").disabled = Boolean(text); }

  /* ---- the queue ---- */
  const words = { waiting: "waiting", running: "training", stopping: "stopping, saving first", finished: "finished", stopped: "stopped", failed: "failed", cancelled: "not begun", interrupted: "killed" };
  const duration = (seconds) => (seconds < 90 ? `${Math.round(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`);
  function act(text, run, label) { const node = make("button", { type: "button", className: "ex", textContent: text }); node.setAttribute("aria-label", label); node.addEventListener("click", async () => { node.disabled = true; try { await run(); tell(""); } catch (error) { failed(error); } node.disabled = false; shown = ""; poll(); }); return node; }
  const over = (job) => !["waiting", "running", "stopping"].includes(job.state);
  function jobCard(job) {
    const acts = make("div", { className: "acts" });
    if (!over(job) && job.state !== "stopping") acts.append(act(job.state === "waiting" ? "Take from the queue" : "Stop and save", () => ask("/api/jobs/stop", { job: job.job }), `Stop ${job.name}`));
    if (job.resumable) acts.append(act("Resume", () => ask("/api/jobs/resume", { run: job.run }), `Resume ${job.name}`));
    if (over(job)) acts.append(act("Remove from list", () => ask("/api/jobs/forget", { job: job.job }), `Remove ${job.name} from the list`));
    const node = make("article", { className: "st-job" },
      make("div", { className: "head" }, make("b", { textContent: job.name, title: job.run }), make("span", { className: "pill" + (job.state === "failed" ? " bad" : ""), textContent: (job.resumes ? "resumed · " : "") + words[job.state] })),
      make("progress", { max: 1, value: 0, ariaLabel: `Progress of ${job.name}` }),
      make("div", { className: "sub num" }), acts);
    const log = make("details", { open: logs.has(job.job) }, make("summary", { className: "sub", textContent: "Log" }), make("pre", { textContent: "" }));
    log.addEventListener("toggle", () => { if (log.open) { logs.add(job.job); follow(job.job); } else logs.delete(job.job); });
    node.append(log);
    Object.assign(node.dataset, { job: job.job, state: job.state, kind: `${job.state} ${job.resumable}` });
    return node;
  }
  /* What changes every second is written into the card; a button is never replaced under the pointer. */
  function update(node, job) {
    const steps = job.trials ? `${job.step} of ${job.trials} trials done` : job.max_steps ? `step ${job.step} of ${job.max_steps}` : job.state === "running" ? "reading data and policy" : "";
    node.querySelector(".num").textContent = [steps, job.left !== null ? `${duration(job.left)} left` : "", job.message || ""].filter(Boolean).join(" · ");
    const bar = node.querySelector("progress");
    bar.hidden = over(job) || !job.max_steps;
    if (job.max_steps) Object.assign(bar, { max: job.max_steps, value: job.step });
    return node;
  }
  async function follow(job) {
    const box = document.querySelector(`.st-job[data-job="${job}"] pre`);
    if (!box) return;
    const { text } = await ask(`/api/jobs/${encodeURIComponent(job)}/log`);
    const end = box.scrollHeight - box.scrollTop - box.clientHeight < 30;
    if (box.textContent !== text) box.textContent = text || "Nothing was printed yet";
    if (end) box.scrollTop = box.scrollHeight;
  }
  async function poll() {
    clearTimeout(timer);
    let wait = 5000;
    try {
      const found = await ask("/api/jobs");
      const active = found.jobs.filter((job) => ["waiting", "running", "stopping"].includes(job.state)).length;
      if (active) wait = 1000;
      $("st-tab-queue").textContent = active ? `Queue (${active})` : "Queue";
      $("st-form").inert = !found.allowed;
      if (!found.allowed) tell(found.message, true);
      const now = JSON.stringify(found);
      if (now !== shown && found.allowed) {
        const focus = document.activeElement?.getAttribute("aria-label");
        shown = now;
        const cards = new Map([...document.querySelectorAll(".st-job")].map((node) => [node.dataset.job, node]));
        const wanted = found.jobs.map((job) => {
          const old = cards.get(job.job);
          if (old && old.dataset.kind === `${job.state} ${job.resumable}`) return update(old, job);
          const fresh = update(jobCard(job), job);
          if (old) fresh.querySelector("pre").textContent = old.querySelector("pre").textContent;
          return fresh;
        });
        const present = [...$("st-jobs").children];
        if (!wanted.length) $("st-jobs").replaceChildren(make("p", { className: "sub", textContent: "Nothing was started here yet." }));
        else if (wanted.length !== present.length || wanted.some((node, i) => node !== present[i])) $("st-jobs").replaceChildren(...wanted);
        const listed = JSON.stringify(found.resumable);
        if (listed !== others) {
          others = listed;
          const rest = found.resumable.map((run) => make("div", { className: "st-resume" }, make("span", { textContent: run.name, title: run.run }), make("span", { className: "sub num", textContent: `${run.state} at step ${run.step ?? 0}` }), act("Resume", () => ask("/api/jobs/resume", { run: run.run }), `Resume ${run.name}`)));
          $("st-resumable").replaceChildren(...(rest.length ? [make("h3", { textContent: "Other runs that can go on" }), ...rest] : []));
        }
        if (focus) document.querySelector(`#st-queue [aria-label="${CSS.escape(focus)}"]`)?.focus();
      }
      if (found.allowed) for (const job of logs) follow(job).catch(failed);
    } catch (error) { if (open) failed(error); }
    // A closed drawer asks nothing: the charts show how runs come along.
    if (open) timer = setTimeout(poll, wait);
  }

  /* ---- opening and closing ---- */
  function select(which) {
    pane = which;
    for (const name of ["form", "queue"]) { $("st-" + name).hidden = name !== which; $("st-tab-" + name).setAttribute("aria-selected", String(name === which)); }
  }
  async function show(preset) {
    open = true;
    $("st-drawer").hidden = false;
    $("page-training").classList.add("drawer-open");
    dispatchEvent(new Event("resize"));
    tell("");
    select(preset === undefined ? pane : "form");
    await poll();
    if (!form && !$("st-form").inert) {
      await fetchForm("dpo", preset || "");
    } else if (form && preset) choose(preset);
    if (pane === "form") $("st-name")?.focus();
  }
  function hide() {
    open = false;
    $("st-drawer").hidden = true;
    $("page-training").classList.remove("drawer-open");
    dispatchEvent(new Event("resize"));
  }
  async function start() {
    $("st-start").disabled = true;
    tell("Starting");
    try {
      const job = await ask("/api/jobs", request());
      tell(job.state === "waiting" ? `${job.name} is in the queue` : `${job.name} begins`);
      form.name = "";
      $("st-name").value = "";
      select("queue");
      await poll();
    } catch (error) { tell(""); if (error instanceof TypeError) failed(error); else problem(error.message); }
    $("st-start").disabled = false;
  }
  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    const opener = event.target.closest(".js-new-run");
    if (opener) show(opener.dataset.preset);
    else if (event.target.closest("#st-close")) hide();
    else if (event.target.closest("#st-tab-form")) select("form");
    else if (event.target.closest("#st-tab-queue")) select("queue");
    else if (event.target.closest("#st-check")) check(true);
    else if (event.target.closest("#st-start")) start();
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && open) hide(); });
})();
