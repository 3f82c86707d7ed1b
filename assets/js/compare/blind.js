// @ts-check
/* Blind voting on Compare: where each answer stands on the screen, and whose names are hidden. */
import { $, all, part } from "../lib/dom.js";
import { shuffled } from "../lib/shuffled.js";

const LETTERS = "AB";

/** @typedef {{ node: HTMLElement, row: number, panes: number[] }} Order where a row and its panes stand */

/** @type {Order[]} */
let orders = [];
let on = false;
/** @type {Map<number, { verdict: string, tally?: Record<string, any> }>} the vote on each row */
export const votes = new Map();
/* Rows whose names this conversation has shown: who goes on from there is not blind. */
const seen = new Set();

const rowNodes = () => all("#cmp-rows > .duo:not([hidden])");
/** @param {HTMLElement} node */
const panesOf = (node) => all(".pane:not([hidden])", node).map((pane) => Number(pane.dataset.pane));
/** @param {number} pane */
export const nameOf = (pane) => $(`cmp-pane-${pane}`).dataset.name || "";
/** @param {number} pane */
export const shortName = (pane) => $(`cmp-pane-${pane}`).dataset.short || nameOf(pane);

export const isBlind = () => on;
export const rows = () => orders;
export const visibleRows = rowNodes;
/**
 * Whether a row's names are shown, however blind the rest.
 * @param {number | undefined} row
 */
export const revealed = (row) => votes.has(row ?? -1) || seen.has(row);
/**
 * Whether a pane's name is hidden.
 * @param {number} pane
 */
export const hidden = (pane) => on && !revealed(orders.find((order) => order.panes.includes(pane))?.row);
/**
 * The pane that stands at a place on the screen.
 * @param {number} place
 */
export const paneAt = (place) => orders.flatMap((order) => order.panes)[place] ?? place;
/** @param {number} row */
export const wasSeen = (row) => seen.has(row);

/** A vote was taken back: the names that it showed stay known. @param {number} row */
export const see = (row) => seen.add(row);

/** @param {boolean} value */
export function setBlind(value) {
  on = value;
}
/** Another conversation: nobody has seen a name. */
export const forget = () => seen.clear();
/** The conversation goes on: names that a vote showed stay shown. */
export function goOn() {
  votes.forEach((_, row) => seen.add(row));
}

/** Rows and the answers in them stand in a new order for each generation, so that a place tells nothing. */
export function arrange() {
  const nodes = rowNodes();
  if (!nodes.length) return;
  const ordered = on ? shuffled(nodes) : nodes;
  orders = ordered.map((node) => {
    const panes = panesOf(node);
    return { node, row: Number(node.dataset.row), panes: on ? shuffled(panes) : panes };
  });
  orders.forEach(({ node, panes }, place) => {
    node.style.order = String(place);
    panes.forEach((pane, side) => {
      $(`cmp-pane-${pane}`).style.order = String(side);
    });
  });
  showNames();
}
/** The same; the votes below the rows follow. */
export function rearrange() {
  if (!rowNodes().length) return;
  arrange();
  document.dispatchEvent(new Event("compare-arranged"));
}
export function showNames() {
  const page = $("page-compare");
  let number = 0;
  page.classList.toggle("blind", on);
  page.classList.toggle(
    "all-revealed",
    orders.every(({ row }) => revealed(row)),
  );
  orders.forEach(({ node, row, panes }, place) => {
    node.classList.toggle("revealed", revealed(row));
    $(`cmp-row-name-${row}`).textContent = `Row ${place + 1}`;
    panes.forEach((pane, side) => {
      number += 1;
      namePane(pane, side, number, on && !revealed(row) ? `Row ${place + 1}, answer ${LETTERS[side]}` : "");
    });
  });
}
/**
 * @param {number} pane
 * @param {number} side
 * @param {number} number its place on the screen; a pane's own would say which it is
 * @param {string} hiddenName what it is called while its name is hidden
 */
function namePane(pane, side, number, hiddenName) {
  $(`cmp-hidden-name-${pane}`).textContent = `Answer ${LETTERS[side]}`;
  const node = $(`cmp-pane-${pane}`);
  const key = node.querySelector(".mantine-Kbd-root");
  if (key) key.textContent = String(number);
  node.classList.toggle("second", side === 1);
  node.setAttribute("aria-label", hiddenName || nameOf(pane));
  const label = hiddenName ? `Copy answer ${LETTERS[side]}` : `Copy the answer of ${nameOf(pane)}`;
  part(node, ".js-copy-answer")?.setAttribute("aria-label", label);
}
