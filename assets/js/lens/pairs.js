// @ts-check
/* Lens: the held-out pairs: stepping through them, their histograms and table. */
import { $, make, makeButton, put, remeasure } from "../lib/dom.js";
import { plain, signed } from "../lib/format.js";
import { aborted, messageOf } from "../lib/http.js";
import { stream } from "../lib/stream.js";
import { score } from "./score.js";
import { lens, list, status, view, waiting } from "./state.js";

/** @typedef {import("./state.js").Pair} Pair */

const BINS = 24;

/** @param {Pair} pair */
export function showPair(pair) {
  view.prompt = pair.prompt;
  view.messages = pair.messages || null; // a conversation is scored by its turns, as it was trained on
  view.texts = [
    { text: pair.chosen, side: "chosen" },
    { text: pair.rejected, side: "rejected" },
  ];
  put("lens-prompt", { value: pair.prompt });
  put("lens-a", { value: pair.chosen });
  put("lens-b", { value: pair.rejected });
  place();
  score();
}
export const shownPairs = () => (list.scored ? filtered() : list.pairs);
function place() {
  const count = shownPairs().length;
  $("lens-place").textContent = count ? `${view.pair + 1} of ${count}` : "no pair";
}
/** Another pair, so many places on. @param {number} by */
export function step(by) {
  const pairs = shownPairs();
  if (!pairs.length) return;
  view.pair = (view.pair + by + pairs.length) % pairs.length;
  showPair(pairs[view.pair]);
}
/** @type {Record<string, (a: Pair, b: Pair) => number>} */
const ORDERS = {
  high: (a, b) => b.margin - a.margin,
  low: (a, b) => a.margin - b.margin,
  fall: (a, b) => a.chosen_reward - b.chosen_reward,
};
export function filtered() {
  const ranges = Object.entries(list.ranges);
  return list.pairs
    .filter((pair) => list.which === "all" || pair[list.which])
    .filter((pair) => ranges.every(([name, [low, high]]) => pair[name] >= low && pair[name] <= high))
    .sort(ORDERS[list.sort]);
}

/** @type {AbortController | null} */
let controller = null;
/** @param {string} source */
export async function scorePairs(source) {
  controller?.abort();
  const mine = (controller = new AbortController());
  const policy = view.policy;
  /** @type {any} */
  let result = null;
  let failed = "";
  $("lens-pairs-body").hidden = true;
  status("lens-pairs-status", "Waiting", null);
  const handlers = /** @type {import("../lib/stream.js").Handlers} */ ({
    queued: ({ position }) => status("lens-pairs-status", waiting(position), null),
    loading: ({ message }) => status("lens-pairs-status", message, null),
    progress: ({ done, total }) =>
      status("lens-pairs-status", `Scoring pair ${done} of ${total}`, total ? done / total : null),
    result(data) {
      result = data;
    },
    failed({ message }) {
      failed = message;
    },
  });
  try {
    await stream("/api/lens/pairs", { policy, source }, handlers, mine.signal);
  } catch (error) {
    if (aborted(error)) return;
    failed = messageOf(error);
  }
  if (mine !== controller) return;
  if (!result) {
    status("lens-pairs-status", failed || "The connection ended early: try again.", null, true);
    return;
  }
  status("lens-pairs-status", "");
  for (const pair of result.pairs) {
    pair.id = String(pair.index);
    pair.finding = [pair.wrong ? "wrong sign" : "", pair.displaced ? "both fell" : ""].filter(Boolean).join(", ");
  }
  Object.assign(list, { pairs: result.pairs, scored: true, policy, ranges: {} });
  $("lens-pairs-note").textContent = summary(result);
  $("lens-pairs-body").hidden = false;
  histograms();
  table();
}
/** @param {any} result */
function summary({ label, message, pairs, summary: means, left_out }) {
  if (!pairs.length) return `${label}: ${message}; none could be scored.`;
  const count = /** @param {string} name */ (name) => pairs.filter((/** @type {Pair} */ pair) => pair[name]).length;
  const margin = signed(means["rewards/margins"], 3);
  const rest = left_out ? `, ${left_out} left out, too long for the context or for training` : "";
  const wrong = `${count("wrong")} with the wrong sign, ${count("displaced")} where both fell`;
  return `${label}: ${message}. Margin ${margin} on average, ${wrong} (n = ${means.n}${rest}).`;
}

