/* Nine steps of colour for a log ratio, shared by Lens and the reward tint of Compare. */
(() => {
  "use strict";
  const ratio = (token) => token.policy_logp - token.reference_logp;
  /* Class of a value in nats; strength 4 is at the clamp. */
  function bin(value, clamp) {
    const size = Math.abs(value) * (0.8 / clamp);
    const step = size >= 0.8 ? 4 : size >= 0.5 ? 3 : size >= 0.25 ? 2 : size >= 0.05 ? 1 : 0;
    return step ? (value < 0 ? "n" : "p") + step : "";
  }
  /* A text as coloured nodes, one for each unit from a first one on; leading blanks stay unpainted. */
  function paint(look, unit, clamp, from = 0) {
    return look.units[unit].slice(from).flatMap(([start, end]) => {
      const tokens = look.tokens.slice(start, end);
      const text = tokens.map((token) => token.text).join("");
      const lead = text.match(/^\s+/)?.[0] || "";
      if (text.length === lead.length) return [lead];
      const mean = tokens.reduce((sum, token) => sum + ratio(token), 0) / tokens.length;
      const node = document.createElement("span");
      node.className = `tok ${bin(mean, clamp)}`;
      node.textContent = text.slice(lead.length);
      node.title = `${mean < 0 ? "−" : "+"}${Math.abs(mean).toFixed(2)} nat`;
      return [lead, node];
    });
  }
  window.dpo = Object.assign(window.dpo || {}, { heat: { bin, ratio, paint } });
})();
