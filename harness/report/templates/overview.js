/** The overview's filters and sorting; a case's section is shown when its row is. */
(() => {
  const form = document.getElementById("filters");
  const search = document.getElementById("search");
  const verdicts = [...document.querySelectorAll(".count")];
  const body = document.querySelector("#overview tbody");
  const rows = [...body.rows].map((row) => ({
    row, text: row.textContent.toLowerCase(), verdict: row.dataset.verdict,
    facets: JSON.parse(row.dataset.facets), section: document.getElementById(row.dataset.case),
  }));

  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const pressed = verdicts.filter((button) => button.getAttribute("aria-pressed") === "true").map((button) => button.dataset.verdict);
    const chosen = [...form.querySelectorAll("select")].filter((select) => select.value);
    let shown = 0;
    for (const { row, text, verdict, facets, section } of rows) {
      const matches = words.every((word) => text.includes(word)) && (!pressed.length || pressed.includes(verdict)) &&
        chosen.every((select) => facets[select.dataset.facet].includes(select.value));
      row.hidden = section.hidden = !matches;
      shown += matches;
    }
    document.getElementById("shown").textContent = `${shown} of ${rows.length} shown`;
    document.getElementById("none-shown").hidden = shown > 0;
  };

  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  };

  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));

  const sort = (heading) => {
    const descending = heading.getAttribute("aria-sort") === "ascending";
    for (const other of heading.parentElement.cells) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const ordered = rows.map(({ row }) => row).sort((a, b) => compare(value(a, heading.cellIndex), value(b, heading.cellIndex)));
    body.append(...(descending ? ordered.reverse() : ordered));
  };

  for (const button of verdicts) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      apply();
    });
  }
  document.querySelectorAll("#overview .sort").forEach((button) => { button.addEventListener("click", () => sort(button.closest("th"))); });
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => {
    verdicts.forEach((button) => { button.setAttribute("aria-pressed", "false"); });
    setTimeout(apply);
  });
  apply();
})();
