/** Linked pictures of one layer: reference, serving, difference, and of each further reference, with one read-out for pointer and keys. */
report.maskViews = (() => {
  const { element, masks } = report;
  const MARGIN = 10, BAR = 7, LARGEST_CELL = 20, LARGEST_SIDE = 460;
  const WORDS = {
    [masks.NOTHING]: "neither attends",
    [masks.BOTH]: "both attend",
    [masks.MISSING]: "reference attends, serving does not",
    [masks.EXTRA]: "serving attends, reference does not",
  };

  class Picture {
    constructor(title, tokens, code, kind, cursor) {
      Object.assign(this, { title, tokens, code, kind, cursor });
      this.canvas = element("canvas", {
        tabindex: "0", role: "application", "aria-roledescription": "mask",
        "aria-label": `${title}: ${tokens.length} queries by ${tokens.length} keys. Arrow keys move the read-out.`,
        onpointermove: (event) => this.point(event), onpointerdown: (event) => this.point(event),
        onpointerleave: () => this.cursor.hide(), onkeydown: (event) => this.cursor.press(event),
        onfocus: () => this.cursor.show(), onblur: () => this.cursor.hide(),
      });
      this.row = element("div", { class: "hair" });
      this.column = element("div", { class: "hair" });
      this.frame = element("div", { class: "frame" }, this.canvas, this.row, this.column);
      this.note = element("span", { class: "sub" });
      this.figure = element("figure", { class: "mask" }, element("figcaption", {}, title, this.note), this.frame);
    }

    draw() {
      const count = this.tokens.length, ratio = window.devicePixelRatio || 1;
      const width = Math.min(this.figure.clientWidth, LARGEST_SIDE);
      if (!width) return;
      const margin = Math.round(MARGIN * ratio), room = Math.floor(width * ratio) - margin;
      const cell = Math.min(Math.floor(room / count), Math.round(LARGEST_CELL * ratio));
      const columns = cell ? count : room, side = cell ? count * cell : room;
      if (this.columns !== columns) this.codes = masks.sample(this.code, count, columns);
      Object.assign(this, { columns, side: side / ratio, margin: margin / ratio });
      this.canvas.width = this.canvas.height = side + margin;
      this.canvas.style.width = this.canvas.style.height = `${(side + margin) / ratio}px`;
      this.note.textContent = cell ? "" : ` one dot stands for ${Math.ceil(count / room)} × ${Math.ceil(count / room)} pairs; it shows a difference in any of them`;
      const context = this.canvas.getContext("2d");
      const unit = Math.max(1, Math.round(ratio));
      masks.paint(context, this.codes, columns, { cell, margin, palette: masks.palettes[this.kind](), patterns: this.kind === "difference", unit });
      this.bars(context, margin, side / count, Math.round(BAR * ratio));
      this.place();
    }

    bars(context, margin, step, thick) {
      this.tokens.forEach((token, position) => {
        context.fillStyle = report.colour(`kind-${report.tokens.colourClass(token)}`);
        const start = margin + Math.floor(position * step), length = Math.max(1, Math.ceil(step));
        context.fillRect(start, 0, length, thick);
        context.fillRect(0, start, thick, length);
      });
    }

    point(event) {
      const box = this.canvas.getBoundingClientRect();
      const step = this.side / this.tokens.length;
      const at = (distance) => Math.max(0, Math.min(this.tokens.length - 1, Math.floor((distance - this.margin) / step)));
      this.cursor.move(at(event.clientY - box.top), at(event.clientX - box.left));
    }

    place() {
      const { shown, query, key } = this.cursor;
      this.row.hidden = this.column.hidden = !shown;
      const step = this.side / this.tokens.length, thick = `${Math.max(step, 1)}px`, long = `${this.side}px`, edge = `${this.margin}px`;
      Object.assign(this.row.style, { top: `${this.margin + query * step}px`, left: edge, height: thick, width: long });
      Object.assign(this.column.style, { left: `${this.margin + key * step}px`, top: edge, width: thick, height: long });
    }
  }

  /** The pair that the read-out tells of, shared by the pictures of a layer. */
  class Cursor {
    constructor(tokens, code, start, readout) {
      Object.assign(this, { tokens, code, readout, query: start.query, key: start.key, shown: false, pictures: [] });
    }

    move(query, key) {
      Object.assign(this, { query, key });
      this.show();
    }

    show() {
      const { query, key, tokens } = this;
      this.shown = true;
      this.readout.textContent =
        `query ${query} = ${tokens[query].name} · key ${key} = ${tokens[key].name} · ${WORDS[this.code(query, key)]}`;
      this.pictures.forEach((picture) => { picture.place(); });
    }

    hide() {
      if (this.pictures.some((picture) => picture.canvas === document.activeElement)) return;
      this.shown = false;
      this.pictures.forEach((picture) => { picture.place(); });
    }

    press(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const last = this.tokens.length - 1, { query, key } = this;
      const moves = {
        ArrowUp: () => [Math.max(0, query - 1), key],
        ArrowDown: () => [Math.min(last, query + 1), key],
        ArrowLeft: () => [query, Math.max(0, key - 1)],
        ArrowRight: () => [query, Math.min(last, key + 1)],
        Home: () => [query, 0],
        End: () => [query, last],
        n: () => this.difference(1),
        p: () => this.difference(-1),
      };
      if (!moves[event.key]) return;
      event.preventDefault();
      this.move(...moves[event.key]());
    }

    /** The next differing pair in a direction, row by row; where there is none, the present one. */
    difference(direction) {
      const count = this.tokens.length;
      let at = this.query * count + this.key + direction;
      for (; at >= 0 && at < count * count; at += direction) {
        const query = Math.floor(at / count), key = at % count;
        if (this.code(query, key) >= masks.MISSING) return [query, key];
      }
      return [this.query, this.key];
    }
  }

  const swatch = (kind, name, words) => element("li", {}, element("span", { class: `swatch ${kind} ${name}`, "aria-hidden": "true" }), ` ${words}`);

  const legend = () =>
    element("ul", { class: "legend", "aria-label": "Legend of the masks" },
      swatch("mask-key", "earlier", "attends, key not after the query"),
      swatch("mask-key", "later", "attends, key after the query"),
      swatch("mask-key", "both", "both attend"),
      swatch("mask-key", "missing", "missing: only the reference attends"),
      swatch("mask-key", "extra", "extra: only serving attends"));

  const HINT = "Queries run down, keys across. Point at a pair, or use the arrow keys in a picture.";

  /** Fills `host` with the pictures of a layer's masks, and of the `others` of further references; they follow the width of the page
   * and the theme. */
  const show = async (host, tokens, layer, others) => {
    const texts = [layer.masks.reference, layer.masks.serving, ...others.map(({ mask }) => mask)];
    const [reference, serving, ...further] = await Promise.all(texts.map((text) => masks.Mask.read(text, tokens.length)));
    const difference = masks.difference(reference, serving);
    const readout = element("p", { class: "readout", role: "status" }, HINT);
    const cursor = new Cursor(tokens, difference, layer.first_difference || { query: 0, key: 0 }, readout);
    cursor.pictures = [
      new Picture("Reference", tokens, masks.observed(reference), "observed", cursor),
      new Picture("Serving", tokens, masks.observed(serving), "observed", cursor),
      new Picture("Difference", tokens, difference, "difference", cursor),
      ...further.map((mask, at) => new Picture(others[at].name, tokens, masks.observed(mask), "observed", cursor)),
    ];
    host.append(element("div", { class: "masks" }, cursor.pictures.map((picture) => picture.figure)), readout);
    const draw = () => cursor.pictures.forEach((picture) => { picture.draw(); });
    let width = 0;
    new ResizeObserver(([entry]) => {
      if (entry.contentRect.width === width) return;
      width = entry.contentRect.width;
      draw();
    }).observe(host);
    report.onTheme(draw);
  };

  return { show, legend };
})();
