// @ts-check
/* Training: the queue of trainings: what waits, runs and has ended. */
import { $, all, make, makeButton, part } from "../lib/dom.js";
import { duration } from "../lib/format.js";
import { getJson, postJson } from "../lib/http.js";
import { failed, notify } from "./form.js";
import { showRun } from "./state.js";

/**
 * @typedef {object} Job
 * @property {string} job its number
 * @property {string} run
 * @property {string} name
 * @property {string} state
 * @property {boolean} resumable
 * @property {boolean} resumes
 * @property {number} step
 * @property {number | null} max_steps
 * @property {number | null} trials
 * @property {boolean} evaluates whether it is an evaluation
 * @property {number | null} left seconds
 * @property {string | null} message
 * @property {boolean} recorded whether its run can be looked at
 * @property {string | null} base what it began with
 * @property {string | null} stage what is done before the first step
 * @property {number | null} share of the stage, from 0 to 1
 */

/** @type {Record<string, string>} */
const STATES = {
  waiting: "waiting",
  running: "training",
  stopping: "stopping, saving first",
  finished: "finished",
  stopped: "stopped",
  failed: "failed",
  cancelled: "not begun",
  interrupted: "killed",
};
/** @param {Job} job */
const stateOf = ({ state, evaluates }) => (state === "running" && evaluates ? "evaluating" : STATES[state]);
const ACTIVE = ["waiting", "running", "stopping"];
let open = false;
let timer = 0;
/* What of the answers is on screen. */
let shown = "";
let others = "";
/** @type {Set<string>} jobs whose log is open */
const logs = new Set();
/** @type {Set<string>} runs that were started here and have no record yet: they are shown once they have */
const awaited = new Set();

/** @param {Job} job */
const over = (job) => !ACTIVE.includes(job.state);
/** A button that asks the server, and then looks again. @param {string} text @param {() => Promise<unknown>} run
 * @param {string} label */
function act(text, run, label) {
  const node = makeButton("ex", text, async () => {
    node.disabled = true;
    try {
      await run();
      notify("");
    } catch (error) {
      failed(error);
    }
    node.disabled = false;
    shown = "";
    poll();
  });
  node.setAttribute("aria-label", label);
  return node;
}
/** @param {string} name @param {string} run */
const resumeButton = (name, run) => act("Resume", () => postJson("/api/jobs/resume", { run }), `Resume ${name}`);
/** To Compare, with what the run began with and what it has become. @param {Job} job */
function compareLink({ run, name, base }) {
  const href = `/?${new URLSearchParams([base || "", run].map((policy) => ["policy", policy]))}`;
  const link = make("a", { className: "ex js-nav", textContent: "Compare", href });
  link.setAttribute("aria-label", `Compare ${name} with its base`);
  return link;
}
/** @param {Job} one */
function actions(one) {
  const { job, run, name, state, resumable, recorded, trials } = one;
  const ended = !ACTIVE.includes(state);
  const found = [];
  if (recorded && trials === null) {
    const show = makeButton("ex", "Show the curves", () => showRun(run, true));
    show.setAttribute("aria-label", `Show the curves of ${name}`);
    found.push(show);
    if (state === "finished") found.push(compareLink(one));
  }
  if (trials !== null) {
    const href = `/sweep?${new URLSearchParams({ name: `${run}/${name}` })}`;
    const show = make("a", { className: "ex js-nav", textContent: "Show the sweep", href });
    show.setAttribute("aria-label", `Show the sweep ${name}`);
    found.push(show);
  }
  if (!ended && state !== "stopping") {
    const text = state === "waiting" ? "Take from the queue" : "Stop and save";
    found.push(act(text, () => postJson("/api/jobs/stop", { job }), `Stop ${name}`));
  }
  if (resumable) found.push(resumeButton(name, run));
  if (ended) {
    found.push(act("Remove from list", () => postJson("/api/jobs/forget", { job }), `Remove ${name} from the list`));
  }
  return found;
}
/** @param {Job} job */
const kindOf = (job) => `${job.state} ${job.resumable} ${job.recorded}`;
/** @param {Job} job */
function jobCard(job) {
  const state = (job.resumes ? "resumed · " : "") + stateOf(job);
  const log = make(
    "details",
    { open: logs.has(job.job) },
    make("summary", "sub", "Log"),
    make("pre", { textContent: "" }),
  );
  log.addEventListener("toggle", () => {
    if (!log.open) logs.delete(job.job);
    else {
      logs.add(job.job);
      follow(job.job);
    }
  });
  const node = make(
    "article",
    "st-job",
    make(
      "div",
      "head",
      make("b", { textContent: job.name, title: job.run }),
      make("span", job.state === "failed" ? "pill bad" : "pill", state),
    ),
    make("progress", { max: 1, value: 0, ariaLabel: `Progress of ${job.name}` }),
    make("div", "sub num"),
    make("div", "acts", ...actions(job)),
    log,
  );
  Object.assign(node.dataset, { job: job.job, state: job.state, kind: kindOf(job) });
  return node;
}
/** @param {Job} job */
function progressOf(job) {
  if (job.trials) return `${job.step} of ${job.trials} trials done`;
  if (job.max_steps) return `step ${job.step} of ${job.max_steps}`;
  const percent = job.share === null ? "" : ` ${Math.round(100 * job.share)}%`;
  return job.stage ? job.stage + percent : "";
}
/** What changes every second is written into the card; a button is never replaced under the pointer.
 * @param {HTMLElement} node @param {Job} job */
