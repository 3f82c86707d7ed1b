// @ts-check
/* Compare: what the events of a stream do to the answers; `arm` of an event counts the policies as they were asked. */
import { $ } from "../lib/dom.js";
import { isBlind } from "./blind.js";
import * as panes from "./panes.js";
import { about, changed, state } from "./state.js";

/**
 * @typedef {import("./state.js").Generation} Generation
 * @typedef {import("./state.js").Sample} Sample
 * @typedef {import("./state.js").Stream} Stream
 */

/**
 * The text so far as Lens would have it, from the engine's log-ratios: a unit for each piece of text.
 * @param {Sample} sample
 * @param {string} text
 * @param {number} ratio
 */
function tint(sample, text, ratio) {
  const look = (sample.arriving ??= { tokens: [], units: { token: [] }, length: 0, begun: 0 });
  look.tokens.push({ text, policy_logp: ratio, reference_logp: 0 });
  if (!text) return; // the first bytes of a character: they belong to the piece that completes it
  look.units.token.push([look.begun, look.tokens.length]);
  look.begun = look.tokens.length;
  look.length += text.length;
}

/**
 * What each event does. Once the request is over, or another one has begun, its events count no more.
 * @param {Generation} mine
 * @param {Stream} stream the request that these events answer
 * @param {{ cancel: (stream: Stream) => void, finished: (data: any) => void }} acts
 * @returns {import("../lib/stream.js").Handlers}
 */
export function handlers(mine, stream, { cancel, finished }) {
  const acts = {
    ...waitingHandlers(mine, stream, cancel),
    ...answerHandlers(mine, stream),
    finished,
  };
  const current = () => mine.stream.id === stream.id && !stream.over;
  return Object.fromEntries(
    Object.entries(acts).map(([name, act]) => [name, /** @param {any} data */ (data) => current() && act(data)]),
  );
}
/** Whether a sample is on screen. @param {Generation} mine @param {number} pane @param {number} index */
const shown = (mine, pane, index) => state.run === mine && mine.shown[pane] === index;
/** Do something to a pane's samples that are not complete. @param {Generation} mine @param {number} pane
 * @param {(sample: Sample, index: number) => void} act */
function each(mine, pane, act) {
  mine.samples[pane].forEach((sample, index) => {
    if (!sample.end && !sample.failed) act(sample, index);
  });
}
/**
 * Before a policy writes.
 * @param {Generation} mine
 * @param {Stream} stream
 * @param {(stream: Stream) => void} cancel
 * @returns {import("../lib/stream.js").Handlers}
 */
function waitingHandlers(mine, stream, cancel) {
  const { asked } = stream;
  return {
    job(data) {
      stream.job = data.job;
      if (stream.stopping) cancel(stream);
    },
    queued(data) {
      const wait = data.wait_seconds ? `, about ${Math.ceil(data.wait_seconds)} s` : "";
      stream.note = data.position ? `${data.position} ahead in the queue${wait}` : "Waiting";
      for (const pane of asked) {
        each(mine, pane, (sample, index) => {
          sample.position = data.position;
          if (shown(mine, pane, index)) panes.queued(pane);
        });
      }
    },
    loading(data) {
      stream.note = isBlind() ? "Reading policies" : data.message;
      if (state.run === mine) panes.loading(asked[data.arm], data.message, data.share);
    },
    start(data) {
      const pane = asked[data.arm];
      stream.note = null;
      each(mine, pane, (sample) => Object.assign(sample, { live: true, position: undefined, note: data.note }));
      mine.seen[pane] = { text: data.seen, tokens: data.prompt_tokens };
      if (state.run !== mine) return;
      panes.seen();
      panes.started(pane);
    },
  };
}
/**
 * While it writes, and at the end.
 * @param {Generation} mine
 * @param {Stream} stream
 * @returns {import("../lib/stream.js").Handlers}
 */
function answerHandlers(mine, stream) {
  const began = performance.now();
  const { asked } = stream;
  const placed = /** @param {any} data */ (data) => {
    const pane = asked[data.arm];
    const index = data.sample || 0;
    return { pane, index, sample: mine.samples[pane][index] };
  };
  return {
    token(data) {
      const { pane, index, sample } = placed(data);
      sample.first ??= (performance.now() - began) / 1000;
      sample.text += data.text;
      sample.tokens = data.tokens;
      if (data.log_ratio !== undefined && about(mine.policies[pane]).tuned) tint(sample, data.text, data.log_ratio);
      if (shown(mine, pane, index)) stream.dirty.add(pane);
    },
    done(data) {
      const { pane, index, sample } = placed(data);
      Object.assign(sample, {
        text: sample.text + data.text,
        tokens: data.tokens,
        rate: data.tokens_per_second,
        end: data.end,
        live: false,
        seconds: data.seconds,
        first: data.first_seconds ?? sample.first,
      });
      if (state.run !== mine) return;
      if (shown(mine, pane, index)) {
        panes.show(pane);
        $(`cmp-out-${pane}`).setAttribute("aria-live", "polite");
      } else {
        panes.tabs(pane);
        panes.chips(pane);
      }
      changed();
    },
    skipped(data) {
      const pane = asked[data.arm];
      each(mine, pane, (_, index) => halted(mine, pane, index));
    },
    failed(data) {
      const pane = asked[data.arm];
      each(mine, pane, (sample) => Object.assign(sample, { failed: data.message, live: false }));
      if (state.run === mine) panes.show(pane);
    },
  };
}
/**
 * An answer that was not written to its end.
 * @param {Generation} mine
 * @param {number} pane
 * @param {number} index
 */
export function halted(mine, pane, index) {
  const sample = mine.samples[pane][index];
  if (sample.end || sample.failed) return;
  const end = sample.tokens ? "cancelled" : undefined;
  Object.assign(sample, { live: false, end, position: undefined, stopped: true });
  if (state.run !== mine || mine.shown[pane] !== index) return;
  panes.show(pane);
  panes.pill(pane, "stopped");
}
