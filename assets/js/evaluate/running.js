// @ts-check
/* Evaluate: an evaluation is followed while it is made; it can be stopped, and gone on with. */
import { $, button, closest, make } from "../lib/dom.js";
import { glyph } from "../lib/families.js";
import { counted, duration, percent } from "../lib/format.js";
import { getJson, messageOf, postJson } from "../lib/http.js";
import { onPage, screen } from "./state.js";

/** What is called when an evaluation has ended, or has something new to show. */
let ended = () => {};
let timer = 0;
/** @type {{ evaluation: string, time: number, done: number } | null} where the rate is measured from */
let first = null;
/** @type {string | null} the evaluation that was being made when it was last looked at */
let under = null;

/** @param {() => void} then */
export function whenEnded(then) {
  ended = then;
}
/** @param {number} done @param {number} total */
function rate(done, total) {
  const now = performance.now();
  if (!first || first.evaluation !== screen.asked.evaluation || done < first.done) {
    first = { evaluation: screen.asked.evaluation, time: now, done };
  }
  const seconds = (now - first.time) / 1000;
  const made = done - first.done;
  if (seconds < 3 || made < 1) return "";
  const each = made / seconds;
  const pace = each >= 1 ? `${each.toFixed(1)} a second` : `${(60 * each).toFixed(1)} a minute`;
  return `${pace} · ${duration((total - done) / each)} left`;
}
/** @param {Node | string} name @param {number} done @param {number} total @param {string} [note] */
function bar(name, done, total, note = "") {
  const node = make("progress", { max: Math.max(1, total), value: done });
  node.setAttribute("aria-label", name instanceof Node ? name.textContent || "" : name);
  return make(
    "div",
    "ev-part",
    make("span", "", name),
    node,
    make("span", "num", `${done} of ${total}`),
    make("span", "sub", note || (done >= total ? "done" : done ? "" : "waiting")),
  );
}
/** @param {any} found */
function drawParts({ answers, verdicts }) {
  const nodes = [make("h3", "", "Answers")];
  for (const { label, family, tuned, done, total } of answers) {
    nodes.push(bar(make("span", "policy", glyph(family, tuned), label), done, total));
  }
  nodes.push(make("h3", "", "Verdicts"));
  for (const { label, done, total, failed } of verdicts) {
    nodes.push(bar(label, done, total, failed ? `${failed} failed, asked again on Resume` : ""));
  }
  $("ev-run-parts").replaceChildren(...nodes);
}
/** @param {any} found */
function drawLive({ live, verdicts }) {
  const nodes = [];
  if (live) {
    const word = live.value > 0.5 ? "ahead" : live.value < 0.5 ? "behind" : "even";
    nodes.push(
      make(
        "h3",
        "",
        `${live.judge}: ${live.policy} is ${word}, ${percent(live.value, 1)} after ${counted(live.n, "prompt")}.`,
      ),
      make("p", "", live.clear ? "Clear already." : "Not clear yet."),
      make(
        "p",
        "sub",
        `This interval may be looked at at any time (a confidence sequence): ${percent(live.low, 1)} to ` +
          `${percent(live.high, 1)}. The fixed one is shown at the end.`,
      ),
    );
  } else nodes.push(make("p", "sub", "Judging begins when the answers are there."));
  for (const { label, failed, why } of verdicts) {
    if (failed) nodes.push(make("p", "error-line", `${label} gave no verdict ${failed} times: ${why}. No ties.`));
  }
  const text = nodes.map((node) => node.textContent).join("");
  if ($("ev-run-live").textContent !== text) $("ev-run-live").replaceChildren(...nodes);
}
const TITLES = /** @type {Record<string, string>} */ ({
  waiting: "Waiting in the queue",
  running: "Answering and judging",
  stopping: "Stopping",
  stopped: "Stopped",
  failed: "Failed",
  cancelled: "Taken from the queue",
  interrupted: "Its process was killed",
});
/** @param {any} found */
function draw({ job, progress }) {
  const active = !job.over;
  const share = progress?.total ? progress.done / progress.total : 0;
  const done = Math.floor(100 * share);
  $("ev-run-title").textContent = TITLES[job.state] + (progress && job.state === "running" ? `, ${done}%` : "");
  const last = job.log.trim().split("\n").at(-1) || "";
  const state = active ? (progress ? rate(progress.done, progress.total) : last || "Reading data and policies") : "";
  const keeps = "everything that is done is kept, also if this page is closed";
  $("ev-run-note").textContent = [state, active ? keeps : job.message].filter(Boolean).join(" · ");
  Object.assign($("ev-run-bar"), { value: share });
  if (progress) {
    drawParts(progress);
    drawLive(progress);
  }
  $("ev-run-parts").hidden = $("ev-run-live").hidden = !progress;
  button("ev-stop").hidden = !active || job.state === "stopping";
  button("ev-resume").hidden = active;
  $("ev-running").hidden = job.state === "finished";
}
/** Look how far the evaluation is, and again while it is made; true while it is. */
export async function follow() {
  clearTimeout(timer);
  const { evaluation } = screen.asked;
  if (!evaluation || !onPage()) return false;
  let active;
  try {
    const found = await getJson(`/api/evaluations/progress?${new URLSearchParams({ evaluation })}`);
    if (evaluation !== screen.asked.evaluation) return false;
    active = Boolean(found.job && !found.job.over);
    if (found.job) draw(found);
    else $("ev-running").hidden = true;
    const over = !active && under === evaluation;
    under = active ? evaluation : null;
    if (over) ended();
  } catch (error) {
    $("ev-run-note").textContent = messageOf(error);
    active = !$("ev-running").hidden;
  }
  if (active) timer = setTimeout(follow, 1000);
  return active;
}
/** @param {"stop" | "resume"} what */
async function tell(what) {
  button(`ev-${what}`).disabled = true;
  const { evaluation } = screen.asked;
  try {
    await postJson(`/api/evaluations/${what}`, { evaluation });
    first = null;
    await follow();
  } catch (error) {
    $("ev-run-note").textContent = messageOf(error);
  }
  button(`ev-${what}`).disabled = false;
}
document.addEventListener("click", (event) => {
  if (closest(event, "#ev-stop")) tell("stop");
  if (closest(event, "#ev-resume")) tell("resume");
});
