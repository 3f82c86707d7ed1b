// @ts-check
/* Runs: a sweep from the page, by a form or as YAML: the queue of trainings takes it, as it takes single runs. */
import { $, all, appeared, button, closest, copy, field, make, part } from "../lib/dom.js";
import { counted } from "../lib/format.js";
import { getJson, messageOf, postJson } from "../lib/http.js";
import { planText } from "./plan.js";

const WAIT_MS = 250;
/** @type {Record<string, string>} */
const METHODS = {
  tpe: "TPE: learns from the trials before",
  random: "Random",
  grid: "Grid: all combinations",
};
/** @type {Record<string, string>} */
const PRUNINGS = {
  median: "Stop what is worse than the median",
  halving: "Successive halving",
  none: "Let all trials end",
};
/** @type {Record<string, string>} */
const MEASURES = {
  accuracy: "Held-out accuracy",
  margin: "Held-out margin",
  loss: "Held-out loss",
  win_rate: "Win rate",
};

const plan = () => field("rn-sweep-plan").value;
/** @param {string} text @param {boolean} bad */
function notify(text, bad) {
  $("rn-sweep-message").textContent = text;
  $("rn-sweep-message").classList.toggle("error-line", bad);
}

/**
 * @param {string} label
 * @param {HTMLElement} control
 */
const labelled = (label, control) => make("label", "", make("span", "", label), control);
/**
 * @param {string} id
 * @param {string[]} choices
 * @param {Record<string, string>} words
 */
function select(id, choices, words) {
  const options = choices.map((value) => make("option", { value }, words[value] || value));
  return make("select", { id }, ...options);
}

/**
 * A line of a list: the setting, what stands beside it, and a button that takes the line away.
 * @param {string} about
 * @param {string} name
 * @param {string} value
 */
function line(about, name, value) {
  const setting = make("input", { value: name, placeholder: "setting", className: "setting" });
  setting.setAttribute("list", "rn-sweep-names");
  setting.setAttribute("aria-label", "Setting");
  const beside = make("input", { value, placeholder: about, className: "value" });
  const away = make("button", { type: "button", className: "ex js-away" }, make("span", "i i-close"));
  const row = make("div", "sweep-line", setting, beside, away);
  named(row);
  return row;
}
/** @param {HTMLElement} row */
function named(row) {
  const name = /** @type {HTMLInputElement} */ (part(row, ".setting")).value || "the new setting";
  part(row, ".value").setAttribute("aria-label", `Values of ${name}`);
  part(row, ".js-away").setAttribute("aria-label", `Remove ${name}`);
}
/**
 * @param {string} id
 * @param {string} title
 * @param {string} about
 * @param {string} placeholder
 * @param {[string, unknown][]} rows
 */
function list(id, title, about, placeholder, rows) {
  const shown = (/** @type {unknown} */ value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
  const lines = rows.map(([name, value]) => line(placeholder, name, shown(value)));
  const more = make("button", { type: "button", className: "ex js-more" }, "Add a setting");
  more.dataset.placeholder = placeholder;
  const heading = make("legend", "", title);
  return make("fieldset", { id }, heading, make("p", "sub", about), ...lines, more);
}

/** @param {any} start */
function fill(start) {
  const number = (/** @type {string} */ id, /** @type {string} */ value) => make("input", { id, value });
  const names = make("datalist", { id: "rn-sweep-names" });
  names.append(...start.names.map((/** @type {string} */ value) => make("option", { value })));
  $("rn-sweep-form").replaceChildren(
    make(
      "div",
      "sweep-top",
      labelled("Name", make("input", { id: "rn-sweep-name", value: "beta-and-rate" })),
      labelled("Method", select("rn-sweep-method", start.methods, METHODS)),
      labelled("Trials", number("rn-sweep-trials", "12")),
      labelled("Best is by", select("rn-sweep-measure", start.measures, MEASURES)),
      labelled("Pruning", select("rn-sweep-pruning", start.prunings, PRUNINGS)),
      labelled("Seed", number("rn-sweep-seed", "0")),
    ),
    list(
      "rn-sweep-search",
      "What is tried",
      "Values with commas between them, or a range: 1e-5 to 1e-3 log, 0 to 0.2 by 0.05",
      "0.05, 0.1 or 0.05 to 0.5",
      start.search,
    ),
    list("rn-sweep-settings", "The same in every trial", "Any setting of dpo train", "value", start.settings),
    names,
  );
  field("rn-sweep-method").value = "tpe";
  field("rn-sweep-measure").value = "accuracy";
  const text = make("textarea", { id: "rn-sweep-plan", rows: 14, spellcheck: false, className: "plan" });
  text.setAttribute("aria-label", "The sweep as YAML");
  $("rn-sweep-yaml").replaceChildren(text);
  write();
}

/** The text from the form. */
function write() {
  const read = (/** @type {string} */ id) => field(`rn-sweep-${id}`).value;
  const rows = (/** @type {string} */ id) =>
    all(".sweep-line", $(`rn-sweep-${id}`)).map((row) => {
      const [name, value] = /** @type {HTMLInputElement[]} */ (all("input", row));
      return { name: name.value, value: value.value };
    });
  const grid = read("method") === "grid";
  field("rn-sweep-trials").disabled = grid;
  field("rn-sweep-plan").value = planText({
    name: read("name"),
    method: read("method"),
    trials: read("trials"),
    measure: read("measure"),
    pruning: read("pruning"),
    seed: read("seed"),
    search: rows("search"),
    settings: rows("settings"),
  });
  check();
}

let waiting = 0;
let asked = 0;
/** Say what the text comes to, soon after the last change. */
function check() {
  clearTimeout(waiting);
  waiting = window.setTimeout(async () => {
    const mine = ++asked;
    try {
      const { trials, searched, combinations } = await postJson("/api/sweep/check", { plan: plan() });
      if (mine !== asked) return;
      const of = combinations === null ? "" : ` of ${counted(combinations, "combination")}`;
      notify(`${counted(trials, "training")}${of}: ${searched.join(", ")}`, false);
      button("rn-sweep-start").disabled = false;
    } catch (error) {
      if (mine !== asked) return;
      notify(messageOf(error), true);
      button("rn-sweep-start").disabled = true;
    }
  }, WAIT_MS);
}

/** @param {HTMLButtonElement} start */
async function begin(start) {
  start.disabled = true;
  clearTimeout(waiting);
  asked += 1; // a check that is under way says nothing over what comes of this
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
  const away = closest(event, ".sweep-line .js-away");
  if (away) {
    const row = /** @type {HTMLElement} */ (away.closest(".sweep-line"));
    /** @type {HTMLElement} */ (row.nextElementSibling).querySelector("input")?.focus();
    row.remove();
    write();
  }
  const more = closest(event, ".sweep-form .js-more");
  if (more) {
    const row = line(more.dataset.placeholder || "", "", "");
    more.before(row);
    part(row, "input").focus();
  }
});
document.addEventListener("input", (event) => {
  const changed = /** @type {HTMLElement} */ (event.target);
  const row = /** @type {HTMLElement | null} */ (changed.closest(".sweep-line"));
  if (row) named(row);
  if (changed.closest("#rn-sweep-form")) write();
  else if (changed.id === "rn-sweep-plan") check();
});

/**
 * Fill the dialog, with the settings of the run where one is named.
 * @param {string | undefined} run
 */
export async function open(run) {
  try {
    await appeared("rn-sweep-yaml");
    fill(await getJson(`/api/sweep/form${run ? `?${new URLSearchParams({ run })}` : ""}`));
  } catch (error) {
    notify(messageOf(error), true);
  }
}
