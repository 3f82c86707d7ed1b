// @ts-check
/* Compare: what was asked before, as the server keeps it for this viewer: found again, brought back, deleted. */
import { $, closest, field, find, make, makeButton, put } from "../lib/dom.js";
import { getJson, messageOf, postJson } from "../lib/http.js";
import { halt, progress } from "./ask.js";
import { command } from "./export.js";
import { queryOfRun, remember } from "./link.js";
import * as panes from "./panes.js";
import { recordOf, revived, summaryOf, timeOf } from "./record.js";
import { active, changed, fieldId, PANES, problem, state, writing } from "./state.js";

/**
 * @typedef {import("./state.js").Generation} Generation
 * @typedef {{ key: string, created: string, prompt: string, summary: string }} Entry
 */

/** @param {Generation} run */
async function keep(run) {
  const given = run.panes.flatMap((pane) => run.samples[pane] || []);
  if (!run.key || !given.some((sample) => sample.text || sample.end || sample.failed)) return;
  try {
    await postJson("/api/history", { key: run.key, prompt: run.first, summary: summaryOf(run), record: recordOf(run) });
    say("");
  } catch (error) {
    say(`The newest comparison is not kept: ${messageOf(error)}`);
  }
  if (isOpen()) list();
}

/* ---- the list ---- */
const isOpen = () => /** @type {HTMLDetailsElement} */ ($("cmp-history-box")).open;
/** @param {boolean} on */
const setOpen = (on) => {
  /** @type {HTMLDetailsElement} */ ($("cmp-history-box")).open = on;
};
/** @param {string} text */
function say(text) {
  $("cmp-history-note").textContent = text;
}
/** @param {Entry} entry */
function row({ key, created, prompt, summary }) {
  const back = makeButton("history-open", "", () => reopen(key));
  back.append(make("b", "", prompt), make("span", "sub num", `${timeOf(created)} · ${summary}`));
  const remove = makeButton("history-remove", "", () => forget({ key }));
  remove.append(make("span", "i i-close"));
  remove.setAttribute("aria-label", `Delete “${prompt.slice(0, 60)}” of ${timeOf(created)}`);
  const item = make("div", "history-entry", back, remove);
  item.setAttribute("role", "listitem");
  return item;
}
let asked = 0;
/** What the server keeps, also from other tabs, that holds the words of the search. */
async function list() {
  const words = field("cmp-history-search").value.trim();
  const mine = ++asked;
  try {
    const { found } = await getJson(`/api/history?${new URLSearchParams({ q: words })}`);
    if (mine !== asked) return; // a later search is under way
    $("cmp-history").replaceChildren(...found.map(row));
    $("cmp-history-clear").hidden = Boolean(words) || !found.length;
    if (!found.length) say(words ? "Nothing holds these words." : "Nothing yet: what you ask is kept here.");
    else say("");
    $("cmp-history").parentElement?.scrollIntoView({ block: "nearest" });
  } catch (error) {
    say(messageOf(error));
  }
}
/** @param {{ key: string } | { all: true }} which */
async function forget(which) {
  try {
    await postJson("/api/history/forget", which);
  } catch (error) {
    say(messageOf(error));
    return;
  }
  await list();
  field("cmp-history-search").focus();
}

/* ---- bringing back ---- */
/** @param {string} key */
async function reopen(key) {
  try {
    const record = await getJson(`/api/history/one?${new URLSearchParams({ key })}`);
    if (!record) {
      await list(); // deleted in another tab meanwhile
      return;
    }
    setOpen(false);
    $("cmp-history-open").focus();
    if (writing()) halt();
    bringBack(revived(record));
  } catch (error) {
    say(messageOf(error));
  }
}
/**
 * An earlier generation as it was: its answers, and above them the prompt and all settings that made them.
 * @param {Generation} old
 */
function bringBack(old) {
  problem("");
  state.run = old;
  put("cmp-prompt", { value: old.first });
  for (const name of state.fields) put(fieldId(name), { value: old.request[name] });
  Object.assign(state, { picked: [...old.policies], strength: { ...old.strength }, samples: old.count });
  state.noise = old.same_noise;
  PANES.forEach((pane) => {
    state.linked[pane] = old.policies[pane];
    put(`cmp-policy-${pane}`, { value: old.policies[pane] ?? null });
  });
  for (const [family, value] of Object.entries(old.strength)) put(`cmp-lambda-${family}`, { value });
  put("cmp-samples", { value: old.count });
  put("cmp-noise", { checked: old.same_noise });
  state.wanted = { ...old.request, prompt: old.first };
  remember(old);
  panes.layOut();
  active().forEach(panes.show);
  old.panes.forEach(panes.differ);
  panes.seen();
  panes.belong();
  $("cmp-command").textContent = command(old);
  $("cmp-repro").hidden = false;
  progress();
  changed();
}

/** @type {Record<string, any> | null} what the address names, until the policies are there */
let linked = null;
/** Ask for the answers that an address names: a reload, or a second tab, shows them again. @param {string} key */
export async function linkTo(key) {
  linked = await getJson(`/api/history/one?${new URLSearchParams({ key })}`).catch(() => null);
  open();
}
/** Show them, where nothing else was asked meanwhile and the address still asks for the same. */
export function open() {
  if (!linked || !Object.keys(state.known).length || !find("cmp-pane-0")) return;
  const run = revived(linked);
  linked = null;
  if (state.run && !state.run.stored) return;
  const here = new URLSearchParams(location.search);
  here.delete("answers");
  if (String(queryOfRun(run, here.get("show") || "Text")) === String(here)) bringBack(run);
}

document.addEventListener("compare-over", (event) => keep(/** @type {CustomEvent} */ (event).detail));
document.addEventListener(
  "toggle",
  (event) => {
    if (event.target !== find("cmp-history-box") || !isOpen()) return;
    list();
    field("cmp-history-search").focus();
  },
  true, // it does not bubble
);
document.addEventListener("input", (event) => {
  if (closest(event, "#cmp-history-search")) list();
});
document.addEventListener("click", (event) => {
  const clear = closest(event, "#cmp-history-clear");
  if (clear && clear.dataset.sure) forget({ all: true });
  if (clear) sure(clear, !clear.dataset.sure);
  if (find("cmp-history-box") && isOpen() && !closest(event, "#cmp-history-box")) setOpen(false);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !closest(event, "#cmp-history-box") || !isOpen()) return;
  event.stopPropagation();
  setOpen(false);
  $("cmp-history-open").focus();
});
/** It cannot be undone, so it is asked once more. @param {HTMLElement} button @param {boolean} asking */
function sure(button, asking) {
  button.textContent = asking ? "Delete all of them? Press again" : "Delete all";
  if (asking) button.dataset.sure = "yes";
  else delete button.dataset.sure;
}
