for (const button of document.querySelectorAll("button[data-toggle]")) {
  button.addEventListener("click", () => {
    const items = [...document.querySelectorAll(`#${button.dataset.toggle} details.item`)].filter((item) => !item.hidden);
    const open = items.some((item) => !item.open);
    for (const item of items) item.open = open;
    button.textContent = open ? "Close all" : "Open all";
  });
}

for (const form of document.querySelectorAll("form.filters")) {
  const list = form.parentElement.querySelector(".items");
  const fields = form.elements;
  const entries = [...list.children].map((item, place) => ({
    item,
    place,
    shares: item.dataset.shares.split(",").map((share) => (share === "" ? null : 100 * share)),
    states: item.dataset.states.split(","),
  }));

  // Of a prompt, what counts of the chosen model, or of any.
  const chosen = (values) => (fields.model?.value ? [values[fields.model.value]] : values);
  const scores = (entry) => chosen(entry.shares).filter((share) => share !== null);
  const bound = (field, otherwise) => (field.value === "" ? otherwise : Number(field.value));

  const matches = (entry, words) => {
    const { benchmark, group } = entry.item.dataset;
    if (fields.benchmark.value && benchmark !== fields.benchmark.value) return false;
    if (fields.group.value && group !== fields.group.value) return false;
    if (fields.state.value && !chosen(entry.states).includes(fields.state.value)) return false;
    if (fields.low.value !== "" || fields.high.value !== "") {
      const [low, high] = [bound(fields.low, 0), bound(fields.high, 100)];
      if (!scores(entry).some((share) => share >= low - 1e-9 && share <= high + 1e-9)) return false;
    }
    return words === "" || entry.item.textContent.toLowerCase().includes(words);
  };

  const direction = { low: 1, high: -1 };
  const rank = (entry) => {
    const found = scores(entry);
    if (!found.length) return Infinity;
    return direction[fields.order.value] * (fields.order.value === "low" ? Math.min(...found) : Math.max(...found));
  };

  const apply = () => {
    const words = fields.text.value.trim().toLowerCase();
    let shown = 0;
    for (const entry of entries) {
      entry.item.hidden = !matches(entry, words);
      shown += !entry.item.hidden;
    }
    form.querySelector("output").textContent = `${shown} of ${entries.length} shown`;
  };

  const reorder = () => {
    const ranks = new Map(entries.map((entry) => [entry, fields.order.value ? rank(entry) : entry.place]));
    const sorted = [...entries].sort((a, b) => ranks.get(a) - ranks.get(b) || a.place - b.place);
    list.append(...sorted.map((entry) => entry.item));
  };

  const domains = () => {
    for (const group of fields.group.querySelectorAll("optgroup")) {
      const other = fields.benchmark.value && group.dataset.benchmark !== fields.benchmark.value;
      group.hidden = group.disabled = Boolean(other);
    }
    if (fields.group.selectedOptions[0]?.parentElement.disabled) fields.group.value = "";
  };

  form.addEventListener("input", (event) => {
    if (event.target === fields.benchmark) domains();
    if (event.target === fields.order || (fields.order.value && event.target === fields.model)) reorder();
    apply();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
}
