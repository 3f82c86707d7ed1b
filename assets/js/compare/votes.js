// @ts-check
/* Voting on Compare: the buttons under each row, and what the votes say. */
import { $, all, button, closest, make, none, plainKey, put } from "../lib/dom.js";
import { counted, percent, signed } from "../lib/format.js";
import { getJson, messageOf, postJson, Unreachable } from "../lib/http.js";
import * as blind from "./blind.js";
import * as loop from "./loop.js";
import { voter } from "../lib/voter.js";
import { redraw } from "./panes.js";
import { onPage, sampleOf, state } from "./state.js";

/** @typedef {import("./state.js").Generation} Generation */

/** @type {string | undefined} the generation that the rows are arranged for */
let arrangedFor;

/** A policy turned up or down is another competitor. @param {Generation} run @param {number} pane */
const competitor = (run, pane) =>
  run.policies[pane] + (run.lambdas[pane] === 1 ? "" : ` (lambda ${run.lambdas[pane]})`);

/* ---- the buttons ---- */
/** What stands beside the buttons. @param {boolean} open @param {boolean} same @param {boolean} named */
function noteOf(open, same, named) {
  if (same) return "Both answers are the same: there is nothing to choose";
  if (!open) return "Vote opens when both answers are complete";
  return named ? "Which answer is better?" : "Names appear after your vote";
}
function bars() {
  for (const { row, panes } of blind.rows()) {
    const box = $(`cmp-vote-${row}`);
    const given = blind.votes.get(row);
    const named = !blind.isBlind() || blind.revealed(row);
    box.hidden = panes.length !== 2;
    const same = loop.areSame(panes);
    const open = Boolean(state.run) && loop.areComplete(panes) && !same;
    const labels = named ? panes.map((pane) => `${blind.shortName(pane)} better`) : ["A better", "B better"];
    for (const choice of box.querySelectorAll("button")) {
      const { verdict } = choice.dataset;
      if (verdict === "a" || verdict === "b") choice.textContent = labels[verdict === "a" ? 0 : 1];
      choice.disabled = !open || Boolean(given);
      choice.classList.toggle("voted", given?.verdict === verdict);
    }
    $(`cmp-vote-note-${row}`).replaceChildren(...(given ? outcome(given, panes) : [noteOf(open, same, named)]));
  }
}
/** @param {{ tally?: Record<string, any> }} vote @param {number[]} panes */
function outcome({ tally }, panes) {
  if (!tally || !state.run) return ["Storing"];
  const tuned = panes.find((pane) => $(`cmp-pane-${pane}`).dataset.tuned === "1") ?? panes[0];
  const of = tally[competitor(state.run, tuned)];
  if (!of || !of.n) return ["Stored"];
  const whole = /** @param {number} share */ (share) => Math.round(100 * share);
  const share = `${whole(of.share)}% (${whole(of.low)}–${whole(of.high)})`;
  return [`${blind.shortName(tuned)} won ${of.wins} of ${of.n} blind votes `, make("span", "pill num", share)];
}
/** The turns before, where the two answers are not the first. @param {Generation} run @param {number[]} panes */
const conversations = (run, [a, b]) =>
  run.turns[a]?.length || run.turns[b]?.length ? { turns_a: run.turns[a] || [], turns_b: run.turns[b] || [] } : {};
/** @param {number} row @param {string} verdict */
async function vote(row, verdict) {
  const { run } = state;
  const panes = blind.rows().find((order) => order.row === row)?.panes;
  if (!run || !panes || blind.votes.has(row)) return;
  const [a, b] = panes;
  const [first, second] = [sampleOf(a), sampleOf(b)];
  const { prompt, seed, ...settings } = run.request;
  /** @type {{ verdict: string, tally?: Record<string, any> }} */
  const mine = { verdict };
  blind.votes.set(row, mine);
  bars();
  const key = `${run.id}-${row}-${run.shown[a]}-${run.shown[b]}`.slice(0, 64);
  try {
    const { tally } = await postJson("/api/votes", {
      key,
      voter,
      blind: blind.isBlind() && !blind.wasSeen(row),
      prompt,
      verdict,
      settings: { ...settings, seed, same_noise: run.same_noise, ...conversations(run, panes) },
      temperature: settings.temperature,
      policy_a: competitor(run, a),
      policy_b: competitor(run, b),
      text_a: first?.text,
      text_b: second?.text,
      seed_a: first?.seed,
      seed_b: second?.seed,
    });
    mine.tally = tally;
  } catch (error) {
    blind.votes.delete(row);
    $(`cmp-vote-note-${row}`).textContent = messageOf(error);
    return;
  }
  loop.remember({ key, row, run, prompt });
  refresh();
}
function refresh() {
  blind.showNames();
  bars();
  redraw();
  load();
}

/* ---- results ---- */
/** @param {string} caption @param {string[]} head @param {string[][]} rows */
function tableOf(caption, head, rows) {
  const cells = /** @param {"th" | "td"} tag @param {string[]} texts */ (tag, texts) =>
    make("tr", "", ...texts.map((text) => make(tag, "", text)));
  const body = make("tbody", "", ...rows.map((row) => cells("td", row)));
  return make("div", "", make("table", "", make("caption", "", caption), make("thead", "", cells("th", head)), body));
}
const INTERVALS =
  "Intervals by prompt: Wilson’s for win rates; for scores bootstrap from 50 prompts on, " +
  "a normal one with fewer or where all agree.";
