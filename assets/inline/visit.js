// @ts-check
/* Whether this browser has asked anything yet, before anything is painted: Compare then opens with the stored example
   (example.js). An address of Compare that asks for something is nobody's first visit. */
(() => {
  try {
    const asks = location.pathname === "/" && location.search;
    if (!asks && !localStorage.getItem("dpo-asked")) document.documentElement.dataset.visit = "first";
  } catch {
    // storage may be off: then nothing would be remembered, and every visit would be the first
  }
})();
