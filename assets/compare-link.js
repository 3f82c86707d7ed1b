/* Compare: the controls, and the address that restores them. */
(() => {
  "use strict";
  const cmp = window.dpo.cmp, { $, PANES, put, none, about } = cmp;
  const STANDARD = ["demo/t5", "demo/t5-dpo", "demo/gpt2", "demo/gpt2-dpo", null, null];
  const FAMILIES = cmp.FAMILIES;
  const FORMER = { seq2seq: "t5", causal: "gpt2" }; // what links of earlier versions call a family

  function remember(request) {
    const query = new URLSearchParams({ prompt: request.prompt, ...Object.fromEntries(cmp.fields.map((name) => [name, request[name]])) });
    if (cmp.picked.some((value, pane) => value !== STANDARD[pane])) cmp.picked.forEach((value) => query.append("policy", value || ""));
    if (cmp.samples !== 1) query.set("samples", cmp.samples);
    if (!cmp.noise) query.set("noise", "own");
    for (const family of FAMILIES) if (cmp.strength[family] !== 1) query.set(`lambda_${family}`, cmp.strength[family]);
    if (cmp.mode !== "Text") query.set("show", cmp.mode);
    history.replaceState({}, "", "/?" + query);
  }
  let early = null; // who is quicker than the list of policies is answered when it is there
  function ask(request) { cmp.wanted = request; remember(request); cmp.start(request, cmp.active()); }
  /* Another policy in a pane: its answers go, and a tuned policy brings what it was tuned from. */
  function pick(pane, value, values) {
    const { linked, picked, run } = cmp;
    // A link may name policies that are not in the list: they are asked for all the same, and fail visibly.
    if (value && value !== linked[pane] && linked[pane] !== undefined && picked[pane] !== linked[pane]) return;
    if (value) delete linked[pane];
    const now = value || linked[pane] || null;
    if (now === picked[pane]) return;
    picked[pane] = now;
    if (run && run.policies[pane] !== now) {
      run.samples[pane] = [];
      delete run.turns[pane];
      run.arms = run.arms.filter((arm) => arm !== pane);
      cmp.panes.show(pane);
      cmp.panes.belong();
    }
    // Only where the place beside still holds a base.
    const left = pane - 1, reference = now && about(now).reference;
    if (pane % 2 && reference && cmp.known[reference] && values[left] && !about(values[left]).tuned && values[left] !== reference) put(`cmp-policy-${left}`, { value: reference });
  }

  function requestOf(names, prompt, values) {
    cmp.fields = names;
    return { prompt: prompt || "", ...Object.fromEntries(names.map((name, place) => [name, values[place]])) };
  }

  cmp.remember = remember;
  window.dash_clientside = Object.assign(window.dash_clientside || {}, {
    compare: {
      generate(_clicks, names, prompt, ...values) {
        const request = requestOf(names, prompt, values);
        if (!request.prompt.trim()) { cmp.problem("The prompt is blank: write a question or a sentence."); $("cmp-prompt").focus(); return none(); }
        for (const name of names) if (typeof request[name] !== "number") { cmp.problem(`${name.replaceAll("_", "-")} is missing: give a number.`); $(cmp.fieldId(name)).focus(); return none(); }
        if (cmp.active().length) ask(request); else early = request;
        return none();
      },
      arms(data, ...values) {
        if (!$("cmp-pane-0")) return none();
        cmp.known = data || {};
        values.forEach((value, pane) => pick(pane, value, values));
        cmp.panes.layOut();
        if (early && cmp.active().length) { ask(early); early = null; }
        return none();
      },
      more(count, same) {
        Object.assign(cmp, { samples: Math.min(8, Math.max(1, Number(count) || 1)), noise: same !== false });
        cmp.panes.belong();
        return none();
      },
      /* What stands in the composer: answers that belong to something else say so. */
      wanted(names, prompt, ...values) {
        cmp.wanted = requestOf(names, prompt, values);
        cmp.panes.belong();
        return none();
      },
      strength(...values) {
        FAMILIES.forEach((family, place) => { cmp.strength[family] = values[place] ?? 1; });
        for (const family of FAMILIES) if ($(`cmp-lambda-value-${family}`)) $(`cmp-lambda-value-${family}`).textContent = cmp.strength[family].toFixed(2);
        if ($("cmp-pane-0")) { cmp.panes.layOut(); cmp.panes.belong(); cmp.told(); }
        return none();
      },
      restore(search, names, ...values) {
        cmp.fields = names;
        const query = new URLSearchParams(search || ""), same = () => values.map(none);
        if (location.pathname !== "/" || !["prompt", "policy", "arm", ...Object.values(FORMER), ...names].some((name) => query.has(name))) return same();
        const asked = [...query.getAll("policy"), ...query.getAll("arm")].slice(0, PANES.length);
        // Links of earlier versions say arm for policy, or name pairs: base|tuned.
        FAMILIES.forEach((family, row) => { const pair = query.get(FORMER[family])?.split("|"); if (pair?.length === 2) [asked[2 * row], asked[2 * row + 1]] = pair; });
        // A link that names panes names them all: the rest are closed.
        if (query.has("policy") || query.has("arm")) while (asked.length < PANES.length) asked.push("");
        asked.forEach((value, pane) => { if (value) cmp.linked[pane] = value; cmp.picked[pane] = value || null; put(`cmp-policy-${pane}`, { value: value || null }); });
        if (asked.length) setTimeout(cmp.panes.layOut);
        if (query.has("samples")) put("cmp-samples", { value: parseInt(query.get("samples"), 10) || 1 });
        if (query.has("noise")) put("cmp-noise", { checked: query.get("noise") !== "own" });
        for (const family of FAMILIES) {
          const asked = query.get(`lambda_${family}`) ?? query.get(`lambda_${FORMER[family]}`);
          if (asked !== null && $(`cmp-lambda-${family}`)) put(`cmp-lambda-${family}`, { value: parseFloat(asked) || 0 });
        }
        if (["Word diff", "Reward tint"].includes(query.get("show"))) put("cmp-mode", { value: query.get("show") });
        const numbers = names.map((name) => { const n = parseFloat(query.get(name)); return Number.isFinite(n) ? n : none(); });
        return [query.get("prompt") ?? none(), ...numbers];
      },
      dice() { return Math.floor(Math.random() * 1e6); },
      next(_clicks, text) { return cmp.next(text || "") ? "" : none(); },
      view(value) {
        cmp.mode = value;
        $("cmp-scale").hidden = value !== "Reward tint";
        if (cmp.run) cmp.active().forEach((pane) => cmp.sampleOf(pane) && cmp.panes.draw(pane));
        return none();
      },
    },
  });
})();
