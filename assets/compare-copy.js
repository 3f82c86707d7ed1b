/* The same comparison as a command, as Python, as text and as JSON. */
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const quote = (text) => (/^[\w./-]+$/.test(text) ? text : "'" + text.replaceAll("'", "'\\''") + "'");
  const flags = (settings) => Object.entries(settings).map(([name, value]) => `--${name.replaceAll("_", "-")} ${value}`).join(" ");
  const settingsOf = (run, group) => {
    const { prompt, ...settings } = run.request;
    return { ...settings, seed: group.seed };
  };
  /* One line for each seed that was asked for. */
  function command(run) {
    return run.groups.map((group) => `dpo compare --prompt ${quote(run.request.prompt).replace(/^([^'].*)$/, "'$1'")} --policies ${group.arms.map((arm) => quote(run.policies[arm])).join(" ")} ${flags(settingsOf(run, group))}`).join(" && ");
  }
  function python(run) {
    const literal = (value) => JSON.stringify(value);
    const calls = run.groups.map((group) => `    (${literal(group.arms.map((arm) => run.policies[arm]))}, dpo.Sampling(${Object.entries(settingsOf(run, group)).map(([name, value]) => `${name}=${value}`).join(", ")})),`);
    return `import dpo\n\nprompt = ${literal(run.request.prompt)}\nfor names, sampling in [\n${calls.join("\n")}\n]:\n    for name in names:\n        [answer] = dpo.generate(dpo.load_policy(name), [prompt], sampling)\n        print(name, answer.text, sep="\\n", end="\\n\\n")\n`;
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
