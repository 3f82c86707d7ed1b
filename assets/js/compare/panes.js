// @ts-check
/* Compare: what stands in a pane. */
import { $, all, button, find, make, makeButton, part, progressBar, scrollable, stat } from "../lib/dom.js";
import { rememberedWords } from "../lib/diff.js";
import { FAMILIES, glyph, KINDS } from "../lib/families.js";
import { counted, repetition, signed } from "../lib/format.js";
import { mark } from "./marks.js";
import * as summary from "./summary.js";
import { paint } from "../lib/heat.js";
import { hidden, rearrange } from "./blind.js";
import {
  about,
  active,
  changed,
  lambdaOf,
  lensPolicy,
  modelsOf,
  PANES,
  partner,
  sampleOf,
  shownLambda,
  state,
} from "./state.js";

/** @typedef {import("./state.js").Sample} Sample */

/** @type {Record<string, string>} */
const ENDS = { eos: "ended itself", cancelled: "stopped", stop: "met a stop string" };
const CLAMP = 0.8;
const wordsOf = rememberedWords();

/** The panes, rows and names, as policies are picked. */
export function layOut() {
  for (const pane of PANES) {
    $(`cmp-pane-${pane}`).hidden = !state.picked[pane];
    if (state.picked[pane]) layOutPane(pane);
  }
  let count = 0;
  for (const row of [0, 1, 2]) {
    const panes = [2 * row, 2 * row + 1].filter((pane) => state.picked[pane]);
    $(`cmp-row-${row}`).hidden = !panes.length;
    count += Number(panes.length > 0);
    part($(`cmp-row-${row}`), ".duo-body").classList.toggle("single", panes.length === 1);
    const families = [...new Set(panes.map((pane) => about(state.picked[pane]).family || ""))];
    const models = new Set(families.flatMap((family) => modelsOf(family, panes)));
    $(`cmp-row-title-${row}`).textContent = [...models].join(" and ");
    $(`cmp-row-kind-${row}`).textContent = families.length === 1 ? KINDS[families[0]] || "" : "";
  }
  $("cmp-rows").style.setProperty("--rows", String(count));
  for (const node of all("[data-family-name]")) {
    const models = modelsOf(node.dataset.familyName || "", active());
    if (models.length) node.textContent = models.join(", ");
  }
  button("cmp-add").disabled = active().length === PANES.length;
  for (const remove of all(".js-remove")) /** @type {HTMLButtonElement} */ (remove).disabled = active().length <= 2;
  rearrange();
}
/** @param {number} pane */
function layOutPane(pane) {
  const node = $(`cmp-pane-${pane}`);
  const policy = about(state.picked[pane]);
  const lambda = shownLambda(pane);
  const turned = lambda === 1 ? "" : ` λ ${lambda.toFixed(2)}`;
  Object.assign(node.dataset, {
    name: policy.label + turned,
    short: policy.short + turned,
    tuned: String(+policy.tuned),
    family: policy.family || "",
  });
  node.className = `pane ${policy.family || "other"}`;
  const name = $(`cmp-name-${pane}`);
  name.replaceChildren(glyph(policy.family, policy.tuned), make("span", "pane-name", policy.short));
  name.title = policy.label;
  if (turned) name.append(make("span", "pill num", turned.trim()));
  node.setAttribute("aria-label", policy.label);
  $(`cmp-about-${pane}`).textContent = $(`cmp-about-${pane}`).title = policy.about || "";
  part(node, ".js-lens").hidden = !lensPolicy(pane);
  note(pane);
}
/**
 * What does not act in this pane; an engine may add what it measured.
 * @param {number} pane
 */
function note(pane) {
  const text = sampleOf(pane)?.note || about(state.picked[pane]).note;
  $(`cmp-note-${pane}`).textContent = text ? `${text}.` : "";
  $(`cmp-note-${pane}`).hidden = !text;
}
/**
 * The turns before, folded.
 * @param {number} pane
 */
function earlier(pane) {
  const turns = state.run?.turns[pane] || [];
  const box = $(`cmp-earlier-${pane}`);
  box.hidden = !turns.length;
  part(box, "summary").textContent = counted(turns.length, "earlier turn");
  part(box, "div").replaceChildren(
    ...turns.flatMap(([prompt, answer]) => [make("p", "asked", prompt), make("p", "answered", answer)]),
  );
}

