// @ts-check
/* Compare: the stored answers that a first visit opens with, before anything is loaded. */
import { $, closest, field, find, put } from "../lib/dom.js";
import { progress } from "./ask.js";
import { command } from "./export.js";
import * as panes from "./panes.js";
import { about, active, changed, fieldId, PANES, state } from "./state.js";
import { sentence, setPatterns } from "./summary.js";

/** @typedef {import("./state.js").Generation} Generation */
/**
 * @typedef {object} Stored what the server has on disk (dpo/dashboard/compare/example.py)
 * @property {string} prompt
 * @property {Record<string, any>} settings
 * @property {{ policy: string, text: string, tokens: number, end: string, seen: string, prompt_tokens: number,
 *   look?: any }[]} answers
 */

const root = document.documentElement;
/** @type {Stored | null} */
let stored = null;

const isFirst = () => root.dataset.visit === "first";
/** From the first question of one's own on the page never opens with the example. */
function asked() {
  delete root.dataset.visit;
  try {
    localStorage.setItem("dpo-asked", "yes");
  } catch {
    // then the next visit is a first one again
  }
}
/**
 * Answers that were not written here and now, as a generation: by pane.
 * @param {Record<string, any>} settings with the prompt and the seed
 * @param {{ policies: string[], lambdas: number[], samples: import("./state.js").Sample[][],
 *   seen?: Generation["seen"], same_noise: boolean, stored?: boolean }} parts
 * @returns {Generation}
 */
function generationOf(settings, { policies, lambdas, samples, seen = {}, same_noise, stored: kept = false }) {
  const id = `kept-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;
  const request = /** @type {import("./state.js").Settings} */ ({ prompt: settings.prompt });
  for (const name of state.fields) request[name] = settings[name];
  return {
    ...{ id, policies, lambdas, samples, seen, same_noise, request, stored: kept },
    shown: PANES.map(() => 0),
    turns: [],
    first: settings.prompt,
    panes: PANES.filter((pane) => samples[pane]?.length),
    count: 1,
    strength: { ...state.strength },
    stream: {
      ...{ id, controller: new AbortController(), started: 0, asked: [], dirty: new Set() },
      ...{ over: true, stopping: false, job: null, note: null, seconds: "0" },
    },
  };
}
/** @param {Stored} example */
function exampleOf({ prompt, settings, answers }) {
  const samples = answers.map(({ text, tokens, end, look }) => [{ text, tokens, end, look, seed: settings.seed }]);
  return generationOf(
    { ...settings, prompt },
    {
      policies: answers.map(({ policy }) => policy),
      lambdas: answers.map(() => 1),
      samples: PANES.map((pane) => samples[pane] || []),
      seen: Object.fromEntries(answers.map(({ seen: text, prompt_tokens: tokens }, pane) => [pane, { text, tokens }])),
      same_noise: settings.same_noise,
      stored: true,
    },
  );
}
/** Whether the four panes have the policies that answered. @param {Stored} example */
const fits = ({ answers }) => PANES.every((pane) => state.picked[pane] === (answers[pane]?.policy ?? null));

/** What DPO changed in the stored answers: a sentence over all families. @param {Stored} example */
function says({ answers }) {
  const rows = answers.flatMap(({ policy, text }, place) =>
    place % 2 ? [{ name: about(policy).model || policy, base: answers[place - 1].text, tuned: text }] : [],
  );
  $("cmp-story-says").textContent = sentence(rows);
}
/** Put the stored answers on screen, with the prompt and the settings that made them above. */
function show() {
  if (!stored || state.run || !fits(stored)) return;
  says(stored);
  put("cmp-mode", { value: "Word diff" });
  bring(exampleOf(stored));
  $("status-text").textContent = "Ready, example shown";
}
/** Show a generation that is over. @param {Generation} run */
function bring(run) {
  state.run = run;
  state.wanted = { ...run.request };
  panes.layOut();
  active().forEach(panes.show);
  panes.seen();
  panes.belong();
  progress();
  $("cmp-command").textContent = command(run);
  $("cmp-repro").hidden = false;
  changed();
}
/**
 * A row of the table of many prompts as the usual panes.
 * @param {import("../many/many.js").Row} row
 * @param {import("../many/many.js").Table} table
 */
function openRow(row, { policies, lambdas, panes: places, settings, same_noise }) {
  const sides = { policies: /** @type {string[]} */ ([]), lambdas: PANES.map(() => 1) };
  /** @type {import("./state.js").Sample[][]} */
  const samples = PANES.map(() => []);
  places.forEach((pane, place) => {
    sides.policies[pane] = policies[place];
    sides.lambdas[pane] = lambdas[place];
    samples[pane] = [{ ...row.cells[place], seed: settings.seed }];
  });
  put("cmp-prompt", { value: row.prompt });
  for (const name of state.fields) put(fieldId(name), { value: settings[name] });
  bring(generationOf({ ...settings, prompt: row.prompt }, { ...sides, samples, same_noise }));
}
/** Where the policies and the example have come, in whatever order. */
export function open() {
  if (isFirst()) show();
}
/** @param {Stored | null} example @param {Record<string, [string, string]> | null} patterns */
export function take(example, patterns) {
  setPatterns(patterns || {});
  stored = example;
  open();
}
/** From the example to a question of one's own: its answers stay until then. */
function fold() {
  delete root.dataset.visit;
  field("cmp-prompt").focus();
  field("cmp-prompt").select();
}
/** The example again, whatever stands there. */
function again() {
  if (!stored) return;
  state.run = null;
  stored.answers.forEach(({ policy }, pane) => put(`cmp-policy-${pane}`, { value: policy }));
  for (const pane of PANES) {
    state.picked[pane] = stored.answers[pane]?.policy ?? null;
    delete state.linked[pane];
    if (pane >= stored.answers.length) put(`cmp-policy-${pane}`, { value: null });
  }
  put("cmp-prompt", { value: stored.prompt });
  for (const name of state.fields) put(fieldId(name), { value: stored.settings[name] });
  root.dataset.visit = "first";
  show();
  find("cmp-story-try")?.focus();
}

document.addEventListener("compare", () => {
  if (state.run && !state.run.stored) asked();
});
document.addEventListener("compare-open", (event) => {
  const { row, table } = /** @type {CustomEvent} */ (event).detail;
  openRow(row, table);
});
document.addEventListener("click", (event) => {
  if (closest(event, "#cmp-story-try, #cmp-story-change")) fold();
  if (closest(event, "#cmp-story-again")) again();
});
