// @ts-check
/* The same comparison as a command, as Python, as text and as JSON. */
import { quote, quoted } from "../lib/format.js";
import { about, state } from "./state.js";

/**
 * @typedef {import("./state.js").Generation} Generation
 * @typedef {{ seed: number, count: number, panes: number[] }} Group panes that one command, or one call, can ask
 */

/** @param {Generation} run @param {number} pane */
const turnsOf = (run, pane) => run.turns[pane] || [];
/** @param {Generation} run */
const turned = (run) => run.panes.some((pane) => run.lambdas[pane] !== 1);
/** How many turns were before. @param {Generation} run */
const later = (run) => Math.max(0, ...run.panes.map((pane) => turnsOf(run, pane).length));

/**
 * The answers' own settings, whatever stands above them by now.
 * @param {Generation} run
 * @returns {[string, number | boolean][]}
 */
function settingsOf(run, seed = run.request.seed) {
  /** @type {[string, number | boolean][]} */
  const settings = state.fields.map((name) => [name, name === "seed" ? seed : run.request[name]]);
  return run.same_noise ? settings : [...settings, ["same_noise", false]];
}
/**
 * A pane that was asked again has a seed, and a count of samples, of its own: a group for each such.
 * @param {Generation} run
 * @returns {Group[]}
 */
function groups(run) {
  /** @type {Map<string, Group>} */
  const found = new Map();
  for (const pane of run.panes) {
    const seed = run.samples[pane]?.[0]?.seed ?? run.request.seed;
    const count = Math.max(run.samples[pane]?.length || 0, 1);
    const group = found.get(`${seed} ${count}`) || { seed, count, panes: [] };
    group.panes.push(pane);
    found.set(`${seed} ${count}`, group);
  }
  return [...found.values()];
}
/** @param {Generation} run @param {Group} group */
function commandOf(run, { seed, count, panes }) {
  const flags = settingsOf(run, seed).map(([name, value]) => {
    const flag = name.replaceAll("_", "-");
    return value === false ? `--no-${flag}` : `--${flag} ${value}`;
  });
  const names = panes.map((pane) => quote(run.policies[pane]));
  const lambdas = panes.map((pane) => run.lambdas[pane]);
  return [
    `dpo compare --prompt ${quoted(run.first)} --policies ${names.join(" ")} ${flags.join(" ")}`,
    ...(lambdas.some((lambda) => lambda !== 1) ? [`--lambda ${lambdas.join(" ")}`] : []),
    ...(count > 1 ? [`--samples ${count}`] : []),
  ].join(" ");
}
/** @param {Generation} run */
export function command(run) {
  const commands = groups(run).map((group) => commandOf(run, group));
  return commands.join("\n") + (later(run) ? `  # the first turn of ${later(run) + 1}` : "");
}

/** @param {unknown} value */
const literal = (value) => (value === null || value === undefined ? "None" : JSON.stringify(value));
/** @param {unknown} value */
const pythonOf = (value) => (value === true ? "True" : value === false ? "False" : value);
/** @param {Group} group */
const seedsOf = ({ seed, count }) => (count > 1 ? `range(${seed}, ${seed + count})` : `[${seed}]`);

/** @param {Generation} run */
export function python(run) {
  const settings = settingsOf(run)
    .filter(([name]) => name !== "seed")
    .map(([name, value]) => `${name}=${pythonOf(value)}`)
    .join(", ");
  const simple = !turned(run) && !later(run) && run.panes.every((pane) => !about(run.policies[pane]).note);
  return simple ? pythonOfPolicies(run, settings) : pythonOfEngine(run, settings);
}
/** @param {Generation} run @param {string} settings */
function pythonOfPolicies(run, settings) {
  const names = groups(run).flatMap((group) =>
    group.panes.map((pane) => `    (${literal(run.policies[pane])}, ${seedsOf(group)}),`),
  );
  return `import dpo

prompt = ${literal(run.request.prompt)}
for name, seeds in [
${names.join("\n")}
]:
    policy = dpo.load_policy(name)
    for seed in seeds:
        text = dpo.generate(policy, [prompt], dpo.Sampling(${settings}, seed=seed))[0].text
        print(name, seed, text, sep="\\n", end="\\n\\n")
`;
}
/** @param {Generation} run @param {string} settings */
function pythonOfEngine(run, settings) {
  const asked = /** @param {number} pane */ (pane) => {
    const turns = turnsOf(run, pane).length ? `, "turns": ${literal(turnsOf(run, pane))}` : "";
    return `        {"policy": ${literal(run.policies[pane])}, "lambda": ${run.lambdas[pane]}${turns}},`;
  };
  const jobs = groups(run).map(
    ({ seed, count, panes }) => `    (${seed}, ${count}, [\n${panes.map(asked).join("\n")}\n    ]),`,
  );
  return `import dpo
from dpo.generation.engine import Engine

prompt = ${literal(run.request.prompt)}
engine = Engine()
for seed, samples, arms in [
${jobs.join("\n")}
]:
    texts = {}
    job = engine.submit(prompt, arms, dpo.Sampling(${settings}, seed=seed), samples=samples)
    for event in engine.follow(job):
        if event["event"] in ("token", "done"):
            key = event["arm"], event["sample"]
            texts[key] = texts.get(key, "") + event["text"]
        elif event["event"] == "failed":
            print(event["message"])
    for (arm, sample), text in sorted(texts.items()):
        print(arms[arm]["policy"], seed + sample, text, sep="\\n", end="\\n\\n")
engine.close()
`;
}
/** @param {Generation} run @param {(pane: number) => string} nameOf */
export function text(run, nameOf) {
  const answers = run.panes.flatMap((pane) =>
    run.samples[pane].filter(Boolean).map((sample) => {
      const before = turnsOf(run, pane).map(([prompt, answer]) => `> ${prompt}\n${answer}\n`);
      const question = before.length ? `> ${run.request.prompt}\n` : "";
      const head = `${nameOf(pane)} (${run.policies[pane]}, seed ${sample.seed})`;
      return `${head}\n${before.join("")}${question}${sample.text}`;
    }),
  );
  return [run.first, ...answers].join("\n\n");
}
/** @param {Generation} run */
export function json(run) {
  const answers = run.panes.flatMap((pane) =>
    run.samples[pane].filter(Boolean).map((sample) => ({
      policy: run.policies[pane],
      lambda: run.lambdas[pane],
      turns: turnsOf(run, pane),
      seed: sample.seed,
      text: sample.text,
      tokens: sample.tokens,
      tokens_per_second: sample.rate,
      first_token_seconds: sample.first,
      end: sample.end,
      error: sample.failed,
      reward: sample.look?.reward,
    })),
  );
  return JSON.stringify({ ...run.request, answers }, null, 1);
}
