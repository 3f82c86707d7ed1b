// @ts-check
/* Training: plays the steps of the answers one after the other, as a film is played. */
import { $, closest, find, part, put } from "../lib/dom.js";
import { onPage, screen } from "./state.js";

const EACH = 900; // ms that a step stands
let timer = 0;

/** @param {boolean} on */
function mark(on) {
  const button = $("tr-play");
  button.setAttribute("aria-label", on ? "Pause the training" : "Play the training");
  part(button, ".i").className = `i ${on ? "i-pause" : "i-play"}`;
}
function stop() {
  clearTimeout(timer);
  timer = 0;
  if (find("tr-play")) mark(false);
}
function next() {
  const last = screen.probes.length - 1;
  const place = (screen.place ?? last) + 1;
  if (!onPage() || place > last) {
    stop();
    return;
  }
  put("tr-step", { value: place });
  timer = setTimeout(next, EACH);
}
/** From the chosen step on; from the first one where the last is chosen. */
function play() {
  const last = screen.probes.length - 1;
  if (last < 1) return;
  if ((screen.place ?? last) >= last) put("tr-step", { value: 0 });
  mark(true);
  timer = setTimeout(next, EACH);
}
document.addEventListener("click", (event) => {
  if (!closest(event, "#tr-play")) return;
  if (timer) stop();
  else play();
});
