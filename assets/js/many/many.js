// @ts-check
/* Compare: many prompts, one after the other, as single ones are asked; what has come stays when it is stopped. */
import { $, closest, download, field } from "../lib/dom.js";
import { counted } from "../lib/format.js";
import { aborted, messageOf, postJson } from "../lib/http.js";
import { stream as follow } from "../lib/stream.js";
import { scoreOf } from "../compare/ask.js";
import { csv, drawRow, drawTable, jsonl } from "./table.js";
import { about, active, lambdaOf, onPage, state } from "../compare/state.js";

/**
 * @typedef {object} Cell one answer of the table
 * @property {string} text
 * @property {number} tokens
 * @property {string} [end]
 * @property {string} [failed]
 * @property {import("../compare/state.js").Look} [look]
 * @typedef {object} Row
 * @property {string} prompt
 * @property {Cell[]} cells in the order of the columns
 * @property {string} [failed] why the whole prompt was refused
 * @typedef {object} Table
 * @property {string[]} policies the columns
 * @property {number[]} lambdas
 * @property {number[]} panes where each column's policy stands on the page
 * @property {Record<string, any>} settings
 * @property {boolean} same_noise
 * @property {Row[]} rows
 * @property {string} mode diff or text
 */

/** @type {Table | null} */
let table = null;
/** @type {{ controller: AbortController, job: string | null } | null} what is being asked */
let asking = null;

/** @param {string} text */
function problem(text) {
  $("cmp-many-error").textContent = text;
  $("cmp-many-error").hidden = !text;
}
/** @param {boolean} on */
function busy(on) {
  $("cmp-many-stop-box").hidden = !on;
  /** @type {HTMLButtonElement} */ ($("cmp-many-start")).disabled = on;
}
/** @param {Table} now @param {string} [end] */
function progress(now, end = "") {
  const cells = now.rows.flatMap((row) => row.cells);
  const done = cells.filter((cell) => cell.end || cell.failed).length;
  $("cmp-many-progress").textContent = `${done} of ${counted(cells.length, "answer")}${end}`;
}
/** The prompts, each once. */
const prompts = () => [
  ...new Set(
    field("cmp-many-prompts")
      .value.split("\n")
      .map((line) => line.trim())
      .filter(Boolean),
  ),
];
/** @param {string[]} asked @returns {Table} */
function newTable(asked) {
  const panes = active();
  const policies = panes.map((pane) => /** @type {string} */ (state.picked[pane]));
  const settings = Object.fromEntries(state.fields.map((name) => [name, state.wanted?.[name]]));
  return {
    policies,
    panes,
    lambdas: policies.map(lambdaOf),
    settings,
    same_noise: state.noise,
    rows: asked.map((prompt) => ({ prompt, cells: policies.map(() => ({ text: "", tokens: 0 })) })),
    mode: table?.mode || "diff",
  };
}
/** What keeps the prompts from being asked, in words; empty where nothing does. @param {string[]} asked */
function refusal(asked) {
  const most = Number($("cmp-many").dataset.most);
  if (!asked.length) return "There is no prompt: write one a line.";
  if (asked.length > most) return `${asked.length} prompts: a table holds ${most}; dpo eval asks more.`;
  const missing = state.fields.find((name) => typeof state.wanted?.[name] !== "number");
  if (missing) return `${missing.replaceAll("_", "-")} is missing: give a number under One prompt.`;
  return active().length ? "" : "No policy is chosen: choose one under One prompt.";
}
async function start() {
  const asked = prompts();
  const refused = refusal(asked);
  problem(refused);
  if (refused || asking) return;
  const now = (table = newTable(asked));
  const mine = (asking = { controller: new AbortController(), job: null });
  busy(true);
  drawTable(now);
  const began = performance.now();
  for (const row of now.rows) {
    if (mine.controller.signal.aborted) break;
    progress(now);
    await askRow(now, row, mine);
    drawRow(now, row);
  }
  const stopped = mine.controller.signal.aborted ? ", stopped" : "";
  if (asking === mine) asking = null;
  busy(false);
  drawTable(now);
  progress(now, `${stopped} in ${((performance.now() - began) / 1000).toFixed(1)} s`);
}
/** One prompt, of all policies at once. @param {Table} now @param {Row} row
 * @param {NonNullable<typeof asking>} mine */
