// @ts-check
/* Voting on Compare, prompt after prompt: the next one, past those whose answers are equal, and one vote back. */
import { $, button, closest, field, find, plainKey, put } from "../lib/dom.js";
import { counted } from "../lib/format.js";
import { getJson, messageOf, postJson } from "../lib/http.js";
import { voter } from "../lib/voter.js";
import { start } from "./ask.js";
import * as blind from "./blind.js";
import { active, onPage, sampleOf, state, writing } from "./state.js";

/** @typedef {import("./state.js").Generation} Generation */
/** @typedef {{ key: string, row: number, run: Generation, prompt: string }} Stored a vote of this tab */

const ENDED = ["eos", "length", "stop"];
/** In a row; policies that agree so often are one policy. */
const MOST_SKIPPED = 5;

/** @param {number[]} panes of a row */
export const areComplete = (panes) =>
  panes.length === 2 && panes.every((pane) => ENDED.includes(sampleOf(pane)?.end || ""));
/** @param {number[]} panes of a row */
export const areSame = (panes) =>
  areComplete(panes) && sampleOf(panes[0])?.text.trim() === sampleOf(panes[1])?.text.trim();

/** @type {Stored[]} the newest last */
const stored = [];
/** @type {string[] | null} prompts to come */
let queue = null;
/** @type {string | null} the prompt that the loop has asked */
let asked = null;
let skipped = 0;
let votes = 0;
/** What the newest step has to say. */
let message = "";

/** A vote was stored. @param {Stored} vote */
export function remember(vote) {
  stored.push(vote);
  skipped = 0;
  message = "";
  draw();
  const open = blind.rows().some(({ row, panes }) => areComplete(panes) && !areSame(panes) && !blind.votes.has(row));
  if (!open) button("cmp-loop-next").focus({ preventScroll: true }); // Enter goes on; the names are to be seen first
}
/** How many votes there are by now, of everybody. @param {number} all */
export function count(all) {
  votes = all;
  if (find("cmp-loop")) draw();
}
function draw() {
  const past = skipped ? `${counted(skipped, "prompt")} with equal answers skipped` : "";
  const so = votes ? `${counted(votes, "vote")} so far` : "No votes yet";
  $("cmp-loop-note").textContent = $("cmp-loop-note").title = [so, past, message].filter(Boolean).join(" · ");
  $("cmp-loop").classList.toggle("can-undo", stored.length > 0);
}
/** @param {string} text */
function notify(text) {
  message = text;
  draw();
}
async function next() {
  if (writing()) return;
  message = "";
  try {
    if (!queue?.length) queue = (await getJson(`/api/votes/prompts?${new URLSearchParams({ voter })}`)).prompts;
  } catch (error) {
    notify(messageOf(error));
    return;
  }
  const here = field("cmp-prompt").value.trim();
  const prompt = queue?.filter((one) => one !== here)[0];
  if (!prompt) {
    notify("You have voted on every prompt here: write one of your own");
    return;
  }
  queue = (queue || []).filter((one) => one !== prompt && one !== here);
  asked = prompt;
  put("cmp-prompt", { value: prompt });
  const { wanted } = state;
  // Not by the button, which may be pressed before Dash has taken the prompt; it says what is missing.
  if (wanted && state.fields.every((name) => typeof wanted[name] === "number")) start({ ...wanted, prompt }, active());
  else $("cmp-generate").click();
}
/** Where every row says the same twice, there is nothing to choose. */
function skip() {
  const { run } = state;
  if (!run || run.first !== asked || writing() || run.turns.some((turns) => turns?.length)) return;
  asked = null;
  const rows = blind.rows().filter(({ panes }) => panes.length === 2);
  if (!rows.length || !rows.every(({ panes }) => areSame(panes))) return;
  skipped += 1;
  if (skipped >= MOST_SKIPPED) notify("These policies say the same again and again");
  else next();
}
async function undo() {
  const last = stored.at(-1);
  if (!last) return;
  try {
    const { undone } = await postJson("/api/votes/undo", { key: last.key, voter });
    stored.pop();
    message = undone ? `the vote on “${last.prompt.slice(0, 40)}” is taken back` : "that vote was gone already";
  } catch (error) {
    notify(messageOf(error));
    return;
  }
  if (state.run?.id === last.run.id && blind.votes.delete(last.row)) blind.see(last.row);
  document.dispatchEvent(new Event("votes-changed"));
  draw();
}

document.addEventListener("compare", () => {
  if (find("cmp-loop")) draw();
});
document.addEventListener("compare-over", skip);
document.addEventListener("click", (event) => {
  if (closest(event, "#cmp-loop-next")) {
    skipped = 0;
    next();
  }
  if (closest(event, "#cmp-loop-undo")) undo();
});
document.addEventListener("keydown", (event) => {
  if (!onPage() || !plainKey(event)) return;
  if (event.key === "n") button("cmp-loop-next").click();
  if (event.key === "u") button("cmp-loop-undo").click();
});
