/* Lens: what its parts share: what is looked at, the pairs, small building blocks. */
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const SHAPES = { seq2seq: "circle", causal: "diamond" };
  function make(tag, className, ...children) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }
  const signed = (value, digits = 2) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
  const plain = (value, digits = 2) => value.toFixed(digits).replace("-", "−");
  const percent = (share, digits = 0) => (100 * share).toFixed(digits) + "%";
  const stat = (value, label, extra = "") => make("span", "stat " + extra, make("b", "num", value), make("span", "", label));
  const glyph = (family, tuned) => { const node = make("span", `glyph ${SHAPES[family]} ${family} ${tuned ? "solid" : "hollow"}`); node.setAttribute("aria-hidden", "true"); return node; };
  const policy = ({ family, model }, tuned) => make("span", "policy", glyph(family, tuned), `${model} ${tuned ? "DPO" : "base"}`);
  const visible = (text) => text.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replace(/^ /, "␣") || "␣";
  const ratio = (token) => window.dpo.heat.ratio(token);
  const bin = (value) => window.dpo.heat.bin(value, lens.view.clamp);
  /* A unit's colour is its mean per token, so that long sentences are not all at the clamp. */
  function unitOf(look, [start, end]) {
    const tokens = look.tokens.slice(start, end);
    const sum = tokens.reduce((total, token) => total + ratio(token), 0);
    return { tokens, start, end, sum, mean: sum / tokens.length, text: tokens.map((t) => t.text).join("") };
  }
  const sides = () => (lens.view.texts.length === 2 && lens.view.texts[0].side ? ["chosen", "rejected"] : ["A", "B"]);

  /* How far the work on the server is, above what it fills. */
  function status(id, text, share, bad = false) {
    const box = $(id);
    box.hidden = !text;
    box.classList.toggle("bad", bad);
    if (!text) return;
    const bar = make("div", "progress" + (share === null ? " indeterminate" : ""));
    if (share !== null) { const part = make("i"); part.style.width = percent(share); bar.append(part); }
    bar.setAttribute("role", "progressbar");
    bar.setAttribute("aria-label", text);
    box.replaceChildren(make("span", "", text), ...(bad ? [] : [bar]));
  }
  const waiting = (position) => (position ? `${position} ahead in the queue` : "Waiting");

  const lens = {
    view: { policy: "demo/gpt2-dpo", reference: null, beside: null, mode: "Pair", unit: "token", clamp: 0.8, prompt: "", messages: null, texts: [], pair: 0 },
    list: { pairs: [], scored: false, policy: null, which: "all", sort: "low", ranges: {} },
    theme: null, results: [], selected: null, pinned: false,
    $, make, signed, plain, percent, stat, glyph, policy, visible, ratio, bin, unitOf, sides, status, waiting,
    none: () => window.dash_clientside.no_update,
    put: (id, props) => window.dash_clientside.set_props(id, props),
  };
  window.dpo = Object.assign(window.dpo || {}, { lens });
})();
