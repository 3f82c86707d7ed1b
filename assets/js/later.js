// @ts-check
/* What few visitors open is fetched when they do: the walk, many prompts, the command palette. */
import { closest } from "./lib/dom.js";

document.addEventListener("click", async (event) => {
  if (closest(event, ".js-walk")) (await import("./walk.js")).start();
  if (closest(event, "#cmp-many-open, #cmp-many-first")) (await import("./many/many.js")).show(true);
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
