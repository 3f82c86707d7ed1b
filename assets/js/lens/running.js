// @ts-check
/* Lens: the reward as it adds up along a text. */
import { $, put, remeasure } from "../lib/dom.js";
import { signed, visible } from "../lib/format.js";
import { ratio } from "../lib/heat.js";
import { lens, sides, view } from "./state.js";

/** @typedef {import("./state.js").Result} Result */

/** @param {Result} result @param {string} name */
const colorOf = (result, name) =>
  name === "chosen" || name === "rejected" ? lens.theme[name] : lens.theme.family[result.family];
/** @param {string} hex */
const faint = (hex) => `rgba(${[1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)).join(",")},.08)`;

export function running() {
  for (const place of [0, 1]) {
    const result = lens.results[place];
    $(`lens-run-card-${place}`).hidden = !result;
    if (result) drawOne(place, result);
  }
  requestAnimationFrame(remeasure);
}
/** @param {number} place @param {Result} result */
function drawOne(place, result) {
  const names = sides();
  const traces = result.texts.map((_, text) => trace(result, text, names[text]));
  const layout = structuredClone(lens.theme.layout);
  Object.assign(layout, {
    annotations: endNotes(result, traces, names),
    shapes: marks(place),
    margin: { l: 44, r: 78, t: 8, b: 40 },
    datarevision: performance.now(),
    uirevision: performance.now(),
  });
  Object.assign(layout.xaxis, {
    title: { text: "token position", font: { size: 12, color: lens.theme.neutral } },
    range: [1, Math.max(...result.texts.map((look) => look.tokens.length))],
  });
  Object.assign(layout.yaxis, { autorange: true, zeroline: true, zerolinecolor: lens.theme.neutral });
  put(`lens-run-${place}`, { figure: { data: traces, layout } });
  const title = lens.results.length > 1 ? `Running reward, ${result.label}` : "Running reward";
  $(`lens-run-title-${place}`).textContent = title;
  $(`lens-run-note-${place}`).textContent = finding(result);
}
/** @param {Result} result @param {number} text @param {string} name */
function trace(result, text, name) {
  const { tokens } = result.texts[text];
  const color = colorOf(result, name);
  let sum = 0;
  return {
    type: "scatter",
    mode: "lines",
    name,
    x: tokens.map((_, i) => i + 1),
    y: tokens.map((token) => (sum += token.reward)),
    text: tokens.map((token) => visible(token.text || "end")),
    hovertemplate: `%{text} %{y:+.3f}<extra>${name}</extra>`,
    line: { color, width: 2.25, dash: text ? "5px,3px" : "solid", shape: "hv" },
    fill: "tozeroy",
    fillcolor: faint(color),
  };
}
/** A name at the end of each curve, apart where two are close. @param {Result} result
 * @param {ReturnType<typeof trace>[]} traces @param {string[]} names */
function endNotes(result, traces, names) {
  const ends = result.texts.map((look) => look.reward);
  const notes = ends.map((y, text) => ({
    x: 1,
    xref: "paper",
    y,
    text: `${names[text]}<br>${signed(y)}`,
    showarrow: false,
    xanchor: "left",
    xshift: 8,
    yshift: 0,
    align: "left",
    font: { size: 12, color: traces[text].line.color, weight: 600 },
  }));
  const values = traces.flatMap((one) => one.y);
  const span = Math.max(...values, 0) - Math.min(...values, 0) || 1;
  if (notes.length === 2 && Math.abs(ends[0] - ends[1]) < 0.16 * span) {
    const up = ends[0] >= ends[1] ? 0 : 1;
    notes[up].yshift = 14;
    notes[1 - up].yshift = -14;
  }
  return notes;
}
/** @param {Result} result */
function finding(result) {
  const [first, second] = result.texts;
  const moves = result.texts.flatMap((look) => look.tokens.map((token) => Math.abs(ratio(token))));
  moves.sort((a, b) => b - a);
  const all = moves.reduce((a, b) => a + b, 0);
  let part = 0;
  let count = 0;
  while (count < moves.length && part < all / 2) part += moves[count++];
  const gap = second
    ? `The gap at the end is the margin: ${signed(first.reward - second.reward)}.`
    : `It ends at the reward: ${signed(first.reward)}.`;
  return `${gap} β = ${result.beta}. ${count} of ${moves.length} tokens carry half of all movement.`;
}
/** A line at the selected unit. @param {number} row */
function marks(row) {
  const { selected } = lens;
  if (!selected || selected.row !== row) return [];
  const x = lens.results[row].texts[selected.text].units[view.unit][selected.unit][0] + 1;
  const line = { color: lens.theme.neutral, width: 1 };
  return [{ type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line }];
}
/** Another unit was selected. */
export function markStep() {
  lens.results.forEach((_, row) => {
    const plot = /** @type {any} */ (document.querySelector(`#lens-run-${row} .js-plotly-plot`));
    if (plot && window.Plotly && plot.layout) window.Plotly.relayout(plot, { shapes: marks(row) });
  });
}
