// @ts-check
/* Training: whether anything is new is asked every second while a run trains, every five seconds else. */
import { find, put } from "../lib/dom.js";
import { getJson } from "../lib/http.js";
import { heard } from "./alerts.js";
import { drawSeen, dueSummary, fetchDue } from "./drawing.js";
import { screen } from "./state.js";

/** @typedef {{ running: boolean, signature: string, list: unknown, answers: unknown, text: string,
 *   watched: import("./alerts.js").Watched[] }} News */

/** @type {News | null} */
let known = null;
let ticks = 0;

/** New points are drawn. Tiles and verdicts need not follow every one; the end of a run they do.
 * @param {News} now @param {News} before */
function drawNews(now, before) {
  if (screen.paused || now.signature === before.signature) return;
  if (!now.running || now.list !== before.list || ticks % 3 === 0) dueSummary();
  drawSeen();
}
/** @param {News} now */
function take(now) {
  const before = known;
  ticks += 1;
  if (screen.view && before) drawNews(now, before);
  fetchDue();
  if (screen.view && now.list !== before?.list) put("tr-list", { data: now.list });
  if (screen.view && before && now.answers !== before.answers) put("tr-answers", { data: now.answers });
  heard(now.watched);
  const status = find("status-runs");
  if (status) status.textContent = now.text;
  known = screen.paused && before ? { ...now, signature: before.signature } : now;
}
async function poll() {
  let wait = 5000;
  try {
    const now = await getJson("/api/training");
    if (now.running) wait = 1000;
    take(now);
  } catch {
    // the server is away, as the frame says; it is asked again
  }
  setTimeout(poll, wait);
}
setTimeout(poll, 500); // on every page: the status bar tells what trains
