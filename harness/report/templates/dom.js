"use strict";
const report = {};

/** An element with attributes and children; strings become text, never markup. */
report.element = (name, attributes = {}, ...children) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
};

/** Three significant digits, as in the overview. */
report.number = (value) => {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size < 1e-4 || size >= 1e5 ? value.toExponential(2) : String(Number(value.toPrecision(3)));
};

/** A measured value: null is what was not finite. */
report.measurement = (value) => (value === null ? "not finite" : report.number(value));

/** A table in its own scrolling container. Cells are strings or nodes; columns are {heading, numeric}. */
report.table = (caption, columns, rows, rowClass = () => null) => {
  const { element } = report;
  const cell = (value, index) =>
    element(index ? "td" : "th", { class: columns[index].numeric ? "numeric" : null, scope: index ? null : "row" }, value);
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    element("table", {},
      element("caption", {}, element("span", {}, caption)),
      element("thead", {}, element("tr", {}, columns.map((column) =>
        element("th", { scope: "col", class: column.numeric ? "numeric" : null }, column.heading)))),
      element("tbody", {}, rows.map((row, at) => element("tr", { class: rowClass(at) }, row.map(cell))))));
};

/** The bytes of a base64 string that zlib packed. */
report.unpack = async (text) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};

/** A colour of the page's style sheet, as it is now in light or dark. */
report.colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Runs `draw` when light changes to dark or back. */
report.onTheme = (draw) => matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
