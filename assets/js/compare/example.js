// @ts-check
/* Compare: the stored answers that a first visit opens with, before anything is loaded. */
import { $, closest, field, find, put } from "../lib/dom.js";
import { FAMILIES } from "../lib/families.js";
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
/** The stored answers as if they had just been written. @param {Stored} example @returns {Generation} */
function generationOf({ prompt, settings, answers }) {
  const id = `example-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;
  const policies = answers.map(({ policy }) => policy);
  const seen = Object.fromEntries(
    answers.map(({ policy, seen: text, prompt_tokens: tokens }) => [about(policy).family ?? "", { text, tokens }]),
  );
  const samples = answers.map(({ text, tokens, end, look }) => [{ text, tokens, end, look, seed: settings.seed }]);
  const request = /** @type {import("./state.js").Settings} */ ({ prompt });
  for (const name of state.fields) request[name] = settings[name];
  return {
    id,
    samples: PANES.map((pane) => samples[pane] || []),
    shown: PANES.map(() => 0),
    policies,
    lambdas: policies.map(() => 1),
    turns: [],
    first: prompt,
    panes: policies.map((_, pane) => pane),
    request,
    count: 1,
    seen,
    same_noise: settings.same_noise,
    strength: Object.fromEntries(FAMILIES.map((family) => [family, 1])),
    stored: true,
    stream: {
      ...{ id, controller: new AbortController(), started: 0, asked: [], dirty: new Set() },
      ...{ over: true, stopping: false, job: null, note: null, seconds: "0" },
    },
  };
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
  state.run = generationOf(stored);
  says(stored);
  panes.layOut();
  active().forEach(panes.show);
  panes.seen();
  panes.belong();
  progress();
  $("status-text").textContent = "Ready, example shown";
  $("cmp-command").textContent = command(state.run);
  $("cmp-repro").hidden = false;
  put("cmp-mode", { value: "Word diff" });
  changed();
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
document.addEventListener("click", (event) => {
  if (closest(event, "#cmp-story-try, #cmp-story-change")) fold();
  if (closest(event, "#cmp-story-again")) again();
});
