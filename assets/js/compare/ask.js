// @ts-check
/* Compare: asks for answers, and follows them to their end. */
import { $, none } from "../lib/dom.js";
import { aborted, messageOf, postJson, Unreachable } from "../lib/http.js";
import { shuffled } from "../lib/shuffled.js";
import { stream as follow } from "../lib/stream.js";
import { isBlind } from "./blind.js";
import { halted, handlers } from "./events.js";
import { command } from "./export.js";
import { remember } from "./link.js";
import * as panes from "./panes.js";
import { about, active, changed, lambdaOf, PANES, problem, state, writing } from "./state.js";

/**
 * @typedef {import("./state.js").Generation} Generation
 * @typedef {import("./state.js").Settings} Settings
 * @typedef {import("./state.js").Stream} Stream
 * @typedef {object} Start
 * @property {Generation | null} [into] the generation of which these panes are asked again
 * @property {Generation | null} [from] the one that is gone on from
 * @property {import("./state.js").Turns[]} [turns] what each pane's conversation was so far
 * @property {string} [first] the prompt that it began with
 */

/* ---- progress of the whole ---- */
/** @param {Stream} stream */
const seconds = (stream) => ((performance.now() - stream.started) / 1000).toFixed(1);

export function progress() {
  const run = /** @type {Generation} */ (state.run);
  const { stream } = run;
  const all = run.panes.flatMap((pane) => run.samples[pane]);
  const stopped = all.filter((sample) => sample?.end === "cancelled" || sample?.stopped).length;
  const finished = all.filter((sample) => sample?.end || sample?.failed).length;
  const whole = all.filter((sample) => (sample?.end && sample.end !== "cancelled") || sample?.failed).length;
  const live = all.some((sample) => sample?.live);
  let text = stream.note || "Waiting";
  if (run.stored) text = "A stored example";
  else if (run.id.startsWith("kept-")) text = "From the table";
  else if (stream.over) {
    const from = run.created ? "from the history" : `${stream.seconds} s`;
    text = `${whole} of ${all.length} answered${stopped ? `, ${stopped} stopped` : ""} · ${from}`;
  } else if (live)
    text = `Writing answer ${Math.min(finished + 1, all.length)} of ${all.length} · ${seconds(stream)} s`;
  $("cmp-progress").textContent = text;
  const status = stream.over ? "Ready" : stream.note && !live ? stream.note : "Writing answers";
  if ($("status-text").textContent !== status) $("status-text").textContent = status;
  $("status-dot").classList.toggle("idle", stream.over);
}
/** @param {boolean} on */
function busy(on) {
  $("cmp-generate-box").hidden = on;
  $("cmp-stop-box").hidden = !on;
}
/** Once a frame: what has arrived since the last one. */
function paint() {
  if (!state.run || !writing()) return;
  const { dirty } = state.run.stream;
  for (const pane of dirty) {
    panes.draw(pane);
    panes.chips(pane);
  }
  dirty.clear();
  progress();
  requestAnimationFrame(paint);
}

/* ---- asking ---- */
/** What is sent for a pane. @param {Generation} mine @param {number} pane */
function policyOf(mine, pane) {
  const policy = mine.policies[pane];
  const lambda = mine.lambdas[pane];
  const turns = mine.turns[pane] || [];
  return lambda === 1 && !turns.length ? policy : { policy, lambda, turns };
}
/** @param {number[]} asked @returns {Stream} */
const newStream = (asked) => ({
  id: crypto.getRandomValues(new Uint32Array(3)).join("-"),
  controller: new AbortController(),
  started: performance.now(),
  asked,
  dirty: new Set(),
  over: false,
  stopping: false,
  job: null,
  note: null,
});
/** @param {Settings} request @param {number[]} asked @param {Start} start @returns {Generation} */
function newGeneration(request, asked, { from = null, turns = [], first = request.prompt }) {
  return {
    id: "",
    samples: [],
    shown: PANES.map(() => 0),
    policies: [],
    lambdas: [],
    turns,
    first,
    panes: asked,
    request,
    count: state.samples,
    seen: {},
    same_noise: from ? from.same_noise : state.noise,
    strength: { ...(from || state).strength },
    stream: newStream(asked),
  };
}
/**
 * Ask some panes. One that is asked again, or goes on, has the λ that it had.
 * @param {Settings} request
 * @param {number[]} wanted
 * @param {Start} [options]
 */
