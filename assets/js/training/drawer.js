// @ts-check
/* Training: the drawer in which runs are started, watched, stopped and resumed. */
import { $, appeared, button, closest, find, remeasure, visit } from "../lib/dom.js";
import { postJson } from "../lib/http.js";
import * as form from "./form.js";
import { isOpen, poll, setOpen, watch } from "./queue.js";
import { onPage } from "./state.js";

const PARTS = ["form", "queue"];
let shown = "form";

/** @param {string} which */
function select(which) {
  shown = which;
  for (const name of PARTS) {
    $(`st-${name}`).hidden = name !== which;
    $(`st-tab-${name}`).setAttribute("aria-selected", String(name === which));
  }
}
/** @param {boolean} open */
function toggle(open) {
  setOpen(open);
  $("st-drawer").hidden = !open;
  $("page-training").classList.toggle("drawer-open", open);
  remeasure();
}
/** @param {string | undefined} preset */
async function show(preset) {
  toggle(true);
  form.notify("");
  select(preset === undefined ? shown : "form");
  await poll();
  if (!form.isReady() && !$("st-form").inert) await form.load("dpo", preset || "");
  else if (form.isReady() && preset) form.choose(preset);
  if (shown === "form") find("st-name")?.focus();
}
/** To the page that the drawer is on, if another one is looked at. @param {string} run that is put on screen */
async function here(run) {
  if (onPage()) return;
  visit(`/training?${new URLSearchParams({ run })}`);
  while (onPage() && !find("st-drawer")) await new Promise((done) => setTimeout(done, 50));
}
/** The form of a run with the change that the doctor proposes. @param {DOMStringMap} fix */
async function rerun({ run = "", flag, value }) {
  await here(run);
  if (!onPage()) return;
  toggle(true);
  select("form");
  form.notify("");
  try {
    await form.fill(await postJson("/api/jobs/again", { run, flag, value }));
    form.notify(
      value === "FILE"
        ? "Make the file by the command beside the finding, and name it here. The new run is drawn over the old one."
        : `${flag} is changed. The new run is drawn over the old one.`,
    );
  } catch (error) {
    form.failed(error);
  }
}
/** The form of a new run with some settings given, from another page. @param {string} settings as JSON */
async function trainOn(settings) {
  visit("/training");
  await appeared("st-drawer");
  await show("");
  select("form");
  if ($("st-form").inert) return;
  await form.fill({ kind: "dpo", settings: JSON.parse(settings), name: "", changed: "dataset" });
}
async function start() {
  button("st-start").disabled = true;
  form.notify("Starting");
  try {
    const job = await postJson("/api/jobs", form.request());
    watch(job.run);
    form.clearName();
    select("queue");
    await poll();
  } catch (error) {
    form.notify("");
    form.refused(error);
  }
  button("st-start").disabled = false;
}
document.addEventListener("click", (event) => {
  const opener = closest(event, ".js-new-run");
  if (opener) show(opener.dataset.preset);
  const other = closest(event, ".js-train-on");
  if (other) trainOn(other.dataset.settings || "{}");
  const fix = closest(event, ".js-fix");
  if (fix) rerun(fix.dataset);
  else if (closest(event, "#st-close")) toggle(false);
  else if (closest(event, "#st-tab-form")) select("form");
  else if (closest(event, "#st-tab-queue")) select("queue");
  else if (closest(event, "#st-check")) form.check(true);
  else if (closest(event, "#st-start")) start();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && isOpen()) toggle(false);
});