/* ---- histograms, each of which filters the table ---- */
/** @type {Record<string, string>} measure, and its colour in the theme */
const HISTOGRAMS = { margin: "neutral", chosen_reward: "chosen", rejected_reward: "rejected" };
/** A measure's values, and how they are put into bins. @param {string} name */
function binsOf(name) {
  const values = list.pairs.map((pair) => /** @type {number} */ (pair[name]));
  const low = Math.min(...values);
  return { values, low, size: (Math.max(...values) - low || 1) / BINS };
}
export function histograms() {
  for (const [name, color] of Object.entries(HISTOGRAMS)) {
    put(`lens-hist-${name}`, { figure: { layout: histogramLayout(name), data: [bars(name, lens.theme[color])] } });
  }
  requestAnimationFrame(remeasure);
}
/** @param {string} name @param {string} color */
function bars(name, color) {
  const { values, low, size } = binsOf(name);
  const counts = Array(BINS).fill(0);
  for (const value of values) counts[Math.min(BINS - 1, Math.floor((value - low) / size))] += 1;
  const opaque = { marker: { opacity: 1 } };
  return {
    type: "bar",
    x: counts.map((_, i) => low + (i + 0.5) * size),
    y: counts,
    width: Array(BINS).fill(size * 0.92),
    marker: { color },
    hovertemplate: "%{x:.3f}: %{y} pairs<extra></extra>",
    selected: opaque,
    unselected: opaque,
  };
}
/** @param {string} name */
function histogramLayout(name) {
  const { neutral } = lens.theme;
  const range = list.ranges[name];
  const whole = { yref: "paper", y0: 0, y1: 1 };
  /** @type {Record<string, unknown>[]} */
  const shapes = [{ type: "line", x0: 0, x1: 0, ...whole, line: { color: neutral, width: 1, dash: "2px,3px" } }];
  if (range) {
    const [x0, x1] = range;
    shapes.push({ type: "rect", x0, x1, ...whole, line: { width: 0 }, fillcolor: neutral, opacity: 0.18 });
  }
  return Object.assign(structuredClone(lens.theme.layout), {
    margin: { l: 30, r: 8, t: 6, b: 24 },
    dragmode: "select",
    selectdirection: "h",
    hovermode: "closest",
    bargap: 0.08,
    uirevision: performance.now(),
    datarevision: performance.now(),
    shapes,
  });
}
/** A range of a histogram was chosen, or a bar of it. @param {string} name @param {any} data what Plotly says of it */
export function brush(name, data) {
  const { size } = binsOf(name);
  const bar = data.points?.length === 1 ? data.points[0].x : null;
  const x = data.range?.x || (bar === null ? null : [bar - size / 2, bar + size / 2]);
  if (!x) return;
  list.ranges[name] = [Math.min(...x), Math.max(...x)];
  histograms();
  table();
}
export function table() {
  const rows = filtered();
  view.pair = 0;
  put("lens-table", { rowData: rows });
  $("lens-count").textContent = `${rows.length} of ${list.pairs.length} pairs`;
  $("lens-filters").replaceChildren(
    ...Object.entries(list.ranges).map(([name, [low, high]]) => {
      const label = name.replace("_", " ");
      const close = makeButton("", "×", () => {
        delete list.ranges[name];
        histograms();
        table();
      });
      close.setAttribute("aria-label", `Remove the filter on ${label}`);
      return make("span", "filter-chip num", `${label} ${plain(low, 3)} to ${plain(high, 3)}`, close);
    }),
  );
  if (view.mode === "Pair") place();
}