export async function start(request, wanted, options = {}) {
  if (writing()) halt();
  problem("");
  const { into = null } = options;
  const before = into || options.from;
  const earlier = copyOf(state.run);
  const count = into ? 1 : state.samples;
  const mine = (state.run = into || newGeneration(request, wanted, options));
  mine.stored = false;
  mine.created = undefined;
  mine.key ??= crypto.getRandomValues(new Uint32Array(4)).join("-");
  // The order in which answers are written would give blind policies away.
  const stream = (mine.stream = newStream(isBlind() ? shuffled(wanted) : wanted));
  mine.id = stream.id;
  for (const pane of wanted) {
    const picked = /** @type {string} */ (state.picked[pane]);
    const known = before?.policies[pane] === picked ? before.lambdas[pane] : undefined;
    mine.samples[pane] = Array.from({ length: count }, (_, index) => ({
      text: "",
      tokens: 0,
      seed: request.seed + index,
    }));
    mine.shown[pane] = 0;
    mine.policies[pane] = picked;
    mine.lambdas[pane] = known ?? lambdaOf(picked);
  }
  remember(mine);
  panes.layOut();
  active().forEach((pane) => (wanted.includes(pane) ? panes.waiting(pane) : panes.show(pane)));
  panes.seen();
  panes.belong();
  busy(true);
  progress();
  changed();
  $("cmp-command").textContent = command(mine);
  requestAnimationFrame(paint);
  const heard = await receive(mine, stream, request, count);
  finish(mine, stream);
  if (!heard && state.run === mine) undo(earlier);
}
/** @param {Generation | null} run */
function copyOf(run) {
  if (!run) return null;
  const { samples, shown, policies, lambdas } = run;
  const parts = { samples: [...samples], shown: [...shown], policies: [...policies], lambdas: [...lambdas] };
  return { run, was: { ...run, ...parts } };
}
/**
 * What stood there before a request that the server never heard of.
 * @param {ReturnType<typeof copyOf>} earlier
 */
function undo(earlier) {
  state.run = earlier ? Object.assign(earlier.run, earlier.was) : null;
  panes.layOut();
  active().forEach(panes.show);
  panes.seen();
  panes.belong();
  if (state.run) {
    $("cmp-command").textContent = command(state.run);
    progress();
  } else {
    $("cmp-progress").textContent = "";
    $("cmp-repro").hidden = true;
  }
  changed();
}
/**
 * Whether the server heard of it.
 * @param {Generation} mine @param {Stream} stream @param {Settings} request @param {number} count of samples
 */
async function receive(mine, stream, request, count) {
  const { asked } = stream;
  const body = {
    ...request,
    policies: asked.map((pane) => policyOf(mine, pane)),
    samples: count,
    same_noise: mine.same_noise,
    log_ratios: state.mode === "Reward tint" && asked.some((pane) => about(mine.policies[pane]).tuned),
  };
  let ended = false;
  const finished = /** @param {any} data */ (data) => {
    ended = true;
    agreement(mine, asked, data.same_tokens);
  };
  try {
    const acts = handlers(mine, stream, { cancel, finished });
    await follow("/api/generate", body, acts, stream.controller.signal);
    if (!ended && !stream.over) throw new Error("The connection ended early; the text so far stays.");
  } catch (error) {
    if (aborted(error) || state.run !== mine || stream.over) return true;
    problem(messageOf(error));
    if (error instanceof Unreachable) return false;
    for (const pane of asked) {
      if (mine.samples[pane].some((sample) => sample.text)) continue;
      mine.samples[pane] = [];
      panes.show(pane);
    }
  }
  return true;
}
/**
 * How much of two answers in a row is the same, token by token.
 * @param {Generation} mine
 * @param {number[]} asked
 * @param {{ arms: [number, number], share: number }[]} [shares]
 */
