// The case by kernel grid, and what is shown of it.

const wanted = { words: [], states: new Set(), sort: "name" };
const LARGE = 400;
// More rows than this are added when they are scrolled to.
const CHUNK = 150;

function fits(row) {
  if (!wanted.words.every((word) => row.text.includes(word))) return false;
  if (!wanted.states.size) return true;
  return row.cells.flat().some((result) => wanted.states.has(result.state) || (result.slower && wanted.states.has("slower")));
}

function sorted(list) {
  if (wanted.sort === "slowest") return list.slice().sort((a, b) => b.slowest - a.slowest);
  if (wanted.sort === "run") {
    const began = (row) => Math.min(...row.cells.flat().map((result) => result.attempts[0].started ?? Infinity));
    return list.slice().sort((a, b) => began(a) - began(b));
  }
  return list.slice().sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
}

// Failures come first: they are why somebody looks.
function rank(row) {
  return row.worst.state === "failure" ? 0 : row.worst.state === "flaky" ? 1 : 2;
}

function cell(list) {
  const result = worst(list);
  if (!result) return make("td", {});
  const shown = list.length > 1 ? endWord(result) + " ×" + list.length : endWord(result);
  const kernel = run.kernels[result.kernel].name;
  const label = [result.row.name, "on", kernel + ":", shown, seconds(result.last.seconds), result.slower ? "slower than usual" : ""].join(" ");
  const time = result.state === "not-run" ? "" : seconds(result.last.seconds);
  const button = make("button", { class: "cell " + result.state, "data-id": result.id, "aria-label": label, type: "button", click: () => open(result) },
    make("b", {}, SIGNS[result.state], make("span", { class: "word" }, " " + shown)),
    make("span", { class: result.slower ? "slow" : "dim" }, (result.slower ? "▲ " : "") + time));
  if (result === shownCase) button.setAttribute("aria-current", "true");
  return make("td", {}, button);
}

function tableRow(row) {
  const failed = row.worst.state === "failure" && row.worst.last.detail;
  const name = make("th", { scope: "row" }, make("span", { class: "mono" }, row.name), failed && make("span", { class: "why" }, failed));
  return make("tr", {}, name, row.cells.map(cell));
}

const more = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) entry.target.addRows();
  }
}, { rootMargin: "800px" });

function table(list) {
  const body = make("tbody", {});
  const heads = run.kernels.map((kernel) => make("th", { scope: "col" }, kernel.name));
  const kind = run.kernels.length === 1 ? " one" : run.kernels.length > 2 ? " many" : "";
  const columns = run.kernels.map(() => make("col", { class: "kernel" }));
  const grid = make("table", { class: "grid" + kind }, make("colgroup", {}, make("col", {}), columns),
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Case"), heads)), body);
  const end = make("div", {});
  let next = 0;
  end.addRows = () => {
    body.append(...list.slice(next, next + CHUNK).map(tableRow));
    next += CHUNK;
    if (next >= list.length) more.unobserve(end);
  };
  end.addRows();
  if (next < list.length) more.observe(end);
  return [grid, end];
}

function section(group, list) {
  const counts = count(list.flatMap((row) => row.cells.flat()));
  const open = group.open ?? (rows.length <= LARGE || wanted.words.length > 0 || wanted.states.size > 0);
  const inside = make("div", { hidden: !open }, open ? table(sorted(list)) : []);
  const button = make("button", { type: "button", "aria-expanded": String(open), click: () => {
    group.open = inside.hidden;
    if (!inside.firstChild) inside.append(...table(sorted(list)));
    inside.hidden = !inside.hidden;
    button.setAttribute("aria-expanded", String(!inside.hidden));
  } }, group.name, make("span", { class: "small dim" }, words(counts)));
  return make("section", { class: "card group" }, button, inside);
}

// The cases that are shown, in their order: what the keys go through.
let visible = [];

function showGrid() {
  more.disconnect();
  const sections = [];
  visible = [];
  const flat = wanted.sort !== "name";
  const shown = flat ? [{ name: "All cases", rows, open: true }] : groups;
  for (const group of shown) {
    const list = group.rows.filter(fits);
    if (!list.length) continue;
    sections.push(section(group, list));
    visible.push(...sorted(list).flatMap((row) => row.cells.flat()));
  }
  $("grid").replaceChildren(...sections);
  if (!sections.length) $("grid").append(make("div", { class: "card empty" }, "No case fits the filter."));
  const cases = new Set(visible.map((result) => result.row)).size;
  $("shown").textContent = cases === rows.length ? rows.length + " cases" : cases + " of " + rows.length + " cases";
}

function filterTools() {
  const counts = count(results);
  // Of a large run, the failures are shown first; the rest is one press away.
  if (rows.length > LARGE && counts.failure) wanted.states.add("failure");
  for (const state of [...STATES, "slower"]) {
    if (!counts[state]) continue;
    const chip = make("button", { type: "button", class: "chip", "aria-pressed": String(wanted.states.has(state)), click: () => {
      const on = !wanted.states.delete(state);
      if (on) wanted.states.add(state);
      chip.setAttribute("aria-pressed", String(on));
      showGrid();
    } }, make("i", { class: state }), LABELS[state] + " " + counts[state]);
    $("chips").append(chip);
  }
  let timer;
  $("filter").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      wanted.words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
      showGrid();
    }, 120);
  });
  $("sort").addEventListener("change", () => {
    wanted.sort = $("sort").value;
    showGrid();
  });
}
