// @ts-check
/* Training: what the curves of a chart have at the step under the pointer, shown in the chart's subtitle. */
import { part } from "../lib/dom.js";
import { compact } from "../lib/format.js";
import { nearest } from "./nearest.js";
import { screen } from "./state.js";

/** @typedef {{ at: number, step: number }} Place a place on the axis, and how long a step is there */

/** @type {WeakMap<object, string>} chart -> its subtitle while nothing is pointed at */
const notes = new WeakMap();
/** @param {any} plot */
const noteOf = (plot) => part(plot.closest(".chart"), ".card-head .sub:not(.found)");
/** @param {any} plot @returns {any[]} */
const curves = (plot) => plot.data.filter((/** @type {any} */ trace) => trace.meta?.kind && trace.x.length);

/**
 * The logged place nearest to the pointer, and how long a step is there: that of the curve with most points.
 * @param {any} plot
 * @param {number} at
 * @returns {Place}
 */
export function snap(plot, at) {
  const found = curves(plot).map((curve) => ({ curve, ...nearest(curve.x, at) }));
  if (!found.length) return { at, step: Infinity };
  const best = found.reduce((one, other) => (other.away < one.away ? other : one));
  return { at: best.curve.x[best.index], step: Math.min(...found.map(({ gap }) => gap)) };
}
/** @param {number} value @param {boolean} percent @param {number} digits */
const written = (value, percent, digits) =>
  percent ? `${+(100 * value).toFixed(1)}%` : compact(value, digits).replaceAll("-", "−");
/** @type {Record<string, (at: number) => string>} */
const PLACES = {
  Step: (at) => `Step ${at}`,
  Examples: (at) => `Example ${Math.round(at).toLocaleString("en")}`,
  Epoch: (at) => `Epoch ${+at.toFixed(3)}`,
  Tokens: (at) => `Token ${Math.round(at).toLocaleString("en")}`,
  Time: (at) => `${+at.toFixed(1)} s`,
};
/**
 * The values at a place: by label, then by kind (raw, smoothed, held out).
 * A curve that has no point within half a step has no value there: the last one of a run that has ended is not it.
 * @param {any} plot
 * @param {Place} place
 */
function valuesAt(plot, { at, step }) {
  const { percent } = plot.layout.meta;
  /** @type {Map<string, Map<string, string>>} */
  const values = new Map();
  const second = /** @param {any} curve */ (curve) => Number(curve.meta.second ?? false);
  // The second measure of a chart lies below the first, but is named after it.
  for (const curve of curves(plot).sort((one, other) => second(one) - second(other))) {
    const { index, away, gap } = nearest(curve.x, at);
    const { label, kind } = curve.meta;
    if (away > 0 && away >= Math.min(step, gap) / 2) continue;
    const of = values.get(label) || new Map();
    values.set(label, of.set(kind, written(curve.y[index], percent, kind === "smoothed" ? 3 : 4)));
    if (curve.customdata) of.set("raw", written(curve.customdata[index], percent, 4)); // logged, and not drawn
  }
  return values;
}
/** @param {any} plot @param {Place} place */
function sentence(plot, place) {
  const parts = [...valuesAt(plot, place)].map(([label, of]) => {
    const [first, ...others] = ["raw", "smoothed", "held out"].filter((kind) => of.has(kind));
    const more = [...(first === "raw" ? [] : [first]), ...others.map((kind) => `${kind} ${of.get(kind)}`)];
    return `${label} ${of.get(first)}${more.length ? ` (${more.join(", ")})` : ""}`;
  });
  const where = (PLACES[plot.layout.meta.axis] || String)(place.at);
  return [where, ...(parts.length ? parts : ["nothing logged here"])].join(" · ");
}
/** @param {any} plot @param {Place} place */
export function show(plot, place) {
  const node = noteOf(plot);
  node.textContent = sentence(plot, place);
  node.classList.add("read");
}
/** What stands there while nothing is pointed at: the values at the chosen step, else the newest. @param {any} plot */
const resting = (plot) =>
  screen.cursor === null ? (notes.get(plot) ?? "") : sentence(plot, snap(plot, screen.cursor));
/** @param {any} plot */
export function hide(plot) {
  noteOf(plot).classList.remove("read");
  rest(plot);
}
/** The step, or the curves, are others: the subtitle is too, unless it is just being read. @param {any} plot */
export function rest(plot) {
  const node = noteOf(plot);
  if (!node.classList.contains("read")) node.textContent = resting(plot);
}
/** On a page without pointing: the values at a step; the text that came with the chart where there is none.
 * @param {any} plot @param {number | null} cursor */
export function stay(plot, cursor) {
  const node = noteOf(plot);
  node.textContent = cursor === null ? node.title : sentence(plot, snap(plot, cursor));
}
/** The subtitle of a chart that has been drawn. @param {any} plot @param {string} text */
export function note(plot, text) {
  notes.set(plot, text);
  rest(plot);
}
