// @ts-check
/* The Docs page: a document is shown from the heading on that the address names, and marked in the list. */
import { all, appeared, find, scrollable } from "./lib/dom.js";

let shown = "";
let arriving = false;

/** To the heading that the address names, or the beginning. */
function go() {
  const heading = find(decodeURIComponent(location.hash.slice(1)));
  if (heading) heading.scrollIntoView();
  else scrollTo(0, 0);
}

/** Markdown is drawn after its place is there, by a script of its own: headings stand where they stay only then.
 * @param {HTMLElement} place */
function follow(place) {
  const text = /** @type {HTMLElement | null} */ (place.querySelector(".docs-text"));
  const name = text?.dataset.doc || "";
  if (name !== shown) {
    shown = name;
    arriving = true;
    for (const link of all(".docs-list a")) {
      if (link.dataset.doc === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }
  if (!arriving || !text || all(":scope > section", text).some((section) => !section.textContent)) return;
  arriving = false;
  all("pre, table", text).forEach(scrollable);
  go();
}

appeared("docs-shown").then((place) => {
  follow(place);
  new MutationObserver(() => follow(place)).observe(place, { childList: true, subtree: true });
});
addEventListener("popstate", () => {
  if (location.pathname === "/docs" && !arriving) go();
});
