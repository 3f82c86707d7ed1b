/* Compare: what its parts share: the panes' policies, the settings, the generation on screen. */
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const ENGINE = /#ctranslate2(-int8)?$/;
  const PLAIN = "Plain sampling: same noise, λ and tint do not act here";
  const cmp = {
    $,
    PANES: [0, 1, 2, 3, 4, 5],
    FAMILIES: ["seq2seq", "causal"],
    SHAPES: { seq2seq: "circle", causal: "diamond" },
    /* The sampling settings that have a field on the page, as the server names them. */
    fields: [],
    fieldId: (name) => `cmp-${name.replaceAll("_", "-")}`,
    known: {}, picked: [0, 1, 2, 3, 4, 5].map(() => null), linked: {},
    mode: "Text", samples: 1, noise: true, strength: { seq2seq: 1, causal: 1 },
    /* The generation on screen: request, arms, policies, λ and seed by pane, samples by pane, which of them is shown. */
    run: null,
    /* What stands in the composer now; the answers on screen may belong to something else. */
    wanted: null,
    none: () => window.dash_clientside.no_update,
    put: (id, props) => window.dash_clientside.set_props(id, props),
    element(tag, className, text) {
      const node = document.createElement(tag);
      if (className) node.className = className;
      if (text !== undefined) node.textContent = text;
      return node;
    },
    /* A link may name a policy that is not in the list; its name tells what can be told. */
    about(value) {
      if (cmp.known[value]) return cmp.known[value];
      const policy = value.replace(ENGINE, ""), plain = policy !== value || /^https?:/.test(value);
      const { family = null, tuned = false, model = null } = cmp.known[policy] || {};
      return { value, policy, label: value, short: value.split("/").pop() || value, family, tuned, model, note: plain ? PLAIN : null };
    },
    /* What the policies of a family in these panes are called: T5, BART, Llama. */
    modelsOf: (family, panes) => [...new Set(panes.map((pane) => cmp.about(cmp.picked[pane])).filter((policy) => policy.family === family).map((policy) => policy.model || "Other"))],
    active: () => cmp.PANES.filter((pane) => cmp.picked[pane]),
    partner: (pane) => (cmp.picked[pane ^ 1] ? pane ^ 1 : null),
    /* Only our own loop can turn a policy up or down. */
    lambdaOf(value) {
      const arm = cmp.about(value);
      return arm.tuned && !arm.note ? cmp.strength[arm.family] ?? 1 : 1;
    },
    /* The λ of the answer that a pane shows; without one, that of the next. */
    shownLambda: (pane) => (cmp.run?.samples[pane]?.length ? cmp.run.lambdas[pane] : cmp.lambdaOf(cmp.picked[pane])),
    writing: () => Boolean(cmp.run && !cmp.run.stream.over),
    sampleOf: (pane) => cmp.run?.samples[pane]?.[cmp.run.shown[pane]] || null,
    hidden: (pane) => window.dpo.votes?.hidden(pane),
    /* Whose rewards colour the answer of a pane: a tuned policy's own, a base's tuned neighbour's. */
    lensPolicy(pane) {
      const arm = cmp.about(cmp.picked[pane]);
      if (cmp.run?.turns[pane]?.length) return null; // Lens reads single questions
      if (arm.tuned) return arm.policy;
      const near = [cmp.partner(pane), ...cmp.active()].filter((other) => other !== null).map((other) => cmp.about(cmp.picked[other]));
      return near.find((other) => other.tuned && other.family === arm.family)?.policy || null;
    },
    /* Voting follows along. */
    told: () => document.dispatchEvent(new Event("compare")),
    problem(text) { $("cmp-error").textContent = text || ""; $("cmp-error").hidden = !text; },
  };
  window.dpo = Object.assign(window.dpo || {}, { cmp });
})();
