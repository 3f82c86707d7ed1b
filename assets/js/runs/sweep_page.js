// @ts-check
/* A sweep's own page: what is asked of the queue there, and what it says. */
import { $, closest } from "../lib/dom.js";
import { messageOf, postJson } from "../lib/http.js";

/** @param {HTMLButtonElement} asked @param {string} route @param {object} sent @param {string} done */
async function tell(asked, route, sent, done) {
  asked.disabled = true;
  try {
    await postJson(route, sent);
    $("sw-message").textContent = done;
  } catch (error) {
    $("sw-message").textContent = messageOf(error);
    asked.disabled = false;
  }
}
document.addEventListener("click", (event) => {
  const asked = /** @type {HTMLButtonElement | null} */ (closest(event, "#sw-stop, #sw-resume"));
  const { job, run } = asked?.dataset ?? {};
  if (asked && job) tell(asked, "/api/jobs/stop", { job }, "Stopping");
  if (asked && run) tell(asked, "/api/jobs/resume", { run }, "Going on");
});