/**
 * What policies of a family were given for the answers of a run, in the order of their panes.
 * @param {import("./state.js").Generation} run
 * @param {string} family
 */
const givenTo = (run, family) =>
  PANES.filter((pane) => run.seen[pane] && about(run.policies[pane]).family === family).map((pane) => ({
    name: about(run.policies[pane]).label,
    ...run.seen[pane],
  }));
/** What each family was given; by policy where a later turn follows answers of their own. */
export function seen() {
  for (const family of FAMILIES) {
    const node = find(`cmp-seen-${family}`);
    if (!node) continue;
    const given = state.run ? givenTo(state.run, family) : [];
    const apart = given.some(({ text }) => text !== given[0].text);
    const lines = apart ? given.map(({ name, text }) => `${name}: ${text}`) : given.slice(0, 1).map(({ text }) => text);
    if (!lines.length) lines.push("shown with the first answer");
    node.replaceChildren(...lines.map((line) => make("span", "", line.replaceAll("\n", "⏎"))));
    node.title = given.length ? lines.join("\n\n") : "";
    node.classList.toggle("unseen", !given.length);
    const counts = [...new Set(given.map(({ tokens }) => tokens).filter(Boolean))];
    $(`cmp-seen-count-${family}`).textContent = counts.length ? `${counts.join(" and ")} tokens` : "";
  }
}
/** Answers that belong to another question or other settings than those above say so, and stand back. */
export function belong() {
  const { run, wanted } = state;
  const box = find("cmp-belong");
  if (!box) return;
  const other = Boolean(run && wanted) && wanted?.prompt !== run?.first;
  const names = changedSettings();
  const parts = [];
  if (run && other) parts.push(`Answers to: “${run.first.length > 80 ? `${run.first.slice(0, 79)}…` : run.first}”.`);
  if (names.length) parts.push(`Settings changed since: ${names.join(", ")}.`);
  const turn = run && run.request.prompt !== run.first ? [`To the next turn: “${run.request.prompt}”.`] : [];
  box.textContent = [...turn, ...parts].join(" ");
  box.hidden = !box.textContent;
  $("cmp-rows").classList.toggle("stale", parts.length > 0);
  part(document, ".sees").classList.toggle("stale", other);
}
/** Names of the settings that the answers on screen were not made with. */
function changedSettings() {
  const { run, wanted } = state;
  if (!run || !wanted) return [];
  const names = state.fields
    .filter((name) => wanted[name] !== run.request[name])
    .map((name) => name.replaceAll("_", " "));
  const turned = run.panes.filter(
    (pane) => run.policies[pane] === state.picked[pane] && lambdaOf(state.picked[pane]) !== run.lambdas[pane],
  );
  const families = new Set(turned.map((pane) => about(state.picked[pane]).family || ""));
  for (const family of families) names.push(`λ of ${modelsOf(family, turned).join(", ")}`);
  if (state.samples !== run.count) names.push("samples");
  if (state.noise !== run.same_noise) names.push("same noise");
  return names;
}

/** @param {number} pane @param {string} text @param {string} [kind] */
export function pill(pane, text, kind = "") {
  const node = $(`cmp-pill-${pane}`);
  node.hidden = !text;
  node.className = `pill ${kind}`;
  node.textContent = text;
}
/**
 * What a pane shows in place of an answer, or above it.
 * @param {number} pane
 * @param {...HTMLElement} children
 */
function status(pane, ...children) {
  const box = $(`cmp-state-${pane}`);
  box.replaceChildren(...children);
  box.hidden = children.length === 0;
  $(`cmp-out-${pane}`).hidden = children.length > 0 && !sampleOf(pane)?.text;
}
function skeleton() {
  return [100, 92, 64].map((width) => {
    const bar = make("div", "skeleton");
    bar.style.width = `${width}%`;
    return bar;
  });
}

/* What of an answer stands in a pane: each frame of a tinted one adds what is new, a diff that is the same stays. */
/** @type {WeakMap<Node, { look: object, units: number, last: ChildNode | null }>} */
const painted = new WeakMap();
/** @type {WeakMap<Node, { words: object, last: ChildNode | null }>} */
const differing = new WeakMap();

