/** Logits by position, drawn with the plotly.js that the page carries, unpacked at first use. */
report.logits = (() => {
  const { element, number } = report;
  let loaded = null;

  const load = () =>
    (loaded ??= report.unpack(document.getElementById("plotly-packed").textContent).then((bytes) => {
      document.head.append(element("script", {}, new TextDecoder().decode(bytes)));
      return window.Plotly;
    }));

  const measured = (...lists) => lists.flat().filter((value) => value > 0);

  const lowest = (...lists) => measured(...lists).reduce((least, value) => Math.min(least, value), 1) / 10;

  /** The range of a logarithmic axis in whole decades, and ticks at five of them at most. */
  const decades = (...lists) => {
    const exponents = measured(...lists).map(Math.log10);
    const low = exponents.length ? Math.floor(Math.min(...exponents)) : -1;
    const high = exponents.length ? Math.max(low + 1, Math.ceil(Math.max(...exponents))) : 0;
    return { range: [low - 0.2, high + 0.2], dtick: Math.ceil((high - low) / 4) };
  };

  /** On a logarithmic axis zero has no place: it is drawn below the smallest value, and named 0 in the read-out. */
  const drawable = (values, lowest) => values.map((value) => (value === 0 ? lowest : value));

  const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");

  const trace = (name, values, lowest, tokens, style) => ({
    name, x: values.map((_, position) => position), y: drawable(values, lowest), type: "scatter",
    mode: values.length > 300 ? "lines" : "lines+markers",
    text: values.map((value, position) => `position ${position} = ${escaped(tokens[position]?.name ?? "?")}<br>${name} ${number(value)}`),
    hovertemplate: "%{text}<extra></extra>",
    line: { color: style.color, dash: style.dash, width: 1.75 }, marker: { color: style.color, symbol: style.symbol, size: 6 },
    yaxis: style.axis ?? "y", connectgaps: false, cliponaxis: false,
  });

  const figure = (logits, tokens, narrow) => {
    const { max_abs_diff: off, floor, kl, bound } = logits.by_position;
    const ink = report.colour("ink"), soft = report.colour("line");
    const offLow = lowest(off, floor), klLow = lowest(kl);
    const axis = { gridcolor: soft, linecolor: soft, zeroline: false, color: ink, automargin: true };
    const log = { ...axis, type: "log", exponentformat: "power" };
    return {
      data: [
        trace("max abs difference", off, offLow, tokens, { color: report.colour("plot-serving"), symbol: "circle" }),
        trace("noise floor", floor, offLow, tokens, { color: report.colour("plot-floor"), symbol: "square", dash: "dot" }),
        trace("bound", bound, offLow, tokens, { color: report.colour("plot-bound"), dash: "dash", symbol: "line-ew" }),
        trace("KL(reference ‖ serving)", kl, klLow, tokens, { color: report.colour("plot-kl"), symbol: "diamond", axis: "y2" }),
      ],
      layout: {
        height: 420, margin: { l: 56, r: 12, t: narrow ? 84 : 40, b: 44 }, hovermode: "closest",
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, family: "system-ui, sans-serif", size: 12 },
        hoverlabel: { bgcolor: report.colour("raised"), bordercolor: soft, font: { color: ink } },
        legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
        xaxis: { ...axis, title: { text: "position" }, anchor: "y2", rangemode: "tozero" },
        yaxis: { ...log, ...decades(...[off, floor, bound].map((values) => drawable(values, offLow))), domain: [0.46, 1], title: { text: "logits", standoff: 12 } },
        yaxis2: { ...log, ...decades(drawable(kl, klLow)), domain: [0, 0.38], title: { text: "KL, nats", standoff: 12 } },
      },
    };
  };

  /** Draws into `host`, and again when the theme or the width changes. */
  const show = async (host, logits, tokens) => {
    const Plotly = await load();
    const draw = () => {
      const { data, layout } = figure(logits, tokens, host.clientWidth < 640);
      return Plotly.react(host, data, layout, { displaylogo: false, responsive: true, displayModeBar: false });
    };
    report.onTheme(draw);
    await draw();
  };

  return { show };
})();
