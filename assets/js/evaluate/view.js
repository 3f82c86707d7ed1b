// @ts-check
/* Evaluate: an evaluation is asked for and put into the page. */
import { $, closest, find, make, makeButton, none, put } from "../lib/dom.js";
import { getJson, messageOf } from "../lib/http.js";
import * as ballot from "./ballot.js";
import * as running from "./running.js";
import * as setup from "./setup.js";
import { onPage, readLink, remember, screen } from "./state.js";
import * as table from "./table.js";

/** What was asked for last: an answer that comes later is dropped. */
let wanted = 0;

/** @param {string} message nothing where all is well */
function problem(message) {
  $("ev-problem").replaceChildren(...(message ? [make("section", "card pad problem", make("p", "", message))] : []));
}
/**
 * One of a few, as buttons.
 * @param {string} id
 * @param {[value: string, label: string][]} choices
 * @param {string} chosen
 * @param {(value: string) => void} choose
 */
function drawChoice(id, choices, chosen, choose) {
  const nodes = choices.map(([value, label]) => {
    const node = makeButton("ex", label, () => choose(value));
    node.setAttribute("aria-pressed", String(value === chosen));
    return node;
  });
  $(id).replaceChildren(...nodes);
}
/** @param {Partial<typeof screen.asked>} changed */
function ask(changed) {
  Object.assign(screen.asked, changed);
  remember();
  load();
}
function drawChoices() {
  const { judges, judge, temperatures, temperature, policies, comparisons, words_of } = screen.view;
  /** @type {[string, string][]} */
  const list = judges.map((/** @type {any} */ one) => [one.name, one.label]);
  drawChoice("ev-judges", [...list, ["", "All judges"]], judge, (value) => ask({ judge: value }));
  /** @type {[string, string][]} */
  const at = temperatures.map((/** @type {number} */ one) => [String(one), String(one)]);
  drawChoice("ev-temperatures", at.length > 1 ? at : [], String(temperature), (value) => ask({ temperature: value }));
  /** @type {[string, string][]} */
  const tuned = comparisons.map((/** @type {[string, string]} */ [policy]) => [
    policy,
    policies.find((/** @type {any} */ one) => one.policy === policy).label,
  ]);
  drawChoice("ev-words-of", [...tuned, ["", "Data: chosen against rejected"]], words_of, (value) =>
    ask({ words: value }),
  );
}
/** No line ends within an interval. @param {string} text */
const together = (text) => text.replaceAll(/(?<=\d)–(?=\d)/g, "\u2060–\u2060");
/* What is there only with an evaluation. */
const SHOWN = ["ev-result", "ev-export"];
function hide() {
  for (const id of [...SHOWN, "ev-ballot"]) $(id).hidden = true;
}
/** @param {any} view */
function draw(view) {
  screen.view = view;
  const state = view.complete ? "complete, nothing left to answer or judge" : "not complete";
  $("ev-sub").textContent = `${view.name} · written ${view.written} · ${state}`;
  $("ev-headline").textContent = together(view.headline);
  $("ev-remarks").replaceChildren(make("p", "", together(view.remarks.join(" "))));
  for (const [id, html] of [
    ["ev-facts", view.facts],
    ["ev-wins", view.wins],
    ["ev-slices", view.slices],
    ["ev-words", view.words],
    ["ev-judge-check", view.judge_check],
  ])
    $(id).innerHTML = html; // escaped by the server (markup.py)
  $("ev-slices-note").textContent = view.slices_note;
  $("ev-judge-note").textContent = view.judge_note;
  for (const key of ["temperature", "distance"]) {
    $(`ev-${key}-note`).textContent = view[`${key}_note`];
    $(`ev-${key}-card`).hidden = !view[`${key}_note`];
    put(`ev-${key}`, { figure: view[`${key}_figure`] });
  }
  for (const id of SHOWN) $(id).hidden = false;
  drawChoices();
  const several = view.judges.find((/** @type {any} */ one) => one.name === view.judge)?.orders > 1;
  $("ev-prompts-note").textContent =
    `Each strip: the judge${several ? " in both orders" : ""}, then the other judges and people. ` +
    "Solid: the tuned policy preferred, hollow: the other, – tie, × no valid verdict, · not asked.";
}
/** @param {{ path: string, name: string }[]} found */
function offer(found) {
  const choose = /** @type {HTMLSelectElement} */ ($("ev-choose"));
  choose.replaceChildren(...found.map(({ path, name }) => new Option(name, path)));
  const { evaluation } = screen.asked;
  if (evaluation && !found.some(({ path }) => path === evaluation)) choose.add(new Option(evaluation, evaluation));
  choose.value = evaluation;
  choose.hidden = !found.length && !evaluation;
}
/** What of an evaluation is asked for; the rest is the server's choice. @param {typeof screen.asked} asked */
function queryOf({ evaluation, judge, temperature, words }) {
  const query = new URLSearchParams({ evaluation });
  for (const [name, value] of Object.entries({ judge, temperature, words })) {
    if (value !== null) query.set(name, value);
  }
  return query;
}
/** Fetch what is asked for, and show it. */
async function load() {
  const asked = ++wanted;
  const started = performance.now();
  try {
    const { evaluations } = await getJson("/api/evaluations");
    if (asked !== wanted) return;
    screen.asked.evaluation ||= evaluations[0]?.path ?? "";
    offer(evaluations);
    $("ev-empty").hidden = Boolean(screen.asked.evaluation);
    const active = await running.follow();
    if (asked !== wanted) return;
    if (!screen.asked.evaluation || active) {
      problem("");
      hide();
      return;
    }
    const query = queryOf(screen.asked);
    const view = await getJson(`/api/evaluations/view?${query}`);
    if (asked !== wanted) return;
    draw(view);
    problem("");
    const { rows } = await getJson(`/api/evaluations/prompts?${query}`);
    if (asked !== wanted) return;
    screen.rows = rows.map((/** @type {any} */ row) => ({ ...row, answers: [] }));
    put("ev-search", { value: screen.asked.text });
    table.list();
    performance.measure("evaluate-open", { start: started });
    fetchAnswers(query, asked);
  } catch (error) {
    if (asked !== wanted) return;
    problem(messageOf(error));
    hide();
  }
}
/**
 * The answers come after the table, since they are most of it: the search reads them, and the links to the Lens.
 * @param {URLSearchParams} query
 * @param {number} asked
 */
