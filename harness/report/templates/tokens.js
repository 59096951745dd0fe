/** The layout as a strip: runs of tokens of one kind, each token a lettered cell. */
report.tokens = (() => {
  const { element } = report;
  const LONG = 400, HEAD = 6, TAIL = 3;
  const LETTERS = { text: "t", boi: "[", eoi: "]", boa: "(", eoa: ")", audio: "a", video: "v" };

  const spanName = (token) => token.name.split(", soft token")[0];
  const numberOf = (token) => Number((token.name.match(/^\w+ (\d+)/) || [0, 0])[1]);

  /** The CSS class of a token: kinds, and three turns of image colours. */
  const colourClass = (token) =>
    token.kind === "image" ? `image-${(numberOf(token) + 2) % 3}` : { eoi: "boi", boa: "boi", eoa: "boi" }[token.kind] || token.kind;

  const letter = (token) => (token.kind === "image" ? String(numberOf(token) || "i") : LETTERS[token.kind] || "?");

  const runs = (tokens) => {
    const found = [];
    for (const token of tokens) {
      const last = found.at(-1);
      const same = last && last[0].kind === token.kind && last[0].segment === token.segment && spanName(last[0]) === spanName(token);
      if (same) last.push(token);
      else found.push([token]);
    }
    return found;
  };

  const cell = (token) =>
    element("span", { class: `token ${colourClass(token)}`, title: `${token.position}: ${token.name}` }, letter(token));

  const run = (tokens, shorten) => {
    const first = tokens[0], last = tokens.at(-1);
    const range = tokens.length > 1 ? `${first.position}–${last.position}` : String(first.position);
    const hidden = shorten && tokens.length > HEAD + TAIL + 1 ? tokens.length - HEAD - TAIL : 0;
    const cells = hidden
      ? [...tokens.slice(0, HEAD).map(cell), element("span", { class: "token-more" }, `+${hidden}`), ...tokens.slice(-TAIL).map(cell)]
      : tokens.map(cell);
    const label = `${spanName(first)}, ${tokens.length} ${tokens.length > 1 ? "tokens" : "token"}, ${tokens.length > 1 ? "positions" : "position"} ${range}`;
    return element("li", { class: "run" },
      element("span", { class: "visually-hidden" }, label),
      element("span", { class: "run-cells", "aria-hidden": "true" }, cells),
      element("span", { class: "run-range", "aria-hidden": "true" }, range));
  };

  const legend = (tokens) => {
    const seen = new Map();
    for (const token of tokens) {
      const kind = { boa: "boa", eoa: "eoa" }[token.kind] || token.kind;
      const name = kind === "image" ? `image ${numberOf(token)}` : kind;
      if (!seen.has(name)) seen.set(name, token);
    }
    const entries = [...seen].slice(0, 12).map(([name, token]) => element("li", {}, cell(token), ` ${name}`));
    if (seen.size > 12) entries.push(element("li", {}, `and ${seen.size - 12} more`));
    return element("ul", { class: "legend", "aria-label": "Legend of token kinds" }, entries);
  };

  const strip = (tokens) =>
    element("div", {},
      element("ol", { class: "strip", "aria-label": "Tokens of the prompt in order" }, runs(tokens).map((r) => run(r, tokens.length > LONG))),
      legend(tokens));

  return { strip, colourClass };
})();
