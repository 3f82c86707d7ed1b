// @ts-check
/* Lens: keeps controls, keys and address in step with what is shown. */
import { $, closest, copy, find, handOver, none, plainKey, put } from "../lib/dom.js";
import { readLink } from "./link.js";
import * as pairs from "./pairs.js";
import { running } from "./running.js";
import { downloadScores, redraw, remember, score } from "./score.js";
import { lens, list, view } from "./state.js";
import { select } from "./tokens.js";

/** @typedef {import("./state.js").Place} Place */

let started = false;

/* ---- pointer and keys ---- */
/** @param {HTMLElement} node @returns {Place} */
function placeOf(node) {
  const box = /** @type {HTMLElement} */ (node.parentElement);
  return { row: Number(box.dataset.row), text: Number(box.dataset.text), unit: Number(node.dataset.unit) };
}
/** @param {Place | null} one @param {Place} other */
const same = (one, other) => one?.row === other.row && one.text === other.text && one.unit === other.unit;
/** The text that has the focus. @param {Event} event */
const focused = (event) =>
  event.target instanceof HTMLElement && event.target.classList.contains("heat") ? event.target : null;

document.addEventListener("mouseover", (event) => {
  const node = closest(event, "#lens-heats .tok");
  if (node && !lens.pinned) select(placeOf(node));
});
document.addEventListener("click", (event) => {
  const node = closest(event, "#lens-heats .tok");
  if (node) {
    const place = placeOf(node);
    lens.pinned = !(lens.pinned && same(lens.selected, place));
    select(place);
  }
  if (closest(event, "#lens-previous")) pairs.step(-1);
  if (closest(event, "#lens-next")) pairs.step(1);
  if (closest(event, "#lens-json") && lens.results.length) downloadScores();
  if (closest(event, "#lens-copy-command")) copy($("lens-command").textContent || "", closest(event, "button"));
});
document.addEventListener("focusin", (event) => {
  const box = focused(event);
  if (!box || lens.pinned) return;
  const [row, text] = [Number(box.dataset.row), Number(box.dataset.text)];
  if (lens.selected?.row !== row || lens.selected.text !== text) select({ row, text, unit: 0 });
});
/** @param {Record<string, number>} moves from a unit to another, by key */
const ARROWS = /** @type {Record<string, number>} */ ({ ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 });
/** A key on a text: to another unit, or pin this one. @param {KeyboardEvent} event @param {Place} selected */
function textKey(event, selected) {
  const last = lens.results[selected.row].texts[selected.text].units[view.unit].length - 1;
  const by = ARROWS[event.key];
  const unit = by ? Math.min(last, Math.max(0, selected.unit + by)) : { Home: 0, End: last }[event.key];
  if (unit !== undefined) select({ ...selected, unit }, true);
  else if (event.key === "Enter") {
    lens.pinned = !lens.pinned;
    select(selected);
  } else return;
  event.preventDefault();
}
document.addEventListener("keydown", (event) => {
  if (find("page-lens")?.hidden !== false) return;
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter" && view.mode === "My texts") {
    event.preventDefault();
    handOver("lens-prompt", "lens-a", "lens-b");
    $("lens-score").click();
    return;
  }
  if (!plainKey(event)) return;
  if (event.key === "Escape") {
    lens.pinned = false;
    select(lens.selected);
  } else if (focused(event) && lens.selected) textKey(event, lens.selected);
});

