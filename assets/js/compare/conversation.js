// @ts-check
/* Compare: goes on from answers, every pane from its own. */
import { $, field, put } from "../lib/dom.js";
import { start } from "./ask.js";
import * as panes from "./panes.js";
import { active, changed, PANES, sampleOf, state, writing } from "./state.js";

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

document.addEventListener("compare", offer);
