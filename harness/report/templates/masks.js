/** Masks as data, and how their codes become pixels. */
report.masks = (() => {
  const NOTHING = 0, EARLIER = 1, LATER = 2;
  const BOTH = 1, MISSING = 2, EXTRA = 3;
  const PATTERN_FROM = 4;

  class Mask {
    constructor(bytes, tokens) { this.bytes = bytes; this.tokens = tokens; }
    static async read(text, tokens) { return new Mask(await report.unpack(text), tokens); }
    at(query, key) {
      const bit = query * this.tokens + key;
      return (this.bytes[bit >> 3] >> (7 - (bit & 7))) & 1;
    }
  }

  const observed = (mask) => (query, key) => (mask.at(query, key) ? (key > query ? LATER : EARLIER) : NOTHING);
  const difference = (reference, serving) => (query, key) => {
    const ours = serving.at(query, key);
    return reference.at(query, key) ? (ours ? BOTH : MISSING) : ours ? EXTRA : NOTHING;
  };

  /** [r, g, b] of a #rrggbb colour of the style sheet. */
  const rgb = (name) => {
    const value = parseInt(report.colour(name).slice(1), 16);
    return [value >> 16, (value >> 8) & 255, value & 255];
  };

  const palettes = {
    observed: () => ["mask-none", "mask-earlier", "mask-later"].map(rgb),
    difference: () => ["mask-none", "mask-both", "mask-missing", "mask-extra"].map(rgb),
  };

  /** Stripes on missing, dots on extra, so that the two differ without colour too. */
  const marked = (code, x, y, unit) =>
    code === MISSING ? (x + y) % (4 * unit) < unit : code === EXTRA && x % (4 * unit) < 2 * unit && y % (4 * unit) < 2 * unit;

  /** One code a pixel; where a pixel stands for many pairs, the highest code in its block. */
  const sample = (code, tokens, side) => {
    const codes = new Uint8Array(side * side);
    const scale = tokens / side;
    for (let y = 0; y < side; y++) {
      const top = Math.floor(y * scale), bottom = Math.max(top + 1, Math.floor((y + 1) * scale));
      for (let x = 0; x < side; x++) {
        const left = Math.floor(x * scale), right = Math.max(left + 1, Math.floor((x + 1) * scale));
        let most = 0;
        for (let query = top; query < bottom; query++)
          for (let key = left; key < right; key++) most = Math.max(most, code(query, key));
        codes[y * side + x] = most;
      }
    }
    return codes;
  };

  /** Draws codes at (margin, margin); `cell` is device pixels a pair, 0 where pairs share pixels. */
  const paint = (context, codes, columns, { cell, margin, palette, patterns, unit }) => {
    const size = cell || 1, side = columns * size;
    const image = context.createImageData(side, side);
    const grid = rgb("mask-grid"), ink = rgb("mask-ink");
    const lines = size >= 7 * unit ? unit : 0;
    for (let y = 0; y < side; y++) {
      const row = Math.floor(y / size) * columns;
      for (let x = 0; x < side; x++) {
        const code = codes[row + Math.floor(x / size)];
        const line = lines && (size - (x % size) <= lines || size - (y % size) <= lines);
        const mark = patterns && size >= PATTERN_FROM * unit && marked(code, x, y, unit);
        const [r, g, b] = line ? grid : mark ? ink : palette[code];
        image.data.set([r, g, b, 255], (y * side + x) * 4);
      }
    }
    context.putImageData(image, margin, margin);
  };

  return { Mask, observed, difference, sample, paint, palettes, NOTHING, BOTH, MISSING, EXTRA };
})();
