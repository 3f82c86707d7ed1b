/* The same comparison as a command, as Python, as text and as JSON. */
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const quote = (text) => (/^[\w./-]+$/.test(text) ? text : "'" + text.replaceAll("'", "'\\''") + "'");
  const pythonOf = (value) => (value === true ? "True" : value === false ? "False" : value);
  /* The answers' own settings, whatever stands above them by now. */
  const settingsOf = (run, seed = run.request.seed) => [...window.dpo.cmp.fields.map((name) => [name, name === "seed" ? seed : run.request[name]]), ...(run.same_noise ? [] : [["same_noise", false]])];
  const turned = (run) => run.arms.some((arm) => run.lambdas[arm] !== 1);
  const turnsOf = (run, arm) => run.turns[arm] || [];
  const later = (run) => Math.max(0, ...run.arms.map((arm) => turnsOf(run, arm).length));
  const seedOf = (run, arm) => run.samples[arm]?.[0]?.seed ?? run.request.seed;
  /* A pane that was asked again has a seed, and a count of samples, of its own: a command, or a call, for each such group. */
  function groups(run) {
    const found = new Map();
    for (const arm of run.arms) {
      const seed = seedOf(run, arm), count = Math.max(run.samples[arm]?.length || 0, 1), key = `${seed} ${count}`;
      if (!found.has(key)) found.set(key, { seed, count, arms: [] });
      found.get(key).arms.push(arm);
    }
    return [...found.values()];
  }
  function commandOf(run, { seed, count, arms }) {
    const flags = settingsOf(run, seed).map(([name, value]) => (value === false ? `--no-${name.replaceAll("_", "-")}` : `--${name.replaceAll("_", "-")} ${value}`));
    const names = arms.map((arm) => quote(run.policies[arm]));
    return `dpo compare --prompt '${run.first.replaceAll("'", "'\\''")}' --policies ${names.join(" ")} ${flags.join(" ")}` +
      (arms.some((arm) => run.lambdas[arm] !== 1) ? ` --lambda ${arms.map((arm) => run.lambdas[arm]).join(" ")}` : "") + (count > 1 ? ` --samples ${count}` : "");
  }
  function command(run) {
    return groups(run).map((group) => commandOf(run, group)).join("\n") + (later(run) ? `  # the first turn of ${later(run) + 1}` : "");
  }
  const literal = (value) => (value === null || value === undefined ? "None" : JSON.stringify(value));
  function python(run) {
    const settings = settingsOf(run).filter(([name]) => name !== "seed").map(([name, value]) => `${name}=${pythonOf(value)}`).join(", ");
    const prompt = `prompt = ${literal(run.request.prompt)}`;
    const seedsOf = ({ seed, count }) => (count > 1 ? `range(${seed}, ${seed + count})` : `[${seed}]`);
    if (!turned(run) && !later(run) && run.arms.every((arm) => !window.dpo.cmp.about(run.policies[arm]).note)) {
      const names = groups(run).flatMap((group) => group.arms.map((arm) => `    (${literal(run.policies[arm])}, ${seedsOf(group)}),`));
      return `import dpo\n\n${prompt}\nfor name, seeds in [\n${names.join("\n")}\n]:\n    policy = dpo.load_policy(name)\n    for seed in seeds:\n` +
        `        text = dpo.generate(policy, [prompt], dpo.Sampling(${settings}, seed=seed))[0].text\n        print(name, seed, text, sep="\\n", end="\\n\\n")\n`;
    }
    const armOf = (arm) => {
      const turns = turnsOf(run, arm).length ? `, "turns": ${literal(turnsOf(run, arm))}` : "";
      return `        {"policy": ${literal(run.policies[arm])}, "lambda": ${run.lambdas[arm]}${turns}},`;
    };
    const jobs = groups(run).map(({ seed, count, arms }) => `    (${seed}, ${count}, [\n${arms.map(armOf).join("\n")}\n    ]),`);
    return `import dpo\nfrom dpo.generation.engine import Engine\n\n${prompt}\nengine = Engine()\nfor seed, samples, arms in [\n${jobs.join("\n")}\n]:\n` +
      `    texts = {}\n    job = engine.submit(prompt, arms, dpo.Sampling(${settings}, seed=seed), samples=samples)\n` +
      `    for event in engine.follow(job):\n        if event["event"] in ("token", "done"):\n            key = event["arm"], event["sample"]\n` +
      `            texts[key] = texts.get(key, "") + event["text"]\n        elif event["event"] == "failed":\n            print(event["message"])\n` +
      `    for (arm, sample), text in sorted(texts.items()):\n        print(arms[arm]["policy"], seed + sample, text, sep="\\n", end="\\n\\n")\nengine.close()\n`;
  }
  function text(run, nameOf) {
    const answers = run.arms.flatMap((arm) => run.samples[arm].filter(Boolean).map((sample) => {
      const before = turnsOf(run, arm).map(([said, answer]) => `> ${said}\n${answer}\n`);
      return `${nameOf(arm)} (${run.policies[arm]}, seed ${sample.seed})\n${before.join("")}${before.length ? `> ${run.request.prompt}\n` : ""}${sample.text}`;
    }));
    return [run.first, ...answers].join("\n\n");
  }
  function json(run) {
    return JSON.stringify({ ...run.request, answers: run.arms.flatMap((arm) => run.samples[arm].filter(Boolean).map((s) => ({
      policy: run.policies[arm], lambda: run.lambdas[arm], turns: turnsOf(run, arm), seed: s.seed, text: s.text, tokens: s.tokens, tokens_per_second: s.rate, first_token_seconds: s.first, end: s.end, error: s.failed, reward: s.look?.reward }))) }, null, 1);
  }
  function download(run) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([json(run)], { type: "application/json" }));
    link.download = "compare.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
  document.addEventListener("click", (event) => {
    const run = window.dpo.compare?.state();
    if (!(event.target instanceof Element) || !run) return;
    const button = event.target.closest("#cmp-copy-command, #cmp-copy-text, #cmp-copy-python");
    const nameOf = (arm) => $(`cmp-pane-${arm}`).dataset.name;
    if (button) window.dpo.copy({ "cmp-copy-command": () => command(run), "cmp-copy-text": () => text(run, nameOf), "cmp-copy-python": () => python(run) }[button.id](), button);
    if (event.target.closest("#cmp-json")) download(run);
  });
  window.dpo = Object.assign(window.dpo || {}, { commandOf: command });
})();
