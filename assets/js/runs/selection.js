// @ts-check
/* Runs: what was chosen stays chosen. The rows are refreshed every two seconds while something trains, and Dash's grid
   then selects again what it was told of before: a choice made in that moment would be lost. */
import { appeared } from "../lib/dom.js";

/** @param {any} api */
function keep(api) {
  /** @type {Set<string>} */
  let chosen = new Set();
  api.addEventListener("selectionChanged", (/** @type {{ source: string }} */ { source }) => {
    // The grid's own work is called api; everything else was somebody's.
    if (!source.startsWith("api")) chosen = new Set(api.getSelectedNodes().map((/** @type {any} */ row) => row.id));
  });
  api.addEventListener("rowDataUpdated", () => {
    setTimeout(() => {
      if (api.isDestroyed()) return;
      /** @type {any[]} */
      const wrong = [];
      api.forEachNode((/** @type {any} */ row) => row.isSelected() !== chosen.has(row.id) && wrong.push(row));
      for (const on of [true, false]) {
        const nodes = wrong.filter((row) => row.isSelected() !== on && chosen.has(row.id) === on);
        if (nodes.length) api.setNodesSelected({ nodes, newValue: on });
      }
    }, AFTER_DASH);
  });
}
/* ms: Dash's grid puts its selection back at once, and listens to another one again after 1 ms. */
const AFTER_DASH = 10;

appeared("rn-grid").then(() => window.dash_ag_grid?.getApiAsync("rn-grid").then(keep));