/** @param {number} pane */
export function draw(pane) {
  const sample = sampleOf(pane);
  const out = $(`cmp-out-${pane}`);
  if (!sample || sample.failed) {
    out.textContent = "";
    return;
  }
  out.classList.remove("empty-out");
  out.querySelector(":scope > .caret")?.remove();
  const words = state.mode === "Word diff" && !hidden(pane) && diffOf(pane);
  if (words) drawDiff(out, words, pane % 2 ? "new" : "gone");
  else if (state.mode === "Reward tint" && !hidden(pane) && (sample.look || sample.arriving)) drawTint(out, sample);
  else out.textContent = sample.text;
  if (!sample.live) return;
  out.append(make("span", "caret"));
  out.scrollTop = out.scrollHeight;
}
/** Draw all answers anew. */
export function redraw() {
  if (state.run) active().forEach((pane) => sampleOf(pane) && draw(pane));
}
/** @param {HTMLElement} out @param {import("../lib/diff.js").Word[]} words @param {string} className of own words */
function drawDiff(out, words, className) {
  const known = differing.get(out);
  if (known && known.words === words && known.last && known.last === out.lastChild) return;
  out.replaceChildren(...mark(words, className));
  differing.set(out, { words, last: out.lastChild });
}
/**
 * As it arrives, by the engine's own log-ratios; then as Lens has it.
 * @param {HTMLElement} out
 * @param {Sample} sample
 */
function drawTint(out, sample) {
  const look = /** @type {NonNullable<Sample["look"]>} */ (sample.look || sample.arriving);
  const stands = painted.get(out);
  const known = stands?.look === look && stands.last?.parentNode === out ? stands : null;
  if (known) while (out.lastChild && out.lastChild !== known.last) out.lastChild.remove();
  else out.replaceChildren();
  out.append(...paint(look, "token", CLAMP, known?.units));
  painted.set(out, { look, units: look.units.token.length, last: out.lastChild });
  if (!sample.look) out.append(sample.text.slice(look.length));
}
/** The words of a row's two answers. @param {number} left its left pane */
const rowWords = (left) => wordsOf(left / 2, sampleOf(left)?.text || "", sampleOf(left + 1)?.text || "");
/** @param {number} pane */
function diffOf(pane) {
  const other = partner(pane);
  if (other === null || !sampleOf(other)?.text || !sampleOf(pane)?.text) return null;
  return rowWords(pane - (pane % 2))[pane % 2];
}
/** How far the two answers of a row differ. @param {number} pane */
export function differ(pane) {
  const left = pane - (pane % 2);
  const node = $(`cmp-differ-${left / 2}`);
  node.textContent = "";
  if (![left, left + 1].map(sampleOf).every((sample) => sample?.end && sample.text)) return;
  const words = rowWords(left).flat();
  const share = Math.round((100 * words.filter(([, own]) => own).length) / Math.max(words.length, 1));
  const [first, second] = [left, left + 1].map((one) => sampleOf(one)?.text || "");
  const same = state.run?.same?.[left / 2];
  const tokens = same === undefined ? [] : [`${Math.round(100 * same)}% of tokens in the same place`];
  node.textContent = [`${share}% of words differ`, ...summary.line(first, second), ...tokens].join(" · ");
}

