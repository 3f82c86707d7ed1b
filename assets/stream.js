/* Server-sent events over POST: one reader for every page that follows work on the server. */
(() => {
  "use strict";
  /* Calls handlers[event](data) for each event; rejects with the server's own words if it refuses. */
  async function stream(url, body, handlers, signal) {
    const response = await fetch(url, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal,
    }).catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Error("The server cannot be reached: is it still running?");
    });
    if (!response.ok) {
      const refused = await response.json().catch(() => ({}));
      throw new Error(refused.error || `The server answered ${response.status}.`);
    }
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let buffer = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      buffer += value;
      for (let end; (end = buffer.indexOf("\n\n")) >= 0; buffer = buffer.slice(end + 2)) {
        const event = {};
        for (const line of buffer.slice(0, end).split("\n")) {
          const colon = line.indexOf(": ");
          if (colon > 0) event[line.slice(0, colon)] = line.slice(colon + 2);
        }
        if (event.event && handlers[event.event]) handlers[event.event](JSON.parse(event.data));
      }
    }
  }
  window.dpo = Object.assign(window.dpo || {}, { stream });
})();
