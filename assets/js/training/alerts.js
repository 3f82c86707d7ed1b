// @ts-check
/* Training: who waits for a run hears when it ends, stands still or diverges: in the page's title, by notification. */
import { $, closest, find } from "../lib/dom.js";

/** @typedef {{ run: string, name: string, event: string }} Watched */

const WORDS = /** @type {Record<string, string>} */ ({
  finished: "has finished",
  stopped: "was stopped",
  failed: "has failed",
  interrupted: "was killed",
  stalled: "stands still",
  diverged: "diverges: its loss is not a number",
});
const STORED = "dpo-notify";
/** @type {Map<string, string>} what was known of each run */
const known = new Map();
/** The title before an alert stood there. */
let before = "";

const wanted = () => {
  try {
    return localStorage.getItem(STORED) === "yes" && window.Notification?.permission === "granted";
  } catch {
    return false; // storage may be off
  }
};
/** @param {string} text */
function alertOf(text) {
  before ||= document.title;
  document.title = `● ${text}`;
  const node = find("tr-alert");
  if (node) node.textContent = text;
  if (wanted()) new Notification("DPO Workbench", { body: text });
}
/** What is watched now: changes of runs that trained are told. @param {Watched[]} watched */
export function heard(watched) {
  for (const { run, name, event } of watched) {
    const last = known.get(run);
    known.set(run, event);
    if (last !== undefined && last !== event && WORDS[event]) alertOf(`${name} ${WORDS[event]}`);
  }
}
/** Who has come back has read the title. */
function read() {
  if (before) document.title = before;
  before = "";
}
for (const event of ["focus", "pointerdown", "keydown"]) addEventListener(event, read);

const label = () => (wanted() ? "Notifies you" : "Notify me");
document.addEventListener("click", async (event) => {
  if (!closest(event, "#tr-notify") || !window.Notification) return;
  const on = !wanted() && (await Notification.requestPermission()) === "granted";
  try {
    localStorage.setItem(STORED, on ? "yes" : "no");
  } catch {
    // it then lasts for no visit
  }
  $("tr-notify").textContent = label();
});
