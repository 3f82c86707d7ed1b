// @ts-check
/* Training: the playground of losses. */
import { $, all, closest, find, part } from "../lib/dom.js";
import { messageOf, postJson } from "../lib/http.js";
import { plotly } from "../lib/plotly.js";

const opened = () => /** @type {HTMLDetailsElement | null} */ (find("learn-playground"))?.open;
/** @type {string[] | null} the losses that are drawn; null for those of the run */
let inked = null;
let run = "";
let busy = false;
const chosen = () =>
  /** @type {HTMLInputElement | null} */ (document.querySelector("#tr-run-list .run.on input"))?.value || "";
/** @param {string} text */
function notify(text) {
  $("learn-note").textContent = text;
}

async function draw() {
  run = chosen();
  try {
    const found = await postJson("/api/losses", { run, ...(inked ? { losses: inked } : {}) });
    const { data, layout } = found.figure;
    // Not react: it fails where an axis is added (the histogram's).
    const options = { displayModeBar: false, responsive: true };
    await (await plotly()).newPlot(part(document, "#learn-figure .plot"), data, layout, options);
    notify(found.note);
    for (const chip of all(".js-loss")) {
      chip.setAttribute("aria-pressed", String(found.inked.includes(chip.dataset.loss)));
    }
  } catch (error) {
    notify(messageOf(error));
  }
}
async function measure() {
  if (busy) return;
  busy = true;
  notify("Measuring the held-out pairs (the first time PyTorch is started, some seconds)");
  try {
    await postJson("/api/losses/margins", { run: chosen() });
    await draw();
  } catch (error) {
    notify(messageOf(error));
  }
  busy = false;
}
/** A chip was pressed: its loss comes, or goes. @param {HTMLElement} pressed */
function toggle(pressed) {
  const on = all(".js-loss").filter((chip) => (chip.getAttribute("aria-pressed") === "true") !== (chip === pressed));
  inked = on.map((chip) => chip.dataset.loss || "");
  draw();
}
/* Another run was chosen: its own loss and margins. Only the list of runs is watched, and from the first look on. */
const choice = new MutationObserver(() => {
  if (opened() && !busy && chosen() !== run) draw();
});
document.addEventListener(
  "toggle",
  (event) => {
    if (event.target !== find("learn-playground") || !opened()) return;
    choice.observe($("tr-run-list"), { subtree: true, childList: true, attributes: true, attributeFilter: ["class"] });
    draw();
  },
  true,
);
document.addEventListener("click", (event) => {
  const chip = closest(event, ".js-loss");
  if (chip) toggle(chip);
  else if (closest(event, "#learn-measure")) measure();
});
