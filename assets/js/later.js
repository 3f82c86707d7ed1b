// @ts-check
/* What few visitors open is fetched when they do: the walk and the command palette. */
import { closest } from "./lib/dom.js";

document.addEventListener("click", async (event) => {
  if (closest(event, ".js-walk")) (await import("./walk.js")).start();
});
document.addEventListener(
  "keydown",
  async (event) => {
    if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
    event.preventDefault();
    (await import("./palette/palette.js")).toggle();
  },
  true,
);
