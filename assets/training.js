/* Training: the charts' menus (full screen, table, PNG, SVG, CSV) and the view in the address. */
(() => {
  "use strict";
  const none = () => window.dash_clientside.no_update;

  function traces(card) {
    const plot = card.querySelector(".js-plotly-plot");
    return (plot?.data || []).filter((trace) => !trace.name?.endsWith(" raw") && trace.x?.length);
  }
  /* One row for each x, one column for each line. */
  function rows(card) {
    const lines = traces(card);
    const values = new Map();
    lines.forEach((line, column) => Array.from(line.x).forEach((x, i) => {
      if (!values.has(x)) values.set(x, Array(lines.length).fill(""));
      values.get(x)[column] = line.y[i];
    }));
    const head = [document.querySelector("#tr-axis input:checked")?.value || "Step", ...lines.map((line) => line.name)];
    return [head, ...[...values].sort((a, b) => a[0] - b[0]).map(([x, list]) => [x, ...list])];
  }
  function save(name, text, type) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
  const cell = (value) => (typeof value === "number" ? +value.toPrecision(6) : value);
  function table(card) {
    const box = card.querySelector(".table-box");
    box.hidden = !box.hidden;
    if (box.hidden) return;
    const [head, ...body] = rows(card);
    const made = document.createElement("table");
    const line = (values, tag) => {
      const row = document.createElement("tr");
      values.forEach((value) => { const node = document.createElement(tag); node.textContent = cell(value); row.append(node); });
      return row;
    };
    const top = document.createElement("thead"), rest = document.createElement("tbody");
    top.append(line(head, "th"));
    rest.append(...body.map((values) => line(values, "td")));
    made.append(top, rest);
    box.replaceChildren(made);
  }
  const acts = {
    full: (card) => (document.fullscreenElement ? document.exitFullscreen() : card.requestFullscreen()),
    table,
    csv: (card) => save(`${card.dataset.chart}.csv`, rows(card).map((row) => row.map((v) => (/[",\n]/.test(v) ? `"${String(v).replaceAll('"', '""')}"` : v)).join(",")).join("\n") + "\n", "text/csv"),
    png: (card) => picture(card, "png"),
    svg: (card) => picture(card, "svg"),
  };
  function picture(card, format) {
    const plot = card.querySelector(".js-plotly-plot");
    return window.Plotly.downloadImage(plot, { format, filename: card.dataset.chart, width: 900, height: 420, scale: format === "png" ? 2 : 1 });
  }
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

  window.dash_clientside = Object.assign(window.dash_clientside || {}, {
    training: {
      restore(search, pathname) {
        const query = new URLSearchParams(search || "");
        if (pathname !== "/training" || ![..."x smooth log run".split(" ")].some((name) => query.has(name))) return [none(), none(), none(), none()];
        const smooth = parseInt(query.get("smooth"), 10);
        return [
          query.has("run") ? query.getAll("run") : none(),
          ["Step", "Examples", "Epoch", "Time"].includes(query.get("x")) ? query.get("x") : none(),
          Number.isFinite(smooth) ? Math.min(Math.max(smooth, 0), 99) : none(),
          query.get("log") === "1",
        ];
      },
      remember(runs, axis, smoothing, log) {
        if (location.pathname !== "/training") return none();
        const query = new URLSearchParams({ x: axis, smooth: smoothing });
        if (log) query.set("log", "1");
        (runs || []).forEach((run) => query.append("run", run));
        history.replaceState({}, "", "/training?" + query);
        return none();
      },
    },
  });
})();
