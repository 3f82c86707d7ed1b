// @ts-check
/* Compare: its controls, buttons and keys. */
import { $, closest, copy, download, field, find, handOver, none, plainKey, put, visit } from "../lib/dom.js";
import { FAMILIES } from "../lib/families.js";
import { again, start, stop } from "./ask.js";
import { isBlind, nameOf, paneAt } from "./blind.js";
import { next, startOver } from "./conversation.js";
import * as example from "./example.js";
import * as exported from "./export.js";
import * as past from "./history.js";
import { readLink, remember } from "./link.js";
import * as panes from "./panes.js";
import {
  about,
  active,
  changed,
  fieldId,
  lensPolicy,
  onPage,
  PANES,
  problem,
  sampleOf,
  state,
  writing,
} from "./state.js";

/** @typedef {import("./state.js").Settings} Settings */

/** @type {Settings | null} who is quicker than the list of policies is answered when it is there */
let early = null;
/** @param {Settings} request */
function ask(request) {
  state.wanted = request;
  start(request, active());
}
/**
 * Another policy in a pane: its answers go, and a tuned policy brings what it was tuned from.
 * @param {number} pane
 * @param {string | null} value
 * @param {(string | null)[]} values of all panes
 */
function pick(pane, value, values) {
  const { linked, picked } = state;
  // A link may name policies that are not in the list: they are asked for all the same, and fail visibly.
  if (value && value !== linked[pane] && linked[pane] !== undefined && picked[pane] !== linked[pane]) return;
  if (value) delete linked[pane];
  const now = value || linked[pane] || null;
  const before = picked[pane];
  if (now === before) return;
  picked[pane] = now;
  clearPane(pane, now);
  // A pane that was just added changes nothing beside it.
  if (now && before && pane % 2) bringBase(pane - 1, about(now).reference, values[pane - 1]);
}
/** Answers of another policy go. @param {number} pane @param {string | null} now */
function clearPane(pane, now) {
  const { run } = state;
  if (!run || run.policies[pane] === now) return;
  run.samples[pane] = [];
  delete run.turns[pane];
  run.panes = run.panes.filter((other) => other !== pane);
  panes.show(pane);
  panes.belong();
}
/** What a policy was tuned from comes beside it, where the place still holds a base. @param {number} left
 * @param {string | null | undefined} reference @param {string | null} value what is there */
function bringBase(left, reference, value) {
  if (!reference || !state.known[reference] || !value || value === reference || about(value).tuned) return;
  put(`cmp-policy-${left}`, { value: reference });
}

/**
 * What stands in the composer.
 * @param {string[]} names of the settings that have a field
 * @param {string | null} prompt
 * @param {any[]} values of theirs, numbers where they are some
 * @returns {Settings}
 */
function composed(names, prompt, values) {
  state.fields = names;
  const settings = Object.fromEntries(names.map((name, place) => [name, values[place]]));
  return { prompt: prompt || "", seed: 0, ...settings };
}

/** Whether the message on screen is of what a request lacked. */
let lacking = false;
/** What a request cannot do without. @param {Settings} request */
function lackOf(request) {
  if (!request.prompt.trim())
    return { message: "The prompt is blank: write a question or a sentence.", at: "cmp-prompt" };
  const missing = state.fields.find((name) => typeof request[name] !== "number");
  return missing && { message: `${missing.replaceAll("_", "-")} is missing: give a number.`, at: fieldId(missing) };
}

// Navigation leads to the bare address: what stands here keeps its own.
document.addEventListener("page", (event) => {
  const { detail } = /** @type {CustomEvent} */ (event);
  if (detail !== "compare" || !state.run || state.run.stored || location.search) return;
  remember(state.run);
});

