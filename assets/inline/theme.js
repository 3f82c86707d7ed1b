// @ts-check
/* The colour scheme, before anything is painted: this script stands in the document's head (application.py). */
(() => {
  let stored = null;
  try {
    stored = localStorage.getItem("dpo-theme");
  } catch {
    // storage may be off
  }
  const scheme = stored || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.documentElement.setAttribute("data-mantine-color-scheme", scheme);
})();
