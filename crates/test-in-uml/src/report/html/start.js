// The head of the page, the keys, and the first drawing.

function showHead() {
  const counts = count(results);
  for (const state of STATES) {
    if (!counts[state]) continue;
    const part = make("i", { class: state, title: counts[state] + " " + LABELS[state].toLowerCase() });
    part.style.flex = String(counts[state]);
    $("bar").append(part);
  }
  if (run.startedAt) $("facts").append(make("li", {}, new Date(run.startedAt * 1000).toLocaleString()));
  for (const kernel of run.kernels) {
    const more = [kernel.release, kernel.compiler && "gcc " + kernel.compiler.trim(), kernel.transport].filter(Boolean).join(", ");
    $("facts").append(make("li", {}, make("b", {}, "Linux " + kernel.name), more ? " " + more : ""));
  }
}

function showChanges() {
  const changes = run.comparison;
  if (!changes) return;
  $("changes").hidden = false;
  $("changes-head").textContent = "Against run " + changes.headline;
  const link = (change, said) => {
    const kernel = run.kernels.findIndex((one) => one.name === change.kernel);
    const row = rows.find((one) => one.binary === change.binary && one.name === change.name);
    const target = row && kernel >= 0 && worst(row.cells[kernel]);
    const name = change.kernel + " " + change.binary + " " + change.name;
    const shown = target ? make("button", { type: "button", class: "link", click: () => open(target) }, name) : name;
    return make("li", {}, shown, " ", make("span", { class: "dim small" }, said));
  };
  const list = (head, items, say, open) => {
    if (!items.length) return;
    const more = items.length > 100 ? [make("li", { class: "dim" }, "… and " + (items.length - 100) + " more")] : [];
    $("changes").append(make("details", { open }, make("summary", {}, make("h3", {}, head + " (" + items.length + ")")),
      make("ul", {}, items.slice(0, 100).map((item) => link(item, say(item))), more)));
  };
  const ends = (change) => (change.before || "not there") + " before, now " + change.after;
  list("Newly failing", changes.newly_failing, ends, changes.newly_failing.length <= 20);
  list("No longer run", changes.no_longer_run, ends, false);
  list("Fixed", changes.fixed, ends, false);
  list("Slower", changes.slower, (slower) => seconds(slower.before) + " before, now " + seconds(slower.after), false);
  list("Still failing", changes.still_failing, ends, false);
}

function typing(target) {
  return target instanceof HTMLInputElement || target instanceof HTMLSelectElement;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    if (typing(event.target)) event.target.blur();
    else if (shownCase) close();
  } else if (typing(event.target)) {
    return;
  } else if (event.key === "/") {
    event.preventDefault();
    if (shownCase && matchMedia(SMALL).matches) close();
    $("filter").focus();
  } else if (event.key === "j") {
    step(1);
  } else if (event.key === "k") {
    step(-1);
  }
});

gather();
showHead();
filterTools();
showGrid();
showChanges();
showTimeline();
addEventListener("hashchange", openFromAddress);
openFromAddress();