async function fetchAnswers(query, asked) {
  try {
    const { answers } = await getJson(`/api/evaluations/texts?${query}`);
    if (asked !== wanted) return;
    for (const row of screen.rows) row.answers = answers[row.at] ?? [];
    table.answered();
  } catch (error) {
    if (asked === wanted) problem(messageOf(error));
  }
}

running.whenEnded(load);
/** Look at another one. @param {string} evaluation */
function turnTo(evaluation) {
  screen.asked = { ...readLink(""), evaluation };
  ask({});
}
document.addEventListener("change", (event) => {
  const choose = closest(event, "#ev-choose");
  if (!choose) return;
  turnTo(/** @type {HTMLSelectElement} */ (choose).value);
});
document.addEventListener("click", (event) => {
  if (closest(event, "#ev-new")) setup.show(true);
  if (closest(event, "#ev-start")) setup.start(turnTo);
  if (closest(event, "#ev-ballot-count")) ballot.count(load);
  const format = closest(event, "#ev-export [data-format]")?.dataset.format;
  const menu = /** @type {HTMLDetailsElement | null} */ (find("ev-export"));
  if (menu && !closest(event, "#ev-export summary")) menu.open = false;
  if (!format) return;
  const query = new URLSearchParams({ evaluation: screen.asked.evaluation, format });
  make("a", { href: `/api/evaluations/export?${query}`, download: "" }).click();
});

export const callbacks = {
  /** @param {string | null} search @param {string} pathname */
  restore(search, pathname) {
    if (pathname !== "/evaluate" || !onPage()) return none();
    screen.asked = readLink(search || "");
    const { policy } = screen.asked;
    if (policy.length) setup.choose(policy);
    setup.show(Boolean(screen.asked.new));
    screen.asked.policy = policy;
    load();
    return none();
  },
  plan: setup.fields,
};
