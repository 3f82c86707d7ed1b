// @ts-check
/* Training: what changed is fetched, and drawn chart by chart so that no task is long. */
import { $, all, find, part } from "../lib/dom.js";
import { postJson } from "../lib/http.js";
import { plotly } from "../lib/plotly.js";
import { refresh } from "./menu.js";
import { attach, released } from "./pointer.js";
import * as readout from "./readout.js";
import { asked, cursorShapes, onPage, onScreen, screen } from "./state.js";

const MAIN = ["loss", "chosen", "rejected"];
/* Charts that are to be drawn; and those that nobody sees, which wait until they come on screen. */
/** @type {Set<string>} */
const due = new Set();
/** @type {Set<string>} */
const late = new Set();
/** @type {Record<string, unknown>} what of each chart is drawn */
const revisions = {};
let version = 0; // of the view: answers for an older one are not drawn
let busy = false;
let summary = false;

/** @param {string} key */
const card = (key) => find(`tr-card-${key}`);
const keys = () => all("#page-training [data-chart]").map((node) => node.dataset.chart || "");
/** @param {string} key */
const shows = (key) => onPage() && onScreen($(`tr-card-${key}`));
const pause = () => new Promise((done) => setTimeout(done));
export const settled = () => !busy && !due.size && !summary;
/** The tiles and verdicts are due too. */
export function dueSummary() {
  summary = true;
}

/** Draw what is due; elsewhere nothing is drawn until one comes here. */
export async function fetchDue() {
  if (busy || !screen.view || !onPage()) return;
  busy = true;
  try {
    while ((due.size || summary) && (await fetchBatch()));
  } finally {
    busy = false;
  }
}
/** What is looked at comes first; false where the server is away: the next look at it asks again. */
async function fetchBatch() {
  const seen = [...due].filter((key) => MAIN.includes(key) || shows(key));
  const batch = seen.length ? seen : [...due];
  batch.forEach((key) => due.delete(key));
  const wanted = version;
  const summed = summary;
  summary = false;
  const charts = Object.fromEntries(batch.map((key) => [key, revisions[key] ?? null]));
  const body = { ...asked(), summary: summed, charts };
  const found = await postJson("/api/curves", body).catch(() => null);
  if (found?.summary && wanted === version) summarise(found.summary);
  const ready = await plotly().then(
    () => true,
    () => false,
  );
  if (!found || !ready) {
    batch.forEach((key) => due.add(key));
    summary = summary || (summed && !found);
    return false;
  }
  if (!found.span && body.span === screen.span) body.span = screen.span = null; // no run on screen has a point in it
  for (const chart of found.charts) {
    await released();
    if (wanted !== version) break; // another view is wanted by now: all are due again
    if (body.span !== screen.span) {
      batch.forEach((key) => due.add(key)); // zoomed since it was asked for: what came would show the part before
      break;
    }
    await drawChart(chart);
    await pause();
  }
  return true;
}
/* Plotly follows the window; a place that changes after it, or without it, leaves its chart too narrow or cut off. */
const places = new ResizeObserver((changed) => {
  for (const { target: plot } of /** @type {{ target: any }[]} */ (changed)) {
    const drawn = plot._fullLayout?.width ?? plot.clientWidth;
    if (plot.clientWidth && Math.abs(plot.clientWidth - drawn) >= 1) window.Plotly.Plots.resize(plot);
  }
});
/** @param {any} chart as the server has it */
async function drawChart(chart) {
  const box = card(chart.key);
  if (!box) return;
  const plot = part(box, ".plot");
  const appears = box.hidden && !chart.hidden;
  box.hidden = chart.hidden;
  if (!chart.hidden) {
    const { data, layout } = chart.figure;
    cursorShapes(layout).forEach((change, at) => Object.assign(layout.shapes[at], change));
    // A second click fits the data, also where the first look at it was a zoom.
    const options = { displayModeBar: false, responsive: true, doubleClick: "autosize" };
    await window.Plotly.react(plot, data, layout, options);
    attach(plot, drawAll);
    places.observe(plot);
    if (appears) window.Plotly.Plots.resize(plot);
    readout.note(plot, chart.note);
    $(`tr-found-${chart.key}`).textContent = chart.finding;
    $(`tr-unit-${chart.key}`).textContent = layout.meta.unit;
    refresh(box);
  }
  revisions[chart.key] = chart.revision;
}
/** @type {Record<string, string>} */
const filled = {};
/** @param {string} id @param {string} html escaped by the server (markup.py) */
function fill(id, html) {
  const node = find(id);
  if (node && filled[id] !== html) node.innerHTML = filled[id] = html;
}
const findings = () => /** @type {HTMLDetailsElement[]} */ (all("#tr-findings details"));
/** @param {HTMLElement} finding */
const titleOf = (finding) => `${finding.dataset.code}${part(finding, "h3").textContent}`;
/** Tiles and verdicts; a verdict that was opened stays open. @param {Record<string, string>} found */
function summarise({ kpis, findings: verdicts, sub, live }) {
  const open = new Map(findings().map((finding) => [titleOf(finding), finding.open]));
  fill("tr-kpis", kpis);
  fill("tr-findings", verdicts);
  for (const finding of findings()) finding.open = open.get(titleOf(finding)) ?? finding.open;
  fill("tr-sub", sub);
  fill("tr-live", live);
  $("tr-live").hidden = !live;
  $("tr-pause-box").hidden = !live && !screen.paused;
}
/** Another view: everything is due. */
export function drawAll() {
  summary = true;
  version += 1;
  keys().forEach((key) => due.add(key));
  fetchDue();
}
/** New points: charts that nobody sees wait. */
export function drawSeen() {
  for (const key of keys()) (MAIN.includes(key) || card(key)?.hidden || shows(key) ? due : late).add(key);
  fetchDue();
}
let waiting = 0;
function catchUp() {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(() => {
    for (const key of late) {
      if (!shows(key)) continue;
      late.delete(key);
      due.add(key);
    }
    fetchDue();
  });
}
for (const event of ["scroll", "resize"]) addEventListener(event, catchUp, { passive: true, capture: true });
