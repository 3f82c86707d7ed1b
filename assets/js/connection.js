// @ts-check
/* A server that is gone and comes back: said on every page; what had not come is asked for again. */
import { $ } from "./lib/dom.js";
import { request, server } from "./lib/http.js";
import { mount } from "./shell.js";

const RETRY = 2000; // ms
let lost = false;

/** @param {string} text @param {boolean} bad */
function say(text, bad) {
  const banner = $("connection");
  banner.textContent = text;
  banner.hidden = !text;
  banner.classList.toggle("bad", bad);
  $("status-dot").classList.toggle("lost", bad);
}
async function ask() {
  // Its answer, or that none came, is an event below.
  await request("/", { method: "HEAD", cache: "no-store" }).catch(() => {});
  if (lost) setTimeout(ask, RETRY);
}
server.addEventListener("change", (event) => {
  lost = !(/** @type {CustomEvent} */ (event).detail.reached);
  if (lost) {
    say("The server does not answer. What is on this page stays; asking again every two seconds.", true);
    setTimeout(ask, RETRY);
    return;
  }
  say("The server answers again.", false);
  setTimeout(() => lost || say("", false), 4000);
  mount();
});
// Dash's own requests fail without a word to anybody: one of ours finds out why.
addEventListener("offline", ask);
