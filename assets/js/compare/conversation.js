// @ts-check
/* Compare: goes on from answers, every pane from its own, and brings back what was asked before. */
import { $, field, makeButton, put } from "../lib/dom.js";
import { halt, past, progress, start } from "./ask.js";
import { command } from "./export.js";
import { remember } from "./link.js";
import * as panes from "./panes.js";
import { active, changed, fieldId, PANES, sampleOf, state, writing } from "./state.js";

/** @typedef {import("./state.js").Generation} Generation */

const answered = () => (state.run ? state.run.panes.filter((pane) => sampleOf(pane)?.end) : []);

/** The box for the next turn, where there is an answer to go on from. */
function offer() {
  const { run } = state;
  const turn = Math.max(0, ...PANES.map((pane) => run?.turns[pane]?.length || 0));
  $("cmp-follow").hidden = !run || writing() || !answered().length;
  const place = turn ? `Turn ${turn + 1}. ` : "";
  $("cmp-follow-note").textContent =
    `${place}Each pane goes on from its own answer. The link keeps the first prompt only.`;
  $("cmp-over-box").hidden = !turn;
}
/**
 * Ask the next turn; false where it cannot be.
 * @param {string} text
 */
export function next(text) {
  const { run } = state;
  const going = answered();
  if (!text.trim()) {
    field("cmp-next").focus();
    return false;
  }
  if (!run || writing() || !going.length) return false;
  /** @type {import("./state.js").Turns[]} */
  const turns = PANES.map((pane) =>
    going.includes(pane) ? [...(run.turns[pane] || []), [run.request.prompt, sampleOf(pane)?.text || ""]] : [],
  );
  start({ ...run.request, prompt: text }, going, { from: run, turns, first: run.first });
  return true;
}
export function startOver() {
  if (!state.run) return;
  put("cmp-prompt", { value: state.run.first });
  state.run = null;
  active().forEach(panes.show);
  panes.layOut();
  panes.seen();
  panes.belong();
  $("cmp-repro").hidden = true;
  $("cmp-progress").textContent = "";
  changed();
  field("cmp-prompt").focus();
}

/** @type {Generation | undefined} the newest in the list on screen */
let newest;
function drawHistory() {
  if (newest === past[0]) return;
  newest = past[0];
  $("cmp-history").replaceChildren(
    ...past.map((old) => {
      const goesOn = old.turns.some((turns) => turns?.length);
      return makeButton("", (goesOn ? "↳ " : "") + old.request.prompt.slice(0, 80), () => {
        if (writing()) halt();
        bringBack(old);
      });
    }),
  );
}
/**
 * An earlier generation as it was: its answers, and above them the prompt and all settings that made them.
 * @param {Generation} old
 */
function bringBack(old) {
  state.run = old;
  put("cmp-prompt", { value: old.first });
  for (const name of state.fields) put(fieldId(name), { value: old.request[name] });
  Object.assign(state, { picked: [...old.policies], strength: { ...old.strength }, samples: old.count });
  state.noise = old.same_noise;
  PANES.forEach((pane) => {
    state.linked[pane] = old.policies[pane];
    put(`cmp-policy-${pane}`, { value: old.policies[pane] });
  });
  for (const [family, value] of Object.entries(old.strength)) put(`cmp-lambda-${family}`, { value });
  put("cmp-samples", { value: old.count });
  put("cmp-noise", { checked: old.same_noise });
  state.wanted = { ...old.request, prompt: old.first };
  remember(state.wanted);
  panes.layOut();
  active().forEach(panes.show);
  panes.seen();
  panes.belong();
  $("cmp-command").textContent = command(old);
  $("cmp-repro").hidden = false;
  progress();
  changed();
}
document.addEventListener("compare", () => {
  offer();
  drawHistory();
});
