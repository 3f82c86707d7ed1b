/* The same comparison as a command, as Python, as text and as JSON. */
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const quote = (text) => (/^[\w./-]+$/.test(text) ? text : "'" + text.replaceAll("'", "'\\''") + "'");
  const NUMBERS = ["temperature", "top_p", "top_k", "max_new_tokens", "seed"];
  const pythonOf = (value) => (value === true ? "True" : value === false ? "False" : value);
  const settingsOf = (run) => [...NUMBERS.map((name) => [name, run.request[name]]), ...(run.same_noise ? [] : [["same_noise", false]])];
  const turned = (run) => run.arms.some((arm) => run.lambdas[arm] !== 1);
  function command(run) {
    const flags = settingsOf(run).map(([name, value]) => (value === false ? `--no-${name.replaceAll("_", "-")}` : `--${name.replaceAll("_", "-")} ${value}`));
    const names = run.arms.map((arm) => quote(run.policies[arm]));
    return `dpo compare --prompt '${run.request.prompt.replaceAll("'", "'\\''")}' --policies ${names.join(" ")} ${flags.join(" ")}` +
      (turned(run) ? ` --lambda ${run.arms.map((arm) => run.lambdas[arm]).join(" ")}` : "") + (run.count > 1 ? ` --samples ${run.count}` : "");
  }
  function python(run) {
    const literal = (value) => (value === null || value === undefined ? "None" : JSON.stringify(value));
    const seeds = run.count > 1 ? `range(${run.request.seed}, ${run.request.seed + run.count})` : `[${run.request.seed}]`;
    const settings = settingsOf(run).filter(([name]) => name !== "seed").map(([name, value]) => `${name}=${pythonOf(value)}`).join(", ");
    const sampling = `dpo.Sampling(${settings}, seed=seed)`;
    const show = `print(name, seed, text, sep="\\n", end="\\n\\n")`;
    const prompt = `prompt = ${literal(run.request.prompt)}`;
    if (!turned(run)) {
      const names = run.arms.map((arm) => `    ${literal(run.policies[arm])},`);
      return `import dpo\n\n${prompt}\nfor name in [\n${names.join("\n")}\n]:\n    policy = dpo.load_policy(name)\n    for seed in ${seeds}:\n        text = dpo.generate(policy, [prompt], ${sampling})[0].text\n        ${show}\n`;
    }
    const arms = run.arms.map((arm) => `    (${literal(run.policies[arm])}, ${run.lambdas[arm]}, ${literal(run.lambdas[arm] === 1 ? null : window.dpo.compare.about(run.policies[arm]).reference)}),`);
    return `import dpo\nfrom dpo.generation.sampler import Arm, answer\n\n${prompt}\nfor name, strength, reference in [\n${arms.join("\n")}\n]:\n    arm = Arm(dpo.load_policy(name), strength, dpo.load_policy(reference) if reference else None)\n    for seed in ${seeds}:\n        text = "".join(piece.text for piece in answer([arm], prompt, ${sampling}))\n        ${show}\n`;
  }
  function text(run, nameOf) {
    const answers = run.arms.flatMap((arm) => run.samples[arm].filter(Boolean).map((sample) => `${nameOf(arm)} (${run.policies[arm]}, seed ${sample.seed})\n${sample.text}`));
    return [run.request.prompt, ...answers].join("\n\n");
  }
  function json(run) {
    return JSON.stringify({ ...run.request, answers: run.arms.flatMap((arm) => run.samples[arm].filter(Boolean).map((s) => ({
      policy: run.policies[arm], seed: s.seed, text: s.text, tokens: s.tokens, tokens_per_second: s.rate, first_token_seconds: s.first, end: s.end, error: s.failed, reward: s.look?.reward }))) }, null, 1);
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