/** @param {Sample} sample */
function ended(sample) {
  const icon = make("span", `i ${sample.end === "eos" ? "i-check" : "i-warn"}`);
  icon.style.width = icon.style.height = "14px";
  const text = ENDS[sample.end || ""] || `hit ${state.run?.request.max_new_tokens}-token limit`;
  return make("span", `stat end ${sample.end}`, icon, text);
}
/** What is known of an answer, below it. @param {number} pane */
export function chips(pane) {
  const sample = sampleOf(pane);
  $(`cmp-chips-${pane}`).replaceChildren(...(sample ? [...answerChips(sample), ...samplesChip(pane)] : []));
}
/** @param {Sample} sample */
function answerChips(sample) {
  const parts = [];
  if (sample.position && !sample.tokens) parts.push(stat(String(sample.position), "ahead in the queue", "waiting"));
  if (sample.tokens) parts.push(stat(String(sample.tokens), sample.tokens === 1 ? "token" : "tokens"));
  if (sample.rate) parts.push(stat(Math.round(sample.rate).toLocaleString("en"), "tok/s"));
  if (sample.end && sample.first !== undefined) {
    const quick = sample.first < 1;
    const value = quick ? String(Math.round(1000 * sample.first)) : sample.first.toFixed(1);
    parts.push(stat(value, `${quick ? "ms" : "s"} to first token`));
  }
  if (sample.end) {
    parts.push(ended(sample));
    const repeated = repetition(sample.text);
    if (repeated >= 0.05) parts.push(stat(`${Math.round(100 * repeated)}%`, "repeated"));
  } else if (sample.live) parts.push(make("span", "stat waiting", "writing"));
  if (sample.look) {
    const sign = sample.look.reward < 0 ? "reward neg" : "reward";
    parts.push(stat(signed(sample.look.reward), "reward", sign));
    parts.push(stat(signed(sample.look.reward_per_token, 3), "reward / token", sign));
  }
  return parts;
}
/** How much a pane's samples differ. @param {number} pane */
function samplesChip(pane) {
  const done = (state.run?.samples[pane] || []).filter((sample) => sample?.end);
  if (done.length < 2) return [];
  const tokens = done.map((sample) => sample.tokens);
  const [least, most] = [Math.min(...tokens), Math.max(...tokens)];
  const different = new Set(done.map((sample) => sample.text)).size;
  const range = least === most ? String(least) : `${least}–${most}`;
  return [stat(range, `tokens in ${done.length} samples, ${different} different`)];
}
/** A tab for each sample. @param {number} pane */
export function tabs(pane) {
  const { run } = state;
  const box = $(`cmp-tabs-${pane}`);
  const list = run?.samples[pane] || [];
  box.hidden = list.length < 2;
  box.replaceChildren(
    ...list.map((sample, index) => {
      const tab = makeButton(`ex${index === run?.shown[pane] ? " on" : ""}`, String(index + 1), () => {
        if (run) run.shown[pane] = index;
        show(pane);
        changed();
      });
      tab.disabled = !sample?.text && !sample?.end;
      tab.setAttribute("aria-label", `Sample ${index + 1}`);
      return tab;
    }),
  );
}

/** All of a pane. @param {number} pane */
export function show(pane) {
  const sample = sampleOf(pane);
  status(pane);
  if (!sample) {
    empty(pane);
    pill(pane, "");
  } else if (sample.failed) failure(pane, sample.failed);
  else {
    pill(pane, sample.end === "cancelled" ? "stopped" : "");
    draw(pane);
  }
  around(pane);
  scrollable($(`cmp-out-${pane}`));
  if (state.picked[pane]) note(pane);
  const other = partner(pane);
  if (state.mode === "Word diff" && other !== null && sampleOf(other)) draw(other);
}
/** What stands around an answer. @param {number} pane */
function around(pane) {
  chips(pane);
  tabs(pane);
  differ(pane);
  earlier(pane);
}
/** @param {number} pane */
function empty(pane) {
  const out = $(`cmp-out-${pane}`);
  out.hidden = false;
  out.classList.add("empty-out");
  out.textContent = "";
}
/** @param {number} pane @param {string} message */
function failure(pane, message) {
  pill(pane, "failed", "bad");
  status(pane, make("span", "strong", message), make("div", "row", makeButton("ex js-again", "Try again")));
}
/** A pane whose answer was asked for a moment ago. @param {number} pane */
export function waiting(pane) {
  $(`cmp-out-${pane}`).textContent = "";
  $(`cmp-out-${pane}`).removeAttribute("aria-live");
  pill(pane, "waiting");
  status(pane, ...skeleton());
  around(pane);
  note(pane);
}
/** @param {number} pane @param {string} message @param {number | null} [share] */
export function loading(pane, message, share) {
  pill(pane, "loading");
  const hint = make("span", "sub", "The first use of a policy takes a few seconds.");
  status(pane, make("span", "strong", message), progressBar(message, share || null), hint);
}
/** @param {number} pane */
export function queued(pane) {
  pill(pane, "waiting");
  status(pane, ...skeleton());
  chips(pane);
}
/** @param {number} pane */
export function started(pane) {
  pill(pane, "");
  status(pane);
  draw(pane);
  chips(pane);
  tabs(pane);
  note(pane);
}
