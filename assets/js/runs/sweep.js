// @ts-check
/* Runs: a sweep from the page: the queue of trainings takes it, as it takes single runs. */
import { $, closest, copy, field } from "../lib/dom.js";
import { messageOf, postJson } from "../lib/http.js";

const plan = () => field("rn-sweep-plan").value;
/** @param {string} text @param {boolean} bad */
function notify(text, bad) {
  $("rn-sweep-message").textContent = text;
  $("rn-sweep-message").classList.toggle("error-line", bad);
}
/** @param {HTMLButtonElement} start */
async function begin(start) {
  start.disabled = true;
  try {
    const { name, trials } = await postJson("/api/jobs/sweep", { plan: plan() });
    notify(`${name}: ${trials} trials are in the queue (Training, New run, Queue)`, false);
  } catch (error) {
    notify(messageOf(error), true);
  }
  start.disabled = false;
}
document.addEventListener("click", (event) => {
  const start = closest(event, "#rn-sweep-start");
  if (start) begin(/** @type {HTMLButtonElement} */ (start));
  const copied = closest(event, "#rn-sweep-copy");
  if (copied) copy(plan(), copied);
});

export const callbacks = {
  polls: /** @param {boolean} hidden */ (hidden) => hidden,
  close: () => false,
  clear: () => null,
};
