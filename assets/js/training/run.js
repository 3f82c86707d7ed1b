// @ts-check
/* The page of a run: its charts follow the step whose answers are shown. */
import { all, none } from "../lib/dom.js";
import * as readout from "./readout.js";
import { moved } from "./state.js";

const MOST_WAIT = 20_000; // ms until a chart that was sent is drawn
let latest = 0;

/** @param {any} plot @param {number | null} cursor */
async function follow(plot, cursor) {
  await window.Plotly.relayout(plot, moved(plot.layout, cursor));
  readout.stay(plot, cursor);
}
/** The charts that are drawn, once all that were sent are; none where others were sent meanwhile.
 * @param {number} turn @returns {Promise<any[]>} */
async function drawn(turn) {
  for (const until = Date.now() + MOST_WAIT; Date.now() < until && turn === latest;) {
    const places = all("#rp-charts .dash-graph");
    const plots = places.map((place) => /** @type {any} */ (place.querySelector(".js-plotly-plot")));
    if (places.length && plots.every((plot) => plot?._fullLayout)) return plots;
    await new Promise((done) => setTimeout(done, 60));
  }
  return [];
}
export const callbacks = {
  polls: /** @param {boolean} hidden */ (hidden) => hidden,
  /** @param {number | null} place @param {number[] | null} steps */
  point(place, steps) {
    latest += 1;
    const at = place === null ? -1 : place;
    const last = (steps?.length ?? 0) - 1;
    const cursor = at >= 0 && at < last ? (steps?.[at] ?? null) : null;
    drawn(latest).then((plots) => plots.forEach((plot) => follow(plot, cursor)));
    if (steps?.length && location.pathname === "/run") {
      const query = new URLSearchParams(location.search);
      if (cursor === null) query.delete("step");
      else query.set("step", String(cursor));
      history.replaceState({}, "", `/run?${query}`);
    }
    return none();
  },
};
