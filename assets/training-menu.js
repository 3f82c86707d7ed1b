/* Training: the charts' menus: full screen, table, PNG, SVG, CSV. */
(() => {
  "use strict";
  const MOST_ROWS = 2000; // that a page shows at once; CSV has all

  /* Every logged point of a chart as the server has it: a picture leaves out points, and smooths. */
  async function points(card) {
    const body = { ...window.dpo.training.asked(), charts: {}, table: card.dataset.chart };
    const answer = await fetch("/api/curves", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }).catch(() => null);
    if (!answer?.ok) throw new Error("The server cannot be reached: is it still running?");
    return (await answer.json()).table;
  }
  function save(name, text, type) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
  function line(values, tag) {
    const row = document.createElement("tr");
    values.forEach((value) => {
      const node = document.createElement(tag);
      node.textContent = typeof value === "number" ? +value.toPrecision(6) : value ?? "";
      row.append(node);
    });
    return row;
  }
  function tell(text) {
    const note = document.createElement("p");
    note.className = "sub";
    note.textContent = text;
    return note;
  }
  async function fill(card) {
    const box = card.querySelector(".table-box");
    try {
      const { head, rows } = await points(card);
      const made = document.createElement("table"), top = document.createElement("thead"), rest = document.createElement("tbody");
      top.append(line(head, "th"));
      rest.append(...rows.slice(0, MOST_ROWS).map((values) => line(values, "td")));
      made.append(top, rest);
      const { scrollTop } = box;
      box.replaceChildren(made, ...(rows.length > MOST_ROWS ? [tell(`The first ${MOST_ROWS} of ${rows.length} rows: CSV has all of them.`)] : []));
      box.scrollTop = scrollTop;
    } catch (error) { box.replaceChildren(tell(error.message)); }
  }
  function table(card) {
    const box = card.querySelector(".table-box");
    box.hidden = !box.hidden;
    if (!box.hidden) fill(card);
  }
  /* A cell as CSV has it. What begins like a formula would be run by a spreadsheet: an apostrophe makes it text. */
  function cell(value) {
    if (typeof value !== "string") return value ?? "";
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }
  async function csv(card) {
    try {
      const { head, rows } = await points(card);
      save(`${card.dataset.chart}.csv`, [head, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n", "text/csv");
    } catch (error) {
      const box = card.querySelector(".table-box");
      box.hidden = false;
      box.replaceChildren(tell(error.message));
    }
  }
  function picture(card, format) {
    const plot = card.querySelector(".js-plotly-plot");
    return window.Plotly.downloadImage(plot, { format, filename: card.dataset.chart, width: 900, height: 420, scale: format === "png" ? 2 : 1 });
  }
  const acts = {
    full: (card) => (document.fullscreenElement ? document.exitFullscreen() : card.requestFullscreen()),
    table, csv,
    png: (card) => picture(card, "png"),
    svg: (card) => picture(card, "svg"),
  };
  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    const button = event.target.closest(".js-chart");
    document.querySelectorAll("details.menu-box[open]").forEach((menu) => { if (button || !menu.contains(event.target)) menu.open = false; });
    if (button) acts[button.dataset.do](button.closest(".card"));
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.querySelectorAll("details.menu-box[open]").forEach((menu) => { menu.open = false; });
  });
  document.addEventListener("fullscreenchange", () => requestAnimationFrame(() => dispatchEvent(new Event("resize"))));

  window.dpo = Object.assign(window.dpo || {}, { training: {
    /* A table that is open belongs to the picture above it. */
    drawn(card) { if (!card.querySelector(".table-box").hidden) fill(card); },
  } });
})();
