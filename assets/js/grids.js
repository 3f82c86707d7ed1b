// @ts-check
/* A grid of Dash is one stop of the Tab key, as a table of any program is: arrow keys walk within it. */
import { all } from "./lib/dom.js";

const STOPS = "a[href], button:enabled, input:enabled, select:enabled, textarea:enabled, summary, [tabindex]";
/** @param {HTMLElement} node */
const stops = (node) => node.tabIndex >= 0 && node.offsetParent !== null;

document.addEventListener(
  "keydown",
  (event) => {
    if (event.key !== "Tab" || event.ctrlKey || event.altKey || event.metaKey) return;
    const from = /** @type {HTMLElement} */ (event.target);
    const grid = from.closest(".ag-root-wrapper");
    // A cell that is being edited, and a filter's menu, go by the grid's own keys.
    if (!grid || from.closest(".ag-cell-inline-editing, .ag-popup")) return;
    const after = event.shiftKey ? Node.DOCUMENT_POSITION_PRECEDING : Node.DOCUMENT_POSITION_FOLLOWING;
    const outside = all(STOPS).filter(
      (node) => !grid.contains(node) && stops(node) && grid.compareDocumentPosition(node) & after,
    );
    const next = event.shiftKey ? outside.at(-1) : outside[0];
    if (!next) return;
    event.preventDefault();
    event.stopPropagation();
    next.focus();
  },
  true,
);
