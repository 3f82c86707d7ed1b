/* Voting on Compare: hidden names, shuffled answers, and what the votes say. */
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const LETTERS = "AB";
  let blind = false, orders = null, of = null; // which arm stands where, for the generation `of`
  const cast = new Map(); // row -> {verdict, tally}
  const told = new Set(); // rows whose names this conversation has shown: who goes on from there is no longer blind
  let polling = null;

  const voter = (() => {
    const KEY = "dpo-voter";
    const made = crypto.getRandomValues(new Uint32Array(2)).join("-");
    try { const known = localStorage.getItem(KEY); if (known) return known; localStorage.setItem(KEY, made); } catch { /* storage may be off */ }
    return made;
  })();
  function make(tag, className, ...children) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...children);
    return node;
  }
  const rowNodes = () => [...document.querySelectorAll("#cmp-rows > .duo:not([hidden])")];
  const armsOf = (node) => [...node.querySelectorAll(".pane:not([hidden])")].map((pane) => +pane.dataset.pane);
  const answerOf = (arm) => window.dpo.compare.sample(arm);
  /* A policy turned up or down is another competitor. */
  const competitor = (run, arm) => run.policies[arm] + (run.lambdas[arm] === 1 ? "" : ` (lambda ${run.lambdas[arm]})`);
  const nameOf = (arm) => $(`cmp-pane-${arm}`).dataset.name;
  function shuffled(list) {
    const random = crypto.getRandomValues(new Uint32Array(list.length));
    return list.map((item, i) => [random[i], item]).sort((a, b) => a[0] - b[0]).map(([, item]) => item);
  }
  /* Rows and the answers in them stand in a new order for each generation, so that a place tells nothing. */
  function arrange() {
    const nodes = rowNodes();
    if (!nodes.length) return;
    const rows = blind ? shuffled(nodes) : nodes;
    orders = rows.map((node) => ({ node, row: +node.dataset.row, arms: blind ? shuffled(armsOf(node)) : armsOf(node) }));
    orders.forEach(({ node, arms }, place) => {
      node.style.order = place;
      arms.forEach((arm, side) => { $(`cmp-pane-${arm}`).style.order = side; });
    });
    name();
  }
  const shown = (row) => cast.has(row) || told.has(row);
  function name() {
    const page = $("page-compare");
    let number = 0;
    page.classList.toggle("blind", blind);
    page.classList.toggle("all-revealed", orders.every(({ row }) => shown(row)));
    orders.forEach(({ node, row, arms }, place) => {
      const hidden = blind && !shown(row);
      node.classList.toggle("revealed", shown(row));
      $(`cmp-row-name-${row}`).textContent = `Row ${place + 1}`;
      arms.forEach((arm, side) => {
        $(`cmp-hidden-name-${arm}`).textContent = `Answer ${LETTERS[side]}`;
        // The number is the place on the screen: an arm's own would tell which it is.
        const key = $(`cmp-pane-${arm}`).querySelector(".mantine-Kbd-root");
        if (key) key.textContent = String(++number);
        $(`cmp-pane-${arm}`).classList.toggle("second", side === 1);
        $(`cmp-pane-${arm}`).setAttribute("aria-label", hidden ? `Row ${place + 1}, answer ${LETTERS[side]}` : nameOf(arm));
        $(`cmp-pane-${arm}`).querySelector(".js-copy-answer")?.setAttribute("aria-label", hidden ? `Copy answer ${LETTERS[side]}` : `Copy the answer of ${nameOf(arm)}`);
      });
    });
  }
  function bars() {
    const run = window.dpo.compare.state();
    orders.forEach(({ row, arms }) => {
      const box = $(`cmp-vote-${row}`), note = $(`cmp-vote-note-${row}`), vote = cast.get(row);
      box.hidden = arms.length !== 2;
      const open = Boolean(run) && arms.length === 2 && arms.every((arm) => ["eos", "length", "stop"].includes(answerOf(arm)?.end));
      const labels = blind && !shown(row) ? ["A better", "B better"] : arms.map((arm) => `${short(arm)} better`);
      box.querySelectorAll("button").forEach((button) => {
        const verdict = button.dataset.verdict;
        if (verdict === "a" || verdict === "b") button.textContent = labels[verdict === "a" ? 0 : 1];
        button.disabled = !open || Boolean(vote);
        button.classList.toggle("cast", vote?.verdict === verdict);
      });
      note.replaceChildren(...(vote?.problem ? [vote.problem] : vote ? outcome(vote, arms) : [open ? (blind && !shown(row) ? "Names appear after your vote" : "Which answer is better?") : "Vote opens when both answers are complete"]));
    });
  }
  const short = (arm) => $(`cmp-pane-${arm}`).dataset.short || nameOf(arm);
  function outcome(vote, arms) {
    if (!vote.tally) return ["Storing"];
    const run = window.dpo.compare.state();
    const tuned = arms.find((arm) => $(`cmp-pane-${arm}`).dataset.tuned === "1") ?? arms[0];
    const of = vote.tally?.[competitor(run, tuned)];
    if (!of || !of.n) return ["Stored"];
    const percent = (share) => Math.round(100 * share);
    return [`${short(tuned)} won ${of.wins} of ${of.n} blind votes `, make("span", "pill num", `${percent(of.share)}% (${percent(of.low)}–${percent(of.high)})`)];
  }
  /* What was said before, where the two answers are not the first. */
  const conversations = (run, [a, b]) => (run.turns[a]?.length || run.turns[b]?.length ? { turns_a: run.turns[a] || [], turns_b: run.turns[b] || [] } : {});
  async function vote(row, verdict) {
    const run = window.dpo.compare.state();
    const { arms } = orders.find((order) => order.row === row);
    if (!run || cast.has(row)) return;
    const [a, b] = arms;
    const { prompt, seed, ...settings } = run.request;
    const mine = { verdict };
    cast.set(row, mine);
    bars();
    try {
      const response = await fetch("/api/votes", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({
        key: `${run.id}-${row}-${run.shown[a]}-${run.shown[b]}`.slice(0, 64), voter, blind: blind && !told.has(row), prompt, verdict, settings: { ...settings, seed, same_noise: run.same_noise, ...conversations(run, arms) }, temperature: settings.temperature,
        policy_a: competitor(run, a), policy_b: competitor(run, b), text_a: answerOf(a).text, text_b: answerOf(b).text,
        seed_a: answerOf(a).seed, seed_b: answerOf(b).seed,
      }) });
      const body = await response.json();
      if (!response.ok) throw new Error(body.error);
      mine.tally = body.tally;
    } catch (error) {
      cast.delete(row);
      $(`cmp-vote-note-${row}`).textContent = error instanceof TypeError ? "The server cannot be reached; vote again." : error.message;
      return;
    }
    name(); bars();
    window.dpo.compare.draw();
    load();
  }

  /* ---- results ---- */
  const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
  function tableOf(caption, head, rows) {
    const table = make("table", ""), top = make("thead", "", make("tr", "", ...head.map((text) => make("th", "", text))));
    table.append(make("caption", "", caption), top, make("tbody", "", ...rows.map((row) => make("tr", "", ...row.map((text) => make("td", "", text))))));
    return make("div", "", table);
  }
  async function load() {
    let made;
    try {
      const response = await fetch("/api/votes");
      made = await response.json();
      if (!response.ok) { $("cmp-votes-count").textContent = made.error; return; }
    } catch { return; }
    const percent = (share) => Math.round(100 * share) + "%";
    $("cmp-votes-count").textContent = made.votes ? `${made.votes} in all, ${made.blind} blind · ${made.pairs} prefer an answer` : "none yet";
    $("cmp-votes-export").textContent = `Export ${made.pairs} ${made.pairs === 1 ? "pair" : "pairs"}`;
    $("cmp-votes-tables").replaceChildren(...(made.votes ? [
      tableOf("Bradley–Terry score, log-odds", ["Policy", "Score", "95% interval", "n"], made.strengths.map((s) => [s.policy, signed(s.score), s.low === null ? "too few votes" : `${signed(s.low)} to ${signed(s.high)}`, String(s.n)])),
      tableOf("Win rates", ["First over second", "Temp.", "Won", "95% interval", "n"], made.win_rates.map((r) => [`${r.first} over ${r.second}`, String(r.temperature), r.win_rate === null ? "–" : percent(r.win_rate), r.win_rate === null ? "only both bad" : r.low === null ? "too few votes" : `${percent(r.low)} to ${percent(r.high)}`, String(r.n)])),
      make("p", "sub", "Intervals by prompt: Wilson’s for win rates; for scores bootstrap from 50 prompts on, a normal one with fewer or where all agree."),
    ] : [make("p", "sub", "Generate, then choose the better answer under a row.")]));
    training(made.training);
  }
  function training(state) {
    const line = $("cmp-votes-message");
    $("cmp-votes-train").disabled = state.state === "running";
    line.classList.toggle("error-line", state.state === "failed");
    line.textContent = { idle: "", running: `Training ${state.name}: watch it under Training`, finished: `${state.name} is finished and can be chosen above`, failed: state.message }[state.state];
    clearTimeout(polling);
    if (state.state === "running") polling = setTimeout(load, 2000);
    if (state.state === "finished" && training.last === "running") window.dash_clientside.set_props("cmp-pairs-poll", { n_intervals: performance.now() | 0 });
    training.last = state.state;
  }
  async function train() {
    const model = chosen.model, steps = chosen.steps;
    const line = $("cmp-votes-message");
    if (!model) { line.textContent = "Choose the policy to train further."; return; }
    try {
      const response = await fetch("/api/votes/train", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ model, ...(typeof steps === "number" ? { max_steps: steps } : {}) }) });
      const body = await response.json();
      if (!response.ok) throw new Error(body.error);
      training(body);
    } catch (error) { line.classList.add("error-line"); line.textContent = error.message; }
  }
  const chosen = { model: null, steps: null };

  document.addEventListener("compare", () => {
    const run = window.dpo.compare.state();
    if (!run?.turns.some((turns) => turns?.length)) told.clear();
    else if (run.id !== of) cast.forEach((_, row) => told.add(row));
    if (run?.id !== of) { of = run?.id; cast.clear(); arrange(); }
    bars();
  });
  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    const button = event.target.closest(".vote-button");
    if (button) vote(+button.closest(".vote").dataset.row, button.dataset.verdict);
    if (event.target.closest("#cmp-votes-train")) train();
  });
  document.addEventListener("keydown", (event) => {
    if ($("page-compare")?.hidden !== false || window.dpo.typing(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    const group = event.target instanceof Element && event.target.closest(".vote");
    if (group && /^Arrow(Left|Right)$/.test(event.key)) {
      const buttons = [...group.querySelectorAll("button")];
      const next = buttons.indexOf(event.target) + (event.key === "ArrowRight" ? 1 : -1);
      buttons[(next + buttons.length) % buttons.length].focus();
      event.preventDefault();
    }
    if (event.key === "v") {
      const row = (document.activeElement?.closest?.(".duo") || rowNodes().find((node) => node.querySelector(".vote-button:enabled")) || rowNodes()[0]);
      row?.querySelector(".vote-button:enabled")?.focus();
    }
    if (event.key === "b") $("cmp-blind").click();
  });

  window.dpo = Object.assign(window.dpo || {}, {
    votes: {
      /* The arm that stands at a place on the screen. */
      at(place) { return orders ? orders.flatMap((order) => order.arms)[place] ?? place : place; },
      blind: () => blind,
      hidden: (arm) => blind && !shown(orders?.find((order) => order.arms.includes(arm))?.row),
      rearrange() { if (rowNodes().length && window.dpo.compare) { arrange(); bars(); } },
    },
  });
  window.dash_clientside = Object.assign(window.dash_clientside || {}, {
    votes: {
      blind(checked) {
        blind = Boolean(checked);
        if (blind) window.dash_clientside.set_props("cmp-mode", { value: "Text" });
        if (rowNodes().length) { arrange(); bars(); window.dpo.compare.draw(); load(); }
        return blind;
      },
      choose(model, steps) { Object.assign(chosen, { model, steps }); return window.dash_clientside.no_update; },
    },
  });
})();