export const callbacks = {
  /** @param {number} _clicks @param {string[]} names @param {string | null} prompt @param {any[]} values */
  generate(_clicks, names, prompt, ...values) {
    const request = composed(names, prompt, values);
    const lack = lackOf(request);
    lacking = Boolean(lack);
    if (lack) {
      problem(lack.message);
      field(lack.at).focus();
    } else if (active().length) ask(request);
    else early = request;
    return none();
  },
  /** @param {Record<string, any> | null} data @param {(string | null)[]} values */
  policies(data, ...values) {
    if (!find("cmp-pane-0")) return none();
    state.known = data || {};
    values.forEach((value, pane) => pick(pane, value, values));
    panes.layOut();
    example.open();
    past.open();
    if (early && active().length) {
      ask(early);
      early = null;
    }
    return none();
  },
  /** @param {any} stored @param {any} patterns */
  example(stored, patterns) {
    example.take(stored, patterns);
    return none();
  },
  /** @param {unknown} count @param {boolean} same */
  more(count, same) {
    Object.assign(state, { samples: Math.min(8, Math.max(1, Number(count) || 1)), noise: same !== false });
    panes.belong();
    return none();
  },
  /**
   * What stands in the composer: answers that belong to something else say so.
   * @param {string[]} names
   * @param {string | null} prompt
   * @param {any[]} values
   */
  wanted(names, prompt, ...values) {
    state.wanted = composed(names, prompt, values);
    if (lacking && !lackOf(state.wanted)) {
      lacking = false;
      problem("");
    }
    $("cmp-greedy").hidden = state.wanted.temperature !== 0;
    panes.belong();
    return none();
  },
  /** @param {(number | null)[]} values of the families in their order */
  strength(...values) {
    FAMILIES.forEach((family, place) => {
      state.strength[family] = values[place] ?? 1;
    });
    for (const family of FAMILIES) {
      const value = find(`cmp-lambda-value-${family}`);
      if (value) value.textContent = state.strength[family].toFixed(2);
    }
    // Before the policies are known, panes stay as they came.
    if (!find("cmp-pane-0") || !active().length) return none();
    panes.layOut();
    panes.belong();
    changed();
    return none();
  },
  /** @param {string | null} search @param {string[]} names @param {unknown[]} values */
  restore(search, names, ...values) {
    state.fields = names;
    const link = location.pathname === "/" ? readLink(search || "", names) : null;
    if (!link) return values.map(none);
    link.picked.forEach((value, pane) => {
      if (value === undefined) return;
      if (value) state.linked[pane] = value;
      state.picked[pane] = value;
      put(`cmp-policy-${pane}`, { value });
    });
    if (link.picked.length) setTimeout(panes.layOut);
    if (link.samples !== null) put("cmp-samples", { value: link.samples });
    if (link.noise !== null) put("cmp-noise", { checked: link.noise });
    for (const [family, value] of link.strength)
      if (find(`cmp-lambda-${family}`)) put(`cmp-lambda-${family}`, { value });
    if (link.mode) put("cmp-mode", { value: link.mode });
    if (link.answers) past.linkTo(link.answers);
    return [link.prompt ?? none(), ...link.numbers.map((value) => value ?? none())];
  },
  dice: () => Math.floor(Math.random() * 1e6),
  /** @param {number} _clicks @param {string | null} text */
  next: (_clicks, text) => (next(text || "") ? "" : none()),
  /** @param {string} mode */
  view(mode) {
    state.mode = mode;
    $("cmp-scale").hidden = mode !== "Reward tint";
    panes.redraw();
    return none();
  },
};
/* ---- buttons and keys ---- */
/** A pane of its own for a policy that has none; what samples plainly, or is elsewhere, is offered last. */
function addPane() {
  const pane = PANES.find((free) => !state.picked[free]);
  const names = Object.keys(state.known);
  const full = names.filter((name) => !about(name).note);
  const value = [...full, ...names].find((name) => !state.picked.includes(name)) || names[0];
  if (pane !== undefined) put(`cmp-policy-${pane}`, { value });
}
/** @param {Event} event @param {import("./state.js").Generation} run */
function exportClick(event, run) {
  const button = closest(event, "#cmp-copy-command, #cmp-copy-text, #cmp-copy-python");
  const texts = {
    "cmp-copy-command": () => exported.command(run),
    "cmp-copy-text": () => exported.text(run, nameOf),
    "cmp-copy-python": () => exported.python(run),
  };
  if (button) copy(texts[/** @type {keyof typeof texts} */ (button.id)](), button);
  if (closest(event, "#cmp-json")) download("compare.json", exported.json(run), "application/json");
}
/** @param {Event} event @param {number} pane */
function paneClick(event, pane) {
  const text = sampleOf(pane)?.text || "";
  const copied = closest(event, ".js-copy-answer");
  if (copied) copy(text, copied);
  if (closest(event, ".js-again")) again(pane);
  if (closest(event, ".js-remove")) {
    delete state.linked[pane];
    put(`cmp-policy-${pane}`, { value: null });
  }
  if (closest(event, ".js-lens") && text && state.run) {
    const policy = lensPolicy(pane) || "null";
    visit(`/lens?${new URLSearchParams({ policy, prompt: state.run.request.prompt, a: text })}`);
  }
}
document.addEventListener("click", (event) => {
  if (closest(event, "#cmp-stop")) stop();
  if (closest(event, "#cmp-over")) startOver();
  if (closest(event, "#cmp-add")) addPane();
  if (state.run) exportClick(event, state.run);
  const pane = closest(event, ".pane")?.dataset.pane;
  if (pane !== undefined) paneClick(event, Number(pane));
});
document.addEventListener("keydown", (event) => {
  if (!onPage()) return;
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
    event.preventDefault();
    if (writing()) return;
    const goesOn = Boolean(closest(event, "#cmp-next"));
    handOver(goesOn ? "cmp-next" : "cmp-prompt");
    $(goesOn ? "cmp-continue" : "cmp-generate").click();
  }
  if (event.key === "Escape") stop();
  if (!plainKey(event)) return;
  if (/^[1-6]$/.test(event.key)) find(`cmp-pane-${paneAt(Number(event.key) - 1)}`)?.focus();
  const mode = /** @type {Record<string, string>} */ ({ d: "Word diff", t: "Reward tint" })[event.key];
  if (mode && !isBlind()) put("cmp-mode", { value: state.mode === mode ? "Text" : mode });
});