export function agreement(mine, asked, shares = []) {
  for (const { arms, share } of shares) {
    const [a, b] = arms.map((place) => asked[place]);
    if (a === (b ^ 1)) (mine.same ??= {})[a >> 1] = share;
  }
}
/** @param {Generation} mine @param {Stream} stream */
function finish(mine, stream) {
  if (stream.over) return;
  stream.over = true;
  stream.seconds = seconds(stream);
  stream.asked.forEach((pane) => mine.samples[pane].forEach((_, index) => halted(mine, pane, index)));
  if (state.run !== mine || mine.stream !== stream) return;
  busy(false);
  mine.panes.forEach(panes.differ);
  progress();
  $("cmp-repro").hidden = false;
  changed();
  kept(mine);
  reward(mine).then((found) => found && kept(mine));
}
/** It is over, or has gained scores: the history takes it. @param {Generation} mine */
const kept = (mine) => document.dispatchEvent(new CustomEvent("compare-over", { detail: mine }));
/** @param {Stream} stream */
function cancel(stream) {
  postJson("/api/cancel", { job: stream.job }).catch(none);
}
/** The server ends a job that it has begun, and says how; one whose number is not known yet is left. */
export function stop() {
  if (!state.run || !writing()) return;
  const { stream } = state.run;
  stream.stopping = true;
  if (stream.job) cancel(stream);
  else halt();
}
/** At once, because something else takes its place: what it still says is not heard. */
export function halt() {
  const mine = /** @type {Generation} */ (state.run);
  const { stream } = mine;
  if (stream.job) cancel(stream);
  finish(mine, stream);
  stream.controller.abort();
}
/** The implicit reward of finished answers, for chips and tint; whether any was found. @param {Generation} mine */
async function reward(mine) {
  const { id } = mine;
  let found = false;
  /** Whether nothing else was asked meanwhile. */
  const current = () => state.run === mine && mine.id === id && mine.stream.over;
  for (const pane of mine.panes) {
    const { policy, tuned, note } = about(mine.policies[pane]);
    if (!tuned || note) continue;
    for (const [index, sample] of mine.samples[pane].entries()) {
      if (!current()) return found;
      if (!sample.end || !sample.text.trim() || sample.look) continue;
      const look = await scoreOf({ policies: [policy], ...questionOf(mine, pane), texts: [sample.text] });
      if (!look) return found; // a chip less
      sample.look = look;
      found = true;
      if (!current() || mine.shown[pane] !== index) continue;
      panes.draw(pane);
      panes.chips(pane);
    }
  }
  return found;
}
/** What an answer is scored as an answer to; a later turn with those before it. @param {Generation} mine
 * @param {number} pane */
function questionOf({ turns, request: { prompt } }, pane) {
  if (!turns[pane]?.length) return { prompt };
  const before = turns[pane].flatMap(([question, answer]) => [
    { role: "user", content: question },
    { role: "assistant", content: answer },
  ]);
  return { messages: [...before, { role: "user", content: prompt }] };
}
/** How Lens scores an answer; null where it cannot. @param {unknown} body */
export async function scoreOf(body) {
  /** @type {import("./state.js").Look | null} */
  let look = null;
  const result = /** @param {any} data */ (data) => {
    [look] = data.texts;
  };
  await follow("/api/lens/look", body, { result }).catch(none);
  return look;
}
/** Another answer in one pane. @param {number} pane */
export function again(pane) {
  const { run } = state;
  if (!run || !state.picked[pane]) return;
  if (!run.panes.includes(pane)) run.panes.push(pane);
  start({ ...run.request, seed: Math.floor(Math.random() * 1e6) }, [pane], { into: run });
}