function update(node, job) {
  const left = job.left === null ? "" : `${duration(job.left)} left`;
  part(node, ".num").textContent = [progressOf(job), left, job.message || ""].filter(Boolean).join(" · ");
  const bar = /** @type {HTMLProgressElement} */ (part(node, "progress"));
  bar.hidden = over(job) || (!job.max_steps && !job.stage);
  if (job.max_steps) Object.assign(bar, { max: job.max_steps, value: job.step });
  else if (job.share !== null) Object.assign(bar, { max: 1, value: job.share });
  else bar.removeAttribute("value"); // it is not known how far it is
  return node;
}
/** The log of a job, at its end where one looked at its end. @param {string} job */
async function follow(job) {
  const box = document.querySelector(`.st-job[data-job="${job}"] pre`);
  if (!box) return;
  const { text } = await getJson(`/api/jobs/${encodeURIComponent(job)}/log`);
  const end = box.scrollHeight - box.scrollTop - box.clientHeight < 30;
  if (box.textContent !== text) box.textContent = text || "Nothing was printed yet";
  if (end) box.scrollTop = box.scrollHeight;
}
/** @param {Job[]} jobs */
function drawJobs(jobs) {
  const cards = new Map(all(".st-job").map((node) => [node.dataset.job, node]));
  const wanted = jobs.map((job) => {
    const old = cards.get(job.job);
    if (old && old.dataset.kind === kindOf(job)) return update(old, job);
    const fresh = update(jobCard(job), job);
    if (old) part(fresh, "pre").textContent = part(old, "pre").textContent;
    return fresh;
  });
  const present = [...$("st-jobs").children];
  if (!wanted.length) $("st-jobs").replaceChildren(make("p", "sub", "Nothing was started here yet."));
  else if (wanted.length !== present.length || wanted.some((node, i) => node !== present[i])) {
    $("st-jobs").replaceChildren(...wanted);
  }
}
/** @param {{ name: string, run: string, state: string, step: number | null }[]} runs */
function drawResumable(runs) {
  const listed = JSON.stringify(runs);
  if (listed === others) return;
  others = listed;
  const rows = runs.map(({ name, run, state, step }) =>
    make(
      "div",
      "st-resume",
      make("span", { textContent: name, title: run }),
      make("span", "sub num", `${state} at step ${step ?? 0}`),
      resumeButton(name, run),
    ),
  );
  $("st-resumable").replaceChildren(...(rows.length ? [make("h3", "", "Other runs that can go on"), ...rows] : []));
}
/** @param {any} found what the server says of the queue */
function draw(found) {
  const now = JSON.stringify(found);
  if (now === shown) return;
  shown = now;
  const focus = document.activeElement?.getAttribute("aria-label");
  drawJobs(found.jobs);
  drawResumable(found.resumable);
  const same = focus && document.querySelector(`#st-queue [aria-label="${CSS.escape(focus)}"]`);
  if (same instanceof HTMLElement) same.focus();
}
/** Runs that were started here are put on screen as soon as there is something to see. @param {Job[]} jobs */
function showAwaited(jobs) {
  for (const job of jobs) {
    if (!awaited.has(job.run)) continue;
    if (job.recorded) {
      awaited.delete(job.run);
      showRun(job.run);
      notify(`${job.name} trains: its curves are on the page`);
    } else if (over(job)) {
      awaited.delete(job.run);
      notify(`${job.name}: ${job.message || stateOf(job)}`, job.state !== "cancelled");
    } else notify(`${job.name} ${job.state === "waiting" ? "is in the queue" : `begins: ${progressOf(job)}`}`);
  }
}
/** A run was started: it is watched until its curves can be shown. @param {string} run */
export function watch(run) {
  awaited.add(run);
}
/** Look at the queue now, and again in a while. */
export async function poll() {
  clearTimeout(timer);
  let wait = 5000;
  try {
    const found = await getJson("/api/jobs");
    const active = found.jobs.filter((/** @type {Job} */ job) => !over(job)).length;
    if (active) wait = 1000;
    $("st-tab-queue").textContent = active ? `Queue (${active})` : "Queue";
    $("st-form").inert = !found.allowed;
    if (found.allowed) {
      showAwaited(found.jobs);
      draw(found);
      for (const job of logs) follow(job).catch(failed);
    } else notify(found.message, true);
  } catch (error) {
    if (open) failed(error);
  }
  // A closed drawer asks nothing: the charts show how runs come along, once they are there.
  if (open || awaited.size) timer = setTimeout(poll, wait);
}
/** @param {boolean} yes */
export function setOpen(yes) {
  open = yes;
}
export const isOpen = () => open;
