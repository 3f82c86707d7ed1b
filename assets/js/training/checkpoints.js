// @ts-check
/* Training: a prompt of one's own, answered by every checkpoint of the runs on screen, one after the other. */
import { $, closest, field, put } from "../lib/dom.js";
import { messageOf, postJson } from "../lib/http.js";
import { stream } from "../lib/stream.js";
import { screen } from "./state.js";

/** @type {Record<string, Record<string, [step: number, text: string][]>>} by prompt and run */
const answers = {};
let stopped = false;
let busy = false;
/** @type {string | null} */
let job = null;

/** @param {string} text @param {boolean} [bad] */
function notify(text, bad = false) {
  $("tr-ask-message").textContent = text;
  $("tr-ask-message").classList.toggle("error-line", bad);
}
/** @param {boolean} on */
function working(on) {
  busy = on;
  $("tr-ask-go-box").hidden = on;
  $("tr-ask-stop-box").hidden = !on;
}
function cancel() {
  if (job !== null) postJson("/api/cancel", { job }).catch(() => {});
}

/**
 * A checkpoint's answer, null where it was stopped. Greedy: what differs between two steps is then what was learnt
 * between them.
 * @param {string} prompt
 * @param {string} policy
 * @param {string} label
 */
async function answer(prompt, policy, label) {
  let text = "";
  let failed = "";
  let ended = false;
  job = null;
  const body = { prompt, policies: [policy], temperature: 0, max_new_tokens: 96 };
  await stream("/api/generate", body, {
    job(data) {
      job = data.job;
      if (stopped) cancel();
    },
    queued({ position }) {
      if (position) notify(`${label} · ${position} ahead in the queue`);
    },
    loading: () => notify(`${label} · reading the policy`),
    start: () => notify(`${label} · writing`),
    token(data) {
      text += data.text;
    },
    done(data) {
      text += data.text;
      ended = true;
    },
    failed({ message }) {
      failed = message;
    },
  });
  job = null;
  if (failed) throw new Error(failed);
  return ended ? text : null;
}
/** @param {string} prompt */
async function everywhere(prompt) {
  stopped = false;
  working(true);
  notify("Looking for checkpoints");
  try {
    await askAll(prompt, await postJson("/api/checkpoints", { runs: screen.view?.runs || [] }));
  } catch (error) {
    notify(messageOf(error), true);
  }
  working(false);
}
/**
 * @param {string} prompt
 * @param {{ policies: { run: string, label: string, step: number, policy: string }[], notes: string[] }} checkpoints
 */
async function askAll(prompt, { policies, notes }) {
  const problems = [];
  let done = 0;
  if (answers[prompt]) put("tr-prompt", { value: prompt }); // asked again
  /** @type {Record<string, [step: number, text: string][]>} */
  const mine = (answers[prompt] = {});
  for (const [place, { run, label, step, policy }] of policies.entries()) {
    if (stopped) break;
    try {
      const text = await answer(prompt, policy, `Answer ${place + 1} of ${policies.length}: ${label}, step ${step}`);
      if (stopped || text === null) continue;
      (mine[run] ??= []).push([step, text]);
      put("tr-own", { data: structuredClone({ prompt, answers }) });
      done += 1;
    } catch (error) {
      problems.push(`${label}, step ${step}: ${messageOf(error)}`);
    }
  }
  const count = policies.length ? `${stopped ? "Stopped: " : ""}${done} of ${policies.length} answered` : "";
  const parts = [count, ...notes, ...problems].filter(Boolean);
  notify(parts.join(" · ") || "Choose a run at the left", problems.length > 0);
}
function begin() {
  if (busy) return;
  const prompt = field("tr-ask").value.trim();
  if (prompt) everywhere(prompt);
  else {
    notify("The prompt is blank: write a question or a sentence", true);
    field("tr-ask").focus();
  }
}
document.addEventListener("click", (event) => {
  if (closest(event, "#tr-ask-go")) begin();
  if (closest(event, "#tr-ask-stop")) {
    stopped = true;
    cancel();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && closest(event, "#tr-ask")) begin();
});
