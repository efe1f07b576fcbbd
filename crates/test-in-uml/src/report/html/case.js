// One case: what it wrote beside what its kernel said, and what is known of it otherwise.

// On a screen that is no wider, a case covers the page.
const SMALL = "(max-width: 69.99rem)";

let shownCase;
let shownAttempt = 0;
let opener;

function open(result) {
  if (!shownCase) opener = document.activeElement;
  shownCase = result;
  shownAttempt = result.attempts.length - 1;
  showCase();
  history.replaceState(null, "", "#" + result.id);
  $("case").scrollTop = 0;
  $("case").focus({ preventScroll: true });
}

function close() {
  shownCase = undefined;
  $("case").hidden = true;
  $("split").classList.remove("open");
  document.body.classList.remove("reading");
  mark();
  history.replaceState(null, "", location.pathname + location.search);
  if (opener && opener.isConnected) opener.focus();
}

// The next case of those that the filter lets through.
function step(by) {
  const place = visible.indexOf(shownCase);
  const next = visible[place < 0 ? 0 : place + by];
  if (next) open(next);
}

function mark() {
  for (const old of document.querySelectorAll('.cell[aria-current="true"]')) old.removeAttribute("aria-current");
  if (!shownCase) return;
  const button = document.querySelector('#grid .cell[data-id="' + CSS.escape(shownCase.id) + '"]');
  if (!button) return;
  button.setAttribute("aria-current", "true");
  if (!matchMedia(SMALL).matches) button.scrollIntoView({ block: "nearest" });
}

function text(head, attempt, name) {
  const value = attempt[name];
  const pre = make("pre", { tabindex: "0", role: "region", "aria-label": head });
  if (!value) pre.append(make("span", { class: "dim" }, attempt[name + "Cut"] ? "It is too long for this page." : "Nothing."));
  for (const line of value ? value.split("\n") : []) {
    const hit = name === "log" && /\b(WARNING|BUG|Oops|panic|KASAN|INFO: task|lockdep|stall|Call Trace)/i.test(line);
    pre.append(hit ? make("span", { class: "hit" }, line) : line, "\n");
  }
  const whole = attempt[name + "Cut"] && make("p", { class: "small" }, "Shortened. The whole text: ", file(attempt.file || "report.jsonl", attempt.file || "report.jsonl"));
  return make("section", {}, make("h3", {}, head), pre, whole);
}

function facts(result, attempt) {
  const guest = attempt.guest !== undefined ? run.guests[attempt.guest] : undefined;
  const place = attempt.order !== undefined ? "case " + attempt.order + " of its guest" : "";
  const began = attempt.started !== undefined ? "began at " + seconds(attempt.started) : "";
  const kernel = run.kernels[result.kernel].name;
  const items = [kernel, result.row.binary, result.state === "not-run" ? "" : "took " + seconds(attempt.seconds), began, place].filter(Boolean);
  return make("div", { class: "row small dim" }, items.map((item) => make("span", {}, item)), guest && make("span", {}, "in ", file(guest.console, guest.name)));
}

function others(result) {
  const list = result.row.cells.flat().filter((other) => other !== result);
  if (!list.length) return undefined;
  return make("div", { class: "row small" }, make("span", { class: "dim" }, "The same case:"), list.map((other) =>
    make("button", { type: "button", class: "cell " + other.state, click: () => open(other) },
      make("b", {}, SIGNS[other.state] + " " + run.kernels[other.kernel].name + (other.repeat > 1 ? " (" + other.repeat + ")" : "")))));
}

function attempts(result) {
  if (result.attempts.length < 2) return undefined;
  return make("div", { class: "tabs", role: "group", "aria-label": "Attempts" }, result.attempts.map((attempt, place) =>
    make("button", { type: "button", class: "chip", "aria-pressed": String(place === shownAttempt), click: () => {
      shownAttempt = place;
      showCase();
    } }, "Attempt " + (place + 1) + ": " + attempt.end.replace("-", " "))));
}

