// @ts-check
/* Training: the charts' menus: full screen, table, PNG, SVG, CSV. */
import { all, closest, download, make, part, remeasure } from "../lib/dom.js";
import { csvCell } from "../lib/format.js";
import { messageOf, postJson } from "../lib/http.js";
import { picture } from "./picture.js";
import { asked } from "./state.js";

const MOST_ROWS = 2000; // that a page shows at once; CSV has all

/** @param {HTMLElement} card */
const boxOf = (card) => part(card, ".table-box");
/** @param {HTMLElement} card */
const keyOf = (card) => card.dataset.chart || "";
/**
 * Every logged point of a chart as the server has it: a picture leaves out points, and smooths.
 * @param {HTMLElement} card
 * @returns {Promise<{ head: string[], rows: unknown[][] }>}
 */
const points = async (card) => (await postJson("/api/curves", { ...asked(), charts: {}, table: keyOf(card) })).table;
/** @param {unknown} value */
const written = (value) => (typeof value === "number" ? String(+value.toPrecision(6)) : String(value ?? ""));
/** @param {"th" | "td"} tag @param {unknown[]} values */
const row = (tag, values) => make("tr", "", ...values.map((value) => make(tag, "", written(value))));
/** @param {string} text */
const note = (text) => make("p", "sub", text);

/** @param {HTMLElement} card */
async function fill(card) {
  const box = boxOf(card);
  try {
    const { head, rows } = await points(card);
    const shown = rows.slice(0, MOST_ROWS).map((values) => row("td", values));
    const table = make("table", "", make("thead", "", row("th", head)), make("tbody", "", ...shown));
    const left = `The first ${MOST_ROWS} of ${rows.length} rows: CSV has all of them.`;
    const { scrollTop } = box;
    box.replaceChildren(table, ...(rows.length > MOST_ROWS ? [note(left)] : []));
    box.scrollTop = scrollTop;
  } catch (error) {
    box.replaceChildren(note(messageOf(error)));
  }
}
/** A table that is open belongs to the picture above it. @param {HTMLElement} card */
export function refresh(card) {
  if (!boxOf(card).hidden) fill(card);
}
/** @param {HTMLElement} card */
async function csv(card) {
  try {
    const { head, rows } = await points(card);
    const lines = [head, ...rows].map((values) => `${values.map(csvCell).join(",")}\n`);
    download(`${keyOf(card)}.csv`, lines.join(""), "text/csv");
  } catch (error) {
    boxOf(card).hidden = false;
    boxOf(card).replaceChildren(note(messageOf(error)));
  }
}
/** @param {HTMLElement} card @param {"png" | "svg"} format */
async function save(card, format) {
  try {
    download(`${keyOf(card)}.${format}`, await picture(card, format));
  } catch (error) {
    boxOf(card).hidden = false;
    boxOf(card).replaceChildren(note(messageOf(error)));
  }
}
/** @type {Record<string, (card: HTMLElement) => unknown>} */
const ACTS = {
  full: (card) => (document.fullscreenElement ? document.exitFullscreen() : card.requestFullscreen()),
  table(card) {
    boxOf(card).hidden = !boxOf(card).hidden;
    refresh(card);
  },
  csv,
  png: (card) => save(card, "png"),
  svg: (card) => save(card, "svg"),
};
/** Close the menus that are open, but for one that the click was in. @param {Event | null} event */
function closeMenus(event) {
  for (const menu of /** @type {HTMLDetailsElement[]} */ (all("details.menu-box[open]"))) {
    if (!(event?.target instanceof Node) || !menu.contains(event.target)) menu.open = false;
  }
}
document.addEventListener("click", (event) => {
  const choice = closest(event, ".js-chart");
  closeMenus(choice ? null : event);
  const card = /** @type {HTMLElement | null} */ (choice?.closest(".card"));
  if (choice && card) ACTS[choice.dataset.do || ""](card);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeMenus(null);
});
document.addEventListener("fullscreenchange", () => requestAnimationFrame(remeasure));
