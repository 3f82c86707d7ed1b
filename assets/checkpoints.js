/* Training: a prompt of one's own, answered by every checkpoint of the runs on screen, one after the other. */
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const answers = {}; // prompt -> run -> [[step, text], ...]
  let stopped = false, job = null, busy = false;

  async function ask(path, body) {
    const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.error);
    return found;
  }
  function tell(text, bad = false) { $("tr-ask-message").textContent = text; $("tr-ask-message").classList.toggle("error-line", bad); }
  function working(on) { busy = on; $("tr-ask-go-box").hidden = on; $("tr-ask-stop-box").hidden = !on; }
  const cancel = () => { if (job !== null) ask("/api/cancel", { job }).catch(() => {}); };

  /* Greedy: what differs between two steps is then what was learnt between them. */
  async function answer(prompt, policy, label) {
    let text = "", failed = null, ended = false;
    job = null;
    await window.dpo.stream("/api/generate", { prompt, policies: [policy], temperature: 0, max_new_tokens: 96 }, {
      job(data) { job = data.job; if (stopped) cancel(); },
      queued({ position }) { if (position) tell(`${label} · ${position} ahead in the queue`); },
      loading() { tell(`${label} · reading the policy`); },
      start() { tell(`${label} · writing`); },
      token(data) { text += data.text; },
      done(data) { text += data.text; ended = true; },
      failed({ message }) { failed = message; },
    });
    job = null;
    if (failed) throw new Error(failed);
    return ended ? text : null;
  }
  async function everywhere(prompt) {
    stopped = false;
    working(true);
    tell("Looking for checkpoints");
    const problems = [];
    let done = 0;
    try {
      const { policies, notes } = await ask("/api/checkpoints", { runs: window.dpo.training.runs() });
      if (answers[prompt]) window.dash_clientside.set_props("tr-prompt", { value: prompt }); // asked again
      const mine = (answers[prompt] = {});
      for (const [place, { run, label, step, policy }] of policies.entries()) {
        if (stopped) break;
        try {
          const text = await answer(prompt, policy, `Answer ${place + 1} of ${policies.length}: ${label}, step ${step}`);
          if (stopped || text === null) continue;
          (mine[run] ??= []).push([step, text]);
          window.dash_clientside.set_props("tr-own", { data: structuredClone({ prompt, answers }) });
          done += 1;
        } catch (error) { problems.push(`${label}, step ${step}: ${error.message}`); }
      }
      const count = policies.length ? `${stopped ? "Stopped: " : ""}${done} of ${policies.length} answered` : "";
      tell([count, ...notes, ...problems].filter(Boolean).join(" · ") || "Choose a run at the left", problems.length > 0);
    } catch (error) { tell(error instanceof TypeError ? "The server does not answer: is app.py running?" : error.message, true); }
    working(false);
  }
  function begin() {
    if (busy) return;
    const prompt = $("tr-ask").value.trim();
    if (prompt) everywhere(prompt); else { tell("The prompt is blank: write a question or a sentence", true); $("tr-ask").focus(); }
  }
  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    if (event.target.closest("#tr-ask-go")) begin();
    if (event.target.closest("#tr-ask-stop")) { stopped = true; cancel(); }
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Enter" && event.target.id === "tr-ask") begin(); });
})();