// The durations of earlier runs, the oldest first, and of this one.
function chart(result) {
  const earlier = result.history.slice().reverse();
  if (!earlier.some((value) => value !== null)) return undefined;
  const values = [...earlier, result.last.end === "passed" ? result.last.seconds : null];
  const top = Math.max(...values.filter((value) => value !== null), 1e-6);
  const bars = values.map((value, place) => {
    if (value === null) return undefined;
    const height = Math.max(2, (value / top) * 34);
    const kind = place < earlier.length ? "earlier" : "now" + (result.slower ? " slower" : "");
    const name = place < earlier.length ? run.earlier[run.earlier.length - 1 - place] : "this run";
    return draw("rect", { class: kind, x: place * 12, y: 36 - height, width: 9, height, rx: 1.5 }, draw("title", {}, name + ": " + seconds(value)));
  });
  const known = earlier.filter((value) => value !== null);
  const factor = result.last.seconds / result.usual;
  const said = "Usually " + seconds(result.usual) + " (median of " + known.length + " earlier " + (known.length === 1 ? "run" : "runs") + ")" +
    (result.slower ? "; " + factor.toFixed(1) + " times that now" : "");
  const width = values.length * 12;
  const picture = draw("svg", { viewBox: "0 0 " + width + " 36", width, height: 36, role: "img", "aria-label": said });
  picture.append(...bars.filter(Boolean));
  const holder = make("span", {}, picture);
  holder.style.width = width + "px";
  return make("div", { class: "row small" }, holder, make("span", { class: result.slower ? "slow" : "dim" }, said));
}

// What ran before in the same guest: kernels remember.
function before(attempt) {
  if (attempt.guest === undefined || attempt.order === undefined) return undefined;
  const list = [];
  for (const other of results) {
    for (const one of other.attempts) {
      if (one.guest === attempt.guest && one.order !== undefined && one.order < attempt.order) list.push([one.order, other]);
    }
  }
  if (!list.length) return undefined;
  list.sort((a, b) => b[0] - a[0]);
  const items = list.slice(0, 20).map(([, other]) => make("li", {}, make("a", { href: "#" + other.id }, other.row.binary + " " + other.row.name), " ", make("span", { class: "dim" }, endWord(other))));
  const head = list.length > 20 ? "The last 20 of " + list.length + " cases before it in its guest" : "Cases before it in its guest, the latest first (" + list.length + ")";
  return make("details", { class: "before small" }, make("summary", {}, head), make("ol", {}, items));
}

function showCase() {
  const result = shownCase;
  const attempt = result.attempts[shownAttempt];
  const left = (attempt.left || []).map((what) => make("li", {}, what));
  const button = (sign, label, act) => make("button", { type: "button", "aria-label": label, title: label, click: act }, sign);
  $("case").replaceChildren(
    make("div", { class: "case-head" },
      make("h2", { class: "mono" }, result.row.name + (result.repeat > 1 ? " (" + result.repeat + ")" : "")),
      make("div", { class: "buttons" }, button("↑", "Previous case (k)", () => step(-1)), button("↓", "Next case (j)", () => step(1)), button("✕", "Close (Esc)", close))),
    make("div", { class: "row" }, pill(result), attempt.complaint && make("span", { class: "tag" }, attempt.complaint)),
    facts(result, attempt),
    ...[others(result), attempts(result), chart(result)].filter(Boolean),
    ...(attempt.detail ? [make("p", { class: "said" }, attempt.detail)] : []),
    ...(attempt.scenario ? [topology(attempt.scenario)] : []),
    make("div", { class: "texts" }, text("Output", attempt, "output"), text("Kernel log", attempt, "log")),
    ...(attempt.scenario && attempt.log ? [sideBySide(attempt)] : []),
    ...(left.length ? [make("div", { class: "before" }, make("h3", { class: "small" }, "Left behind"), make("ul", { class: "small" }, left))] : []),
    ...[before(attempt)].filter(Boolean));
  $("case").hidden = false;
  $("split").classList.add("open");
  document.body.classList.add("reading");
  mark();
}

function openFromAddress() {
  const result = results.find((one) => one.id === location.hash.slice(1));
  if (result && result !== shownCase) open(result);
}
