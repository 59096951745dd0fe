/** One case's section, built from its JSON when it is opened. */
report.cases = (() => {
  const { element, number, measurement, table } = report;

  const section = (heading, ...children) => element("section", { class: "part" }, element("h4", {}, heading), ...children);

  const words = (value) => {
    if (value === null || value === undefined || (Array.isArray(value) && !value.length)) return "none";
    if (Array.isArray(value)) return value.map(words).join(", ");
    if (typeof value === "object") return JSON.stringify(value);
    return typeof value === "boolean" ? (value ? "yes" : "no") : String(value);
  };

  const facts = (heading, values) =>
    section(heading, element("dl", { class: "facts" }, Object.entries(values).map(([name, value]) =>
      element("div", {}, element("dt", {}, name.replaceAll("_", " ")), element("dd", {}, words(value))))));

  const policy = (name) => (name ? element("code", {}, name) : "none known");

  const ranges = (list) => (list === null ? "not reported" : list.length ? list.map(([start, end]) => `${start}–${end}`).join(", ") : "none");

  const indices = (layers) => {
    const runs = [];
    for (const { index } of layers) {
      if (runs.length && runs.at(-1)[1] === index - 1) runs.at(-1)[1] = index;
      else runs.push([index, index]);
    }
    return runs.map(([first, last]) => (first === last ? first : `${first}–${last}`)).join(", ");
  };

  const differs = (layer) => layer.missing + layer.extra > 0;

  const declaration = ({ policy: name, link, reason }) =>
    element("p", { class: "declared" }, "Declared divergence: ", ...(name ? ["sliding layers follow ", policy(name), reason ? "; " : ""] : []),
      reason ? `${reason}. ` : ". ",
      /^https?:\/\//.test(link || "") ? element("a", { href: link, rel: "noreferrer" }, link) : link || "no link");

  /** What further references have of a layer. */
  const beside = (further, index) =>
    further.filter(({ error }) => !error).map(({ name, layers }) => ({ name, ...layers.find((layer) => layer.index === index) }));

  /** For each layer, and for the logits, which sides agree. */
  const agreementPart = ({ agreement, further }) => {
    const columns = ["Layers", "Agree with each other", "Policies", "What stands out"].map((heading) => ({ heading, numeric: false }));
    const rows = agreement.map(({ layers, groups, policies, sentence }) => [
      layers.length ? indices(layers.map((index) => ({ index }))) : "logits",
      groups.map((names) => names.join(", ")).join(" | "),
      Object.entries(policies).map(([name, followed]) => `${name}: ${followed ?? "none known"}`).join("; ") || "–",
      sentence || "–",
    ]);
    const failed = further.filter(({ error }) => error).map(({ name, error }) => element("p", {}, `${name} has no answer: ${error.message}`));
    return section("Agreement of all sides",
      table("Sides that are not divided by a bar let the same pairs through, or have logits within the noise floor of each other.", columns, rows,
        (at) => (agreement[at].groups.length > 1 ? "differs" : null)), failed);
  };

  const layerTable = (layers, further) => {
    const names = beside(further, layers[0].index).map(({ name }) => name);
    const columns = ["Layer", "Type", "Window", "KV head groups", "Reference policy", "Serving policy", ...names.map((name) => `Policy of ${name}`),
      "Reference pairs", "Serving pairs", "Missing", "Extra", "Attention", "Hidden state", "Declared ranges in serving"]
      .map((heading) => ({ heading, numeric: /^(Layer|Window|KV|.* pairs|Missing|Extra|Attention|Hidden)/.test(heading) }));
    const rows = layers.map((layer) => [
      String(layer.index), layer.type.replace("_attention", ""), layer.window ?? "–", String(layer.kv_head_groups),
      policy(layer.reference_policy), policy(layer.serving_policy), ...beside(further, layer.index).map((one) => policy(one.policy)), String(layer.reference_pairs), String(layer.serving_pairs),
      String(layer.missing), String(layer.extra), number(layer.attention_max_abs_diff), number(layer.hidden_max_abs_diff), ranges(layer.declared_ranges),
    ]);
    return table("Observed masks by layer. Attention and hidden state are the largest absolute difference of the attention output and of the state after the layer.",
      columns, rows, (at) => (differs(layers[at]) ? "differs" : null));
  };

  /** Layers of one type whose two masks are the same share their pictures. */
  const alike = (layers, further) => {
    const groups = new Map();
    for (const layer of layers) {
      const key = [layer.type, layer.window, layer.masks.reference, layer.masks.serving,
        ...beside(further, layer.index).map(({ mask }) => mask)].join(" ");
      groups.set(key, [...(groups.get(key) || []), layer]);
    }
    return [...groups.values()];
  };

  const pictures = (layers, tokens, further, open) => {
    const [layer] = layers;
    const others = beside(further, layer.index);
    const difference = layer.first_difference;
    const title = `${layers.length > 1 ? "Layers" : "Layer"} ${indices(layers)}, ${layer.type.replace("_attention", "")}${layer.window ? `, window ${layer.window}` : ""}`;
    const state = differs(layer) ? `${layer.missing} missing, ${layer.extra} extra` : "equal";
    const host = element("div", { class: "mask-host" });
    const details = element("details", { class: "layer", open },
      element("summary", {}, element("span", { class: "layer-title" }, title), element("span", { class: differs(layer) ? "state differs" : "state" }, state)),
      element("p", {}, "Reference: ", policy(layer.reference_policy), ` (${layer.reference_pairs} pairs). Serving: `, policy(layer.serving_policy), ` (${layer.serving_pairs} pairs).`),
      others.map((one) => element("p", {}, `${one.name}: `, policy(one.policy), ` (${one.pairs} pairs`,
        Object.entries(one.apart).map(([side, [missing, extra]]) => `; against ${side === "serving" ? "serving" : "the reference"} ${missing} missing, ${extra} extra`), ").")),
      difference ? element("p", {}, `First difference${layer.kv_head_groups > 1 ? `, KV head group ${difference.kv_head_group}` : ""}: ${difference.text}.`) : null,
      host);
    const draw = () => { if (details.open && !host.hasChildNodes()) report.maskViews.show(host, tokens, layer, others); };
    details.addEventListener("toggle", draw, { once: open });
    return details;
  };

  const layerParts = ({ layers, tokens, further }) => {
    const groups = alike(layers, further);
    const first = groups.find(([layer]) => differs(layer)) || groups[0];
    return section("Attention masks", layerTable(layers, further), report.maskViews.legend(),
      groups.map((group) => pictures(group, tokens, further, group === first || differs(group[0]))));
  };

  const SIDES = JSON.parse(document.getElementById("sides").textContent);

  const logitsPart = (logits, tokens) => {
    const at = tokens[logits.position_of_max]?.name ?? "?";
    const plot = element("div", { class: "plot", role: "img", "aria-label": `Logits by position; the largest difference is at position ${logits.position_of_max}, ${at}` });
    const part = section("Logits",
      element("p", {}, `Largest absolute difference ${measurement(logits.max_abs_diff)} at position ${logits.position_of_max} = ${at}; `,
        element("strong", {}, logits.within ? "within" : "above"), ` the bound: at worst ${measurement(logits.ratio)} times the noise floor (position ${logits.position_of_worst}).`,
        ...Object.entries(logits.not_finite).map(([side, positions]) =>
          ` No number on ${SIDES[side]} at ${positions.length} of ${tokens.length} positions, the first is ${positions[0]}.`),
        ` KL mean ${measurement(logits.kl_mean)}, largest ${measurement(logits.kl_max)} nats. Top-1 agreement ${(100 * logits.top1_agreement).toFixed(1)} %.`),
      plot);
    return { part, draw: () => report.logits.show(plot, logits, tokens) };
  };

  const copy = async (text, from) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      getSelection().selectAllChildren(from);
      document.execCommand("copy");
    }
  };

  /** A line breaks between the words of a command only, not after the hyphens of an option. */
  const command = (text) => {
    const code = element("code", {}, text.split(/(\s+)/).map((word) => element("span", { class: "word" }, word)));
    const button = element("button", { type: "button", onclick: async () => {
      await copy(text, code);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    } }, "Copy");
    return section("Reproduce", element("div", { class: "command" }, element("pre", { tabindex: "0" }, code), button));
  };

  const failure = ({ stage, kind, message, log }) =>
    section("Failure", element("p", {}, "Stage: ", element("strong", {}, stage), ` (${kind})`), element("p", {}, message),
      log ? element("pre", { class: "log", tabindex: "0", role: "region", "aria-label": "End of the log" }, log) : element("p", {}, "No log was kept."));

  const build = (body, data) => {
    body.append(element("p", { class: "title" }, data.title), element("p", { class: "diagnosis-full" }, data.diagnosis));
    if (data.declared) body.append(declaration(data.declared));
    if (data.error) body.append(failure(data.error));
    body.append(section("Layout", element("p", {}, element("code", { class: "layout" }, data.layout)), data.tokens.length ? report.tokens.strip(data.tokens) : ""));
    if (data.further.length) body.append(agreementPart(data));
    if (data.layers.length) body.append(layerParts(data));
    if (data.logits) {
      const { part, draw } = logitsPart(data.logits, data.tokens);
      body.append(part);
      draw();
    }
    body.append(command(data.reproduce));
    const { label, ...setting } = data.setting;
    const seconds = Object.fromEntries(Object.entries(data.seconds).map(([stage, value]) => [stage, `${value.toFixed(2)} s`]));
    const memory = Object.fromEntries(Object.entries(data.memory).map(([whose, bytes]) => [whose, `${(bytes / 1e9).toFixed(1)} GB at most`]));
    body.append(element("div", { class: "fact-columns" }, Object.entries({ "Serving setting": setting, "Model spec": data.model, Versions: data.versions, Time: seconds, Memory: memory, "Further facts": data.extra })
      .filter(([, values]) => Object.keys(values).length).map(([heading, values]) => facts(heading, values))));
  };

  const render = (details) => {
    const body = details.querySelector(".case-body");
    if (!details.open || body.hasChildNodes()) return;
    build(body, JSON.parse(details.querySelector("script").textContent));
  };

  const openFromAddress = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target?.matches("details.case")) return;
    target.hidden = false;
    target.open = true;
    render(target);
    target.scrollIntoView();
    target.querySelector("summary").focus({ preventScroll: true });
  };

  document.querySelectorAll("details.case").forEach((details) => { details.addEventListener("toggle", () => render(details)); });
  addEventListener("hashchange", openFromAddress);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("#overview a");
    if (link && link.hash === location.hash) openFromAddress();
  });
  openFromAddress();
})();
