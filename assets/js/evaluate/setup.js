// @ts-check
/* Evaluate: the set-up: what a size can see, how long it takes, and Start. */
import { $, button, closest, makeButton, none, put } from "../lib/dom.js";
import { counted, duration } from "../lib/format.js";
import { messageOf, postJson } from "../lib/http.js";
import { remember, screen } from "./state.js";

/** @typedef {Record<string, unknown>} Asked */

let asked = /** @type {Asked} */ ({});
let timer = 0;
let wanted = 0;
/** Whether the right to start is given. */
const may = () => !$("ev-may").textContent;

/** @param {string} text */
function problem(text) {
  $("ev-setup-problem").textContent = text;
  button("ev-start").disabled = Boolean(text) || !may();
}
/** Ask what the set-up would do, when it has not changed for a moment. */
function plan() {
  clearTimeout(timer);
  if ($("ev-setup").hidden) return;
  timer = setTimeout(ask, 400);
}
async function ask() {
  const mine = ++wanted;
  const body = asked;
  try {
    const found = await postJson("/api/evaluations/plan", body);
    if (mine !== wanted) return;
    draw(found);
    problem("");
    if (!found.missing) return;
    $("ev-work").textContent = `${workOf(found)} · measuring how long it takes`;
    const { seconds } = await postJson("/api/evaluations/time", body);
    if (mine === wanted) $("ev-work").textContent = `${workOf(found)} · answers take ${duration(seconds)} at most here`;
  } catch (error) {
    if (mine === wanted) problem(messageOf(error));
  }
}
/** @param {any} found */
function workOf({ answers, missing, verdicts, sent_to }) {
  const there = missing < answers ? `${answers} answers, ${answers - missing} of them there` : `${answers} answers`;
  const sent = sent_to.length ? ` · prompts and answers are sent to ${sent_to.join(", ")}` : "";
  return `${there} · ${verdicts} verdicts${sent}`;
}
/** @param {any} found */
function draw(found) {
  const { prompts, samples, points, needed, held_out, asked_for } = found;
  $("ev-size").textContent =
    `${counted(prompts, "prompt")}, ${counted(samples, "sample")}: sees ${points.toFixed(1)} points`;
  const found_only = prompts < asked_for ? ` Only ${held_out} prompts of these data are held out.` : "";
  $("ev-size-note").textContent =
    `A true win rate of ${(50 + points).toFixed(0)}% is found 4 times in 5; smaller gains end as “cannot tell”. ` +
    `For 5 points: ${needed} prompts.${found_only}`;
  $("ev-work").textContent = workOf(found);
  $("ev-command").textContent = found.command;
  put("ev-size-figure", { figure: found.figure });
  $("ev-sizes").replaceChildren(
    ...found.sizes.map((/** @type {{ prompts: number, samples: number, points: number }} */ one) => {
      const text = `${one.prompts} × ${one.samples} · ${one.points.toFixed(0)} points`;
      const chip = makeButton("ex", text, () => {
        put("ev-prompts", { value: one.prompts });
        put("ev-samples", { value: one.samples });
      });
      chip.setAttribute("aria-pressed", String(one.prompts === asked.prompts && one.samples === samples));
      return chip;
    }),
  );
}
/** Show the set-up, or hide it. @param {boolean} shown */
export function show(shown) {
  $("ev-setup").hidden = !shown;
  screen.asked.new = shown ? "1" : null;
  if (!shown) screen.asked.policy = [];
  remember();
  if (shown) plan();
}
/**
 * Start what is set up.
 * @param {(evaluation: string) => void} begun
 */
export async function start(begun) {
  button("ev-start").disabled = true;
  try {
    const { evaluation } = await postJson("/api/evaluations/start", asked);
    show(false);
    button("ev-start").disabled = false;
    begun(evaluation);
  } catch (error) {
    problem(messageOf(error));
  }
}
/** The policies that a link names are evaluated: on their own data, bundled ones on the sample that comes with them.
 * @param {string[]} policies */
export function choose(policies) {
  put("ev-policies", { value: policies });
  put("ev-dataset", { value: policies.some((name) => name.startsWith("demo/")) ? "sample" : null });
}

document.addEventListener("click", (event) => {
  if (closest(event, "#ev-close")) show(false);
});

/** What is set up, in the order of setup.py. @param {...any} values */
export function fields(...values) {
  const [policies, against, dataset, prompts, samples, temperatures, most, seed, judges, other, until] = values;
  asked = {
    policies: policies || [],
    against,
    dataset,
    prompts,
    samples,
    temperatures,
    max_new_tokens: most,
    seed,
    judges: [...(judges || []), ...(other?.trim() ? [other.trim()] : [])],
    until_clear: until,
  };
  plan();
  return none();
}