/* ---- from the address, and from fields ---- */
/** @param {string | null} search */
function restore(search) {
  const link = readLink(search || "");
  const { policy, reference, beside, unit, clamp } = link;
  Object.assign(view, { policy: policy || view.policy, reference, beside, unit, clamp });
  put("lens-policy", { value: view.policy });
  put("lens-reference", { value: reference });
  put("lens-beside", { value: beside });
  put("lens-unit", { value: unit[0].toUpperCase() + unit.slice(1) });
  put("lens-clamp", { value: clamp });
  if (link.texts && !link.pair) {
    const { prompt, a, b } = link.texts;
    setMode("My texts");
    put("lens-prompt", { value: prompt });
    put("lens-a", { value: a });
    put("lens-b", { value: b });
    scoreTexts(prompt, a, b);
    return;
  }
  setMode("Pair");
  const pair = link.pair || list.pairs[0];
  if (pair) pairs.showPair(pair);
}
/** @param {string} mode */
function setMode(mode) {
  view.mode = mode;
  put("lens-mode", { value: mode });
  $("lens-mine").hidden = mode === "Pair";
  $("lens-steps").hidden = mode !== "Pair";
  put("lens-prompt", { readOnly: mode === "Pair" });
}
/** Score texts of one's own. @param {string | null} prompt @param {string | null} a @param {string | null} b */
function scoreTexts(prompt, a, b) {
  let problem = "";
  if (!prompt?.trim()) problem = "The prompt is blank: write a question or a sentence.";
  else if (!a?.trim()) problem = "Text A is blank: give an answer to score.";
  $("lens-error").textContent = problem;
  $("lens-error").hidden = !problem;
  if (problem || !prompt || !a) return;
  view.prompt = prompt;
  view.messages = null;
  view.texts = [{ text: a }, ...(b?.trim() ? [{ text: b }] : [])];
  score();
}

export const callbacks = {
  /** @param {string} pathname @param {string | null} search @param {any} data */
  show(pathname, search, data) {
    lens.theme = data;
    if (pathname !== "/lens") return none();
    // A look elsewhere and back leaves everything as it was; a link with a query is a new view.
    if (started && !search) {
      requestAnimationFrame(() => {
        if (lens.results.length) running();
      });
      return none();
    }
    if (!started) list.pairs = data.examples;
    started = true;
    restore(search);
    return none();
  },
  /** @param {string | null} policy @param {string | null} reference @param {string | null} beside */
  choose(policy, reference, beside) {
    const wanted = { policy: policy || "", reference: reference || null, beside: beside || null };
    const known = wanted.policy === view.policy && wanted.reference === view.reference && wanted.beside === view.beside;
    if (!started || !policy || known) return none();
    Object.assign(view, wanted);
    score();
    return none();
  },
  /** @param {string} mode */
  mode(mode) {
    if (!started || mode === view.mode) return none();
    setMode(mode);
    const shown = pairs.shownPairs();
    if (mode === "Pair" && shown.length) pairs.showPair(shown[Math.min(view.pair, shown.length - 1)]);
    return none();
  },
  /** @param {string | null} value */
  unit(value) {
    const unit = (value || "Token").toLowerCase();
    if (unit === view.unit) return none();
    view.unit = unit;
    Object.assign(lens, { pinned: false, selected: null });
    redraw();
    remember();
    if (lens.results.length) select({ row: 0, text: 0, unit: 0 });
    return none();
  },
  /** @param {unknown} value */
  clamp(value) {
    if (typeof value !== "number") return none();
    view.clamp = value;
    $("lens-clamp-value").textContent = value.toFixed(1);
    const { selected } = lens;
    redraw();
    select(selected);
    if (started && lens.results.length) remember();
    return none();
  },
  /** @param {number} _clicks @param {string | null} prompt @param {string | null} a @param {string | null} b */
  score(_clicks, prompt, a, b) {
    scoreTexts(prompt, a, b);
    return none();
  },
  /** @param {number} _clicks @param {string} source */
  pairs(_clicks, source) {
    pairs.scorePairs(source);
    return none();
  },
  /** @param {string} order @param {string} which */
  sort(order, which) {
    Object.assign(list, { sort: order, which });
    if (list.scored) pairs.table();
    return none();
  },
  /** @param {any} data @param {string} id */
  brush(data, id) {
    if (data) pairs.brush(id.replace("lens-hist-", ""), data);
    return none();
  },
  /** @param {{ rowId: string } | null} cell */
  open(cell) {
    const shown = pairs.filtered();
    const index = shown.findIndex((pair) => pair.id === cell?.rowId);
    if (index < 0) return none();
    view.pair = index;
    setMode("Pair");
    if (list.policy !== view.policy) {
      view.policy = list.policy || view.policy;
      put("lens-policy", { value: view.policy });
    }
    pairs.showPair(shown[index]);
    $("lens-heats").scrollIntoView({ behavior: "smooth", block: "center" });
    return none();
  },
};