/**
 * An interval, where there are votes enough for one.
 * @param {{ low: number | null, high: number }} interval
 * @param {(value: number) => string} write
 */
const interval = ({ low, high }, write) => (low === null ? "too few votes" : `${write(low)} to ${write(high)}`);
/** @param {any} s */
const strength = (s) => [s.policy, signed(s.score), interval(s, signed), String(s.n)];
/** @param {any} r */
const winRate = (r) => {
  const undecided = r.win_rate === null;
  const share = undecided ? "–" : percent(r.win_rate);
  const range = undecided ? "only both bad" : interval(r, percent);
  return [`${r.first} over ${r.second}`, String(r.temperature), share, range, String(r.n)];
};
async function load() {
  let found;
  try {
    found = await getJson("/api/votes");
  } catch (error) {
    if (!(error instanceof Unreachable)) $("cmp-votes-count").textContent = messageOf(error);
    return;
  }
  const { votes, pairs } = found;
  const count = `${counted(votes, "vote")} so far, ${found.blind} blind · ${pairs} prefer an answer`;
  loop.count(votes);
  $("cmp-votes-count").textContent = votes ? count : "none yet";
  $("cmp-votes-export").textContent = `Export ${counted(pairs, "pair")}`;
  const tables = [
    ["Bradley–Terry score, log-odds", ["Policy", "Score", "95% interval", "n"], found.strengths.map(strength)],
    [
      "Win rates of all votes, a tie is half",
      ["First over second", "Temp.", "Won", "95% interval", "n"],
      found.win_rates.map(winRate),
    ],
  ];
  $("cmp-votes-tables").replaceChildren(
    ...(votes
      ? [...tables.map(([caption, head, rows]) => tableOf(caption, head, rows)), make("p", "sub", INTERVALS)]
      : [make("p", "sub", "Generate, then choose the better answer under a row.")]),
  );
  training(found.training);
}

/* ---- training on the votes ---- */
const chosen = { model: /** @type {string | null} */ (null), steps: /** @type {unknown} */ (null) };
let polling = 0;
let last = "";
/** @param {string} text @param {boolean} bad */
function notify(text, bad) {
  $("cmp-votes-message").textContent = text;
  $("cmp-votes-message").classList.toggle("error-line", bad);
}
/** @param {{ state: string, name: string, message: string }} found */
function training({ state: now, name, message }) {
  const texts = /** @type {Record<string, string>} */ ({
    idle: "",
    running: `Training ${name}: watch it under Training`,
    finished: `${name} is finished and can be chosen above`,
    failed: message,
  });
  button("cmp-votes-train").disabled = now === "running";
  notify(texts[now], now === "failed");
  clearTimeout(polling);
  if (now === "running") polling = setTimeout(load, 2000);
  if (now === "finished" && last === "running") put("cmp-pairs-poll", { n_intervals: performance.now() | 0 });
  last = now;
}
async function train() {
  const { model, steps } = chosen;
  if (!model) {
    notify("Choose the policy to train further.", false);
    return;
  }
  try {
    training(await postJson("/api/votes/train", { model, ...(typeof steps === "number" ? { max_steps: steps } : {}) }));
  } catch (error) {
    notify(messageOf(error), true);
  }
}

document.addEventListener("compare", () => {
  const { run } = state;
  if (run?.id !== arrangedFor) {
    if (run?.turns.some((turns) => turns?.length)) blind.goOn();
    else blind.forget();
    arrangedFor = run?.id;
    blind.votes.clear();
    blind.arrange();
  }
  bars();
});
document.addEventListener("compare-arranged", bars);
document.addEventListener("votes-changed", refresh);
document.addEventListener("click", (event) => {
  const choice = closest(event, ".vote-button");
  const row = choice && closest(event, ".vote")?.dataset.row;
  if (row) vote(Number(row), choice.dataset.verdict || "");
  if (closest(event, "#cmp-votes-train")) train();
});
document.addEventListener("keydown", (event) => {
  if (!onPage() || !plainKey(event)) return;
  const group = closest(event, ".vote");
  if (group && /^Arrow(Left|Right)$/.test(event.key)) {
    const buttons = all("button", group);
    const next = buttons.indexOf(/** @type {HTMLElement} */ (event.target)) + (event.key === "ArrowRight" ? 1 : -1);
    buttons[(next + buttons.length) % buttons.length].focus();
    event.preventDefault();
  }
  if (event.key === "v") focusVote();
  if (event.key === "b") $("cmp-blind").click();
});
/** To the vote of the row that is looked at; else to the first that is open. */
function focusVote() {
  const rows = blind.visibleRows();
  const open = ".vote-button:enabled";
  const row = document.activeElement?.closest(".duo") || rows.find((node) => node.querySelector(open)) || rows[0];
  /** @type {HTMLElement | null | undefined} */ (row?.querySelector(open))?.focus();
}

export const callbacks = {
  /** @param {boolean} checked */
  blind(checked) {
    blind.setBlind(Boolean(checked));
    if (checked) put("cmp-mode", { value: "Text" });
    if (blind.visibleRows().length) {
      blind.rearrange();
      redraw();
      load();
    }
    return Boolean(checked);
  },
  /** @param {string | null} model @param {unknown} steps */
  choose(model, steps) {
    Object.assign(chosen, { model, steps });
    return none();
  },
};
