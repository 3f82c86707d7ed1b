// @ts-check
/* Training: one view over all charts: which runs, which range, which step. */
import { put } from "../lib/dom.js";

/** @typedef {{ runs: string[], axis: string, smoothing: number, log: boolean, unit: string }} View */

export const screen = {
  view: /** @type {View | null} */ (null),
  /* What is zoomed in on; null for all. */
  span: /** @type {[unknown, unknown] | null} */ (null),
  /* The places of the probes on the axis, and which of them is chosen; no cursor at the newest, which needs no line. */
  probes: /** @type {(number | null)[]} */ ([]),
  place: /** @type {number | null} */ (null),
  cursor: /** @type {number | null} */ (null),
  prompts: /** @type {string[]} */ ([]),
  prompt: /** @type {string | null} */ (null),
  paused: false,
  /* Whether the other charts are being moved along: such changes are not changes of the user. */
  following: false,
};
/** What is on screen, as the server is asked for it. */
export const asked = () => ({ ...screen.view, span: screen.span });
/** Whether the page is looked at. */
export const onPage = () => location.pathname === "/training";
/** @returns {any[]} the charts that are drawn */
export const plots = () =>
  [.../** @type {NodeListOf<any>} */ (document.querySelectorAll("#page-training .plot.js-plotly-plot"))].filter(
    (plot) => plot._fullLayout,
  );
/** Whether it can be seen. @param {Element} node */
export function onScreen(node) {
  const box = node.getBoundingClientRect();
  return box.bottom > 0 && box.top < innerHeight && box.width > 0;
}
const MOST_RUNS = 6; // that are drawn at once (dpo/dashboard/run_reader.py)
/**
 * Put a run on screen: beside those that are there, or alone.
 * @param {string} run
 * @param {boolean} [alone]
 */
export function showRun(run, alone = false) {
  const others = (screen.view?.runs || []).filter((other) => other !== run);
  put("tr-selected", { value: alone ? [run] : [...others.slice(-MOST_RUNS + 1), run] });
}
/**
 * The line at the chosen step, the first shape of every figure, and what comes after it, the last one, which is faded.
 * @param {{ shapes?: any[] }} layout
 * @param {number | null} [cursor]
 */
export function cursorShapes({ shapes = [] }, cursor = screen.cursor) {
  const x = cursor ?? 0;
  const visible = cursor !== null;
  return shapes.map(({ name, x1 }) => {
    if (name === "cursor") return { x0: x, x1: x, visible };
    return name === "ahead" ? { x0: Math.min(x, x1), visible: visible && x < x1 } : {};
  });
}
/**
 * What moves the line of a figure to a step: the chosen one, if no other is given.
 * @param {any} layout
 * @param {number | null} [cursor]
 */
export const moved = (layout, cursor) =>
  Object.fromEntries(
    cursorShapes(layout, cursor).flatMap((change, at) =>
      Object.entries(change).map(([name, value]) => [`shapes[${at}].${name}`, value]),
    ),
  );
/** Do the same to all charts. @param {(plot: any) => unknown} act */
export async function follow(act) {
  screen.following = true;
  try {
    await Promise.all(plots().map(act));
  } finally {
    screen.following = false;
  }
}
