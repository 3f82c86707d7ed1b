// @ts-check
/* Evaluate: people vote on answers of the evaluation without knowing whose they are; their votes are then counted. */
import { $, all, button, closest } from "../lib/dom.js";
import { counted } from "../lib/format.js";
import { getJson, messageOf, postJson } from "../lib/http.js";
import { shuffled } from "../lib/shuffled.js";
import { voter } from "../lib/voter.js";
import { screen } from "./state.js";

/**
 * @typedef {object} Item
 * @property {string} key
 * @property {string} prompt
 * @property {string[]} policies
 * @property {string[]} texts
 * @property {number[]} seeds
 * @property {Record<string, unknown>} settings
 * @property {number} temperature
 */
/** @type {Item[]} what is still to be voted on; the first is on screen */
let items = [];
let voted = 0;
/** Which answer stands first: the tuned policy's (0) or the other's. */
let order = [0, 1];

function draw() {
  const [item] = items;
  $("ev-ballot-ask").hidden = !item;
  button("ev-ballot-count").disabled = !voted;
  const left = item ? `${items.length} to go, without names, in an order of chance` : "All are voted on";
  $("ev-ballot-note").textContent = `${counted(voted, "vote")} of yours · ${left}`;
  if (!item) return;
  order = shuffled([0, 1]);
  $("ev-ballot-prompt").textContent = item.prompt;
  $("ev-ballot-a").textContent = item.texts[order[0]] || "(empty answer)";
  $("ev-ballot-b").textContent = item.texts[order[1]] || "(empty answer)";
}
/** @param {unknown} error */
function failed(error) {
  $("ev-ballot-note").textContent = messageOf(error);
}
/** Ask what is to be voted on. */
export async function begin() {
  const { evaluation } = screen.asked;
  if (!evaluation || !screen.view) return;
  $("ev-ballot").hidden = false;
  const query = new URLSearchParams({ evaluation, voter, temperature: String(screen.view.temperature) });
  try {
    const found = await getJson(`/api/evaluations/ballot?${query}`);
    ({ items, voted } = found);
    draw();
    $("ev-ballot").scrollIntoView({ block: "nearest" });
  } catch (error) {
    failed(error);
  }
}
/** @param {string} verdict */
async function vote(verdict) {
  const [item] = items;
  if (!item) return;
  const buttons = /** @type {HTMLButtonElement[]} */ (all("#ev-ballot-ask .vote-button"));
  for (const one of buttons) one.disabled = true;
  const [a, b] = order;
  try {
    await postJson("/api/votes", {
      key: item.key,
      voter,
      blind: true,
      prompt: item.prompt,
      verdict,
      settings: item.settings,
      temperature: item.temperature,
      policy_a: item.policies[a],
      policy_b: item.policies[b],
      text_a: item.texts[a],
      text_b: item.texts[b],
      seed_a: item.seeds[a],
      seed_b: item.seeds[b],
    });
    items.shift();
    voted += 1;
    draw();
  } catch (error) {
    failed(error);
  }
  for (const one of buttons) one.disabled = false;
}
/**
 * Make the votes verdicts of the evaluation.
 * @param {() => void} then
 */
export async function count(then) {
  button("ev-ballot-count").disabled = true;
  try {
    await postJson("/api/evaluations/votes", { evaluation: screen.asked.evaluation });
    $("ev-ballot").hidden = true;
    then();
  } catch (error) {
    failed(error);
  }
  button("ev-ballot-count").disabled = false;
}
document.addEventListener("click", (event) => {
  const verdict = closest(event, "#ev-ballot-ask .vote-button")?.dataset.verdict;
  if (verdict) vote(verdict);
  if (closest(event, "#ev-vote")) begin();
  if (closest(event, "#ev-ballot-close")) $("ev-ballot").hidden = true;
});
