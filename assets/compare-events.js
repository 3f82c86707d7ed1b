/* Compare: what the events of a stream do to the answers; `arm` counts the policies as they were asked. */
(() => {
  "use strict";
  const cmp = window.dpo.cmp, { $, about } = cmp;

  /* The text so far as Lens would have it, from the engine's log-ratios: a unit for each piece of text. */
  function tint(sample, text, ratio) {
    const look = (sample.arriving ??= { tokens: [], units: { token: [] }, length: 0, begun: 0 });
    look.tokens.push({ text, policy_logp: ratio, reference_logp: 0 });
    if (!text) return; // the first bytes of a character: they belong to the piece that completes it
    look.units.token.push([look.begun, look.tokens.length]);
    look.begun = look.tokens.length;
    look.length += text.length;
  }

  /* `stream` is the request these events answer: once it is over, or another one has begun, they count no more. */
  function handlers(mine, stream, { cancel, finished }) {
    const panes = cmp.panes, began = performance.now(), { asked } = stream;
    const of = (data) => { const pane = asked[data.arm], index = data.sample || 0; return { pane, index, sample: mine.samples[pane][index] }; };
    const seen = (pane, index) => cmp.run === mine && mine.shown[pane] === index;
    const each = (pane, act) => mine.samples[pane].forEach((sample, index) => { if (!sample.end && !sample.failed) act(sample, index); });
    const acts = {
      job(data) { stream.job = data.job; if (stream.stopping) cancel(stream); },
      queued(data) {
        const wait = data.wait_seconds ? `, about ${Math.ceil(data.wait_seconds)} s` : "";
        stream.note = data.position ? `${data.position} ahead in the queue${wait}` : "Waiting";
        for (const pane of asked) each(pane, (sample, index) => {
          sample.position = data.position;
          if (seen(pane, index)) panes.queued(pane);
        });
      },
      loading(data) {
        stream.note = window.dpo.votes.blind() ? "Reading policies" : data.message;
        const pane = asked[data.arm];
        if (seen(pane, mine.shown[pane])) panes.loading(pane, data.message, data.share);
      },
      start(data) {
        const pane = asked[data.arm];
        stream.note = null;
        each(pane, (sample) => Object.assign(sample, { live: true, position: undefined, note: data.note }));
        mine.seen[about(mine.policies[pane]).family] = { text: data.seen, tokens: data.prompt_tokens };
        if (cmp.run === mine) panes.seen();
        if (cmp.run === mine) panes.started(pane);
      },
      token(data) {
        const { pane, index, sample } = of(data);
        if (sample.first === undefined) sample.first = (performance.now() - began) / 1000;
        sample.text += data.text;
        sample.tokens = data.tokens;
        if (data.log_ratio !== undefined && about(mine.policies[pane]).tuned) tint(sample, data.text, data.log_ratio);
        if (seen(pane, index)) stream.dirty.add(pane);
      },
      done(data) {
        const { pane, index, sample } = of(data);
        Object.assign(sample, {
          text: sample.text + data.text, tokens: data.tokens, rate: data.tokens_per_second, end: data.end, live: false,
          seconds: data.seconds, first: data.first_seconds ?? sample.first,
        });
        if (seen(pane, index)) { panes.show(pane); $(`cmp-out-${pane}`).setAttribute("aria-live", "polite"); } else if (cmp.run === mine) { panes.tabs(pane); panes.chips(pane); }
        if (cmp.run === mine) cmp.told();
      },
      skipped(data) { each(asked[data.arm], (_, index) => halted(mine, asked[data.arm], index)); },
      failed(data) {
        const pane = asked[data.arm];
        each(pane, (sample) => Object.assign(sample, { failed: data.message, live: false }));
        if (cmp.run === mine) panes.show(pane);
      },
      finished,
    };
    const current = () => mine.stream.id === stream.id && !stream.over;
    return Object.fromEntries(Object.entries(acts).map(([name, act]) => [name, (data) => { if (current()) act(data); }]));
  }
  function halted(mine, pane, index) {
    const sample = mine.samples[pane][index];
    if (sample.end || sample.failed) return;
    Object.assign(sample, { live: false, end: sample.tokens ? "cancelled" : undefined, position: undefined, stopped: true });
    if (cmp.run === mine && mine.shown[pane] === index) { cmp.panes.show(pane); cmp.panes.pill(pane, "stopped"); }
  }
  cmp.events = { handlers, halted };
})();
