// @ts-check
/* Compare: a comparison as the history keeps it, and back. */
import { about, PANES } from "./state.js";

/**
 * @typedef {import("./state.js").Generation} Generation
 * @typedef {import("./state.js").Sample} Sample
 */

/** Letters of a record from which on it is kept without its tokens' scores: those are asked for again. */
const LARGE = 400_000;

/** @param {Sample} sample @param {boolean} scores */
const sampleRecord = ({ arriving: _arriving, live: _live, position: _position, look, ...rest }, scores) => ({
  ...rest,
  ...(scores && look ? { look } : {}),
});
/**
 * All that brings a comparison back; of a long one without what Lens says of each token.
 * @param {Generation} run
 */
export function recordOf(run) {
  const whole = wholeOf(run, true);
  return JSON.stringify(whole).length > LARGE ? wholeOf(run, false) : whole;
}
/** @param {Generation} run @param {boolean} scores */
function wholeOf(run, scores) {
  const { id, key, first, request, policies, lambdas, shown, turns, count, seen, same_noise, strength, same } = run;
  return {
    ...{ id, key, first, request, policies, lambdas, shown, turns, count, seen, same_noise, strength, same },
    panes: run.panes,
    samples: PANES.map((pane) => (run.samples[pane] || []).map((sample) => sampleRecord(sample, scores))),
    seconds: run.stream.seconds,
  };
}
/**
 * A comparison that was kept, as it was when it was over.
 * @param {Record<string, any>} record
 * @returns {Generation}
 */
export function revived({ seconds = "0", created, ...record }) {
  const by = /** @param {string} name */ (name) => PANES.map((pane) => record[name]?.[pane] ?? undefined);
  return /** @type {any} */ ({
    ...record,
    ...{ policies: by("policies"), lambdas: by("lambdas"), turns: by("turns"), created },
    samples: PANES.map((pane) => record.samples[pane] || []),
    stream: {
      ...{ id: record.id, controller: new AbortController(), started: 0, asked: [], dirty: new Set() },
      ...{ over: true, stopping: false, job: null, note: null, seconds },
    },
  });
}
/** A line that tells it from others with the same prompt. @param {Generation} run */
export function summaryOf(run) {
  const { request, panes: asked, lambdas, policies, count, turns } = run;
  const turned = asked.filter((pane) => (lambdas[pane] ?? 1) !== 1).map((pane) => `λ ${lambdas[pane]}`);
  const later = Math.max(0, ...PANES.map((pane) => turns[pane]?.length || 0));
  return [
    later ? `turn ${later + 1}: ${request.prompt.slice(0, 60)}` : "",
    [...new Set(asked.map((pane) => about(policies[pane]).label))].join(", "),
    [...new Set(turned)].join(", "),
    `seed ${request.seed}`,
    request.temperature === undefined ? "" : `temperature ${request.temperature}`,
    request.max_new_tokens === undefined ? "" : `${request.max_new_tokens} tokens`,
    count > 1 ? `${count} samples` : "",
    run.same_noise ? "" : "own noise",
  ]
    .filter(Boolean)
    .join(" · ");
}
/** When it was asked: the hour today, the day before that. @param {string} created */
export function timeOf(created, now = new Date()) {
  const then = new Date(created);
  const today = then.toDateString() === now.toDateString();
  /** @type {Intl.DateTimeFormatOptions} */
  const day = today ? {} : { day: "numeric", month: "short" };
  return then.toLocaleString("en-GB", { ...day, hour: "2-digit", minute: "2-digit" });
}