async function askRow(now, row, mine) {
  const policies = now.policies.map((policy, place) =>
    now.lambdas[place] === 1 ? policy : { policy, lambda: now.lambdas[place] },
  );
  const body = { ...now.settings, prompt: row.prompt, policies, same_noise: now.same_noise };
  const cell = /** @param {any} data */ (data) => row.cells[data.arm];
  const handlers = {
    job: /** @param {any} data */ (data) => {
      mine.job = data.job;
      if (mine.controller.signal.aborted) withdraw(mine);
    },
    token: /** @param {any} data */ (data) => {
      cell(data).text += data.text;
      cell(data).tokens = data.tokens;
    },
    done: /** @param {any} data */ (data) => {
      cell(data).text += data.text;
      Object.assign(cell(data), { tokens: data.tokens, end: data.end });
      drawRow(now, row);
    },
    failed: /** @param {any} data */ (data) => {
      cell(data).failed = data.message;
      drawRow(now, row);
    },
  };
  try {
    await follow("/api/generate", body, handlers, mine.controller.signal);
  } catch (error) {
    if (!aborted(error)) row.failed = messageOf(error);
  }
  await reward(now, row, mine);
}
/** The implicit reward of what tuned policies answered. @param {Table} now @param {Row} row
 * @param {NonNullable<typeof asking>} mine */
async function reward(now, row, mine) {
  for (const [place, value] of now.policies.entries()) {
    const { policy, tuned, note } = about(value);
    const cell = row.cells[place];
    const wanted = tuned && !note && cell.end && cell.end !== "cancelled" && cell.text.trim();
    if (!wanted || mine.controller.signal.aborted) continue;
    cell.look = (await scoreOf({ policies: [policy], prompt: row.prompt, texts: [cell.text] })) || undefined;
  }
}
/** @param {NonNullable<typeof asking>} mine */
function withdraw(mine) {
  if (mine.job) postJson("/api/cancel", { job: mine.job }).catch(() => null);
}
function stop() {
  if (!asking) return;
  withdraw(asking);
  asking.controller.abort();
}
/** @param {boolean} on whether the table stands in place of the panes */
export function show(on) {
  delete document.documentElement.dataset.visit;
  $("cmp-many").hidden = !on;
  $("page-compare").classList.toggle("many-shown", on);
  if (on) field("cmp-many-prompts").focus();
}
/** @param {string} mode */
function setMode(mode) {
  for (const choice of document.querySelectorAll("[data-many-mode]"))
    choice.setAttribute("aria-pressed", String(/** @type {HTMLElement} */ (choice).dataset.manyMode === mode));
  if (!table) return;
  table.mode = mode;
  drawTable(table);
}
/** @param {string} kind csv or jsonl */
function exported(kind) {
  if (!table) problem("There is no table yet: ask first.");
  else if (kind === "csv") download("compare.csv", csv(table), "text/csv");
  else download("compare.jsonl", jsonl(table), "application/x-ndjson");
}
/** A row as four panes. @param {Row} row @param {Table} now */
function open(row, now) {
  show(false);
  document.dispatchEvent(new CustomEvent("compare-open", { detail: { row, table: now } }));
}

document.addEventListener("click", (event) => {
  if (closest(event, "#cmp-many-close")) show(false);
  if (closest(event, "#cmp-many-start")) start();
  if (closest(event, "#cmp-many-stop")) stop();
  const mode = closest(event, "[data-many-mode]")?.dataset.manyMode;
  if (mode) setMode(mode);
  const kind = closest(event, "[data-many-export]")?.dataset.manyExport;
  if (kind) exported(kind);
  const place = closest(event, "[data-many-row]")?.dataset.manyRow;
  if (place && table) open(table.rows[Number(place)], table);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && onPage()) stop();
});
