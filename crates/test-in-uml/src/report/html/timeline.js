// The lives of the guests: booting, running, idle, over. Guests that followed one another share a lane.

function lanes(guests) {
  const lanes = [];
  for (const guest of guests.slice().sort((a, b) => a.booted - b.booted)) {
    const free = lanes.find((lane) => lane.cpu === guest.cpu && lane.end <= guest.booted + 0.001);
    if (free) {
      free.guests[free.guests.length - 1].replaced = guest.name;
      free.guests.push(guest);
      free.end = guest.ended;
    } else {
      lanes.push({ guests: [guest], end: guest.ended, cpu: guest.cpu });
    }
  }
  return lanes;
}

function ticks(end, count) {
  const rough = end / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= rough);
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, place) => place * step);
}

// Neighbours that end the same way and are too short to be seen apart become one mark. What did not
// simply pass is drawn last, so that nothing hides it.
function marks(list, scale) {
  const found = [];
  const lasts = {};
  for (const [start, end, attempt, result] of list.sort((a, b) => a[0] - b[0])) {
    const state = attempt.state;
    const from = scale(start), to = Math.max(scale(end), from + (state === "failure" ? 2 : 0.6));
    const last = lasts[state];
    if (last && from < last.to + 0.5 && (last.many || last.to - last.from < 3) && to - from < 3) {
      last.to = Math.max(last.to, to);
      last.many = true;
      last.results.push(result);
    } else {
      found.push(lasts[state] = { from, to, state, results: [result], many: false });
    }
  }
  const rank = (mark) => STATES.length - STATES.indexOf(mark.state);
  return found.sort((a, b) => rank(a) - rank(b));
}


function strip(guest, y, scale, tall) {
  const ready = guest.ready ?? guest.ended;
  const bar = (kind, from, to, title) => draw("rect", { class: kind, x: scale(from), y, width: Math.max(0.8, scale(to) - scale(from)), height: tall - 6, rx: 2 }, draw("title", {}, title));
  const parts = [
    bar("boot", guest.booted, ready, guest.name + ": booting, " + seconds(ready - guest.booted)),
    bar("idle", ready, guest.ended, guest.name + ": " + guest.end + (guest.replaced ? ", replaced by " + guest.replaced : "")),
  ];
  for (const mark of marks(guest.ran, scale)) {
    const shown = mark.results[0];
    const name = mark.many ? mark.results.length + " cases, the first of them " : "";
    const part = draw("rect", { class: mark.state, x: mark.from, y: y + 2, width: mark.to - mark.from, height: tall - 10, "data-case": "", click: () => open(shown) },
      draw("title", {}, guest.name + ": " + name + shown.row.name + ", " + LABELS[mark.state].toLowerCase()));
    parts.push(part);
  }
  if (guest.end !== "clean") {
    parts.push(draw("rect", { class: "end-bad", x: scale(guest.ended) - 1, y: y - 1, width: 3, height: tall - 4 }, draw("title", {}, guest.name + ": " + guest.end + ". " + (guest.detail || ""))));
  }
  return parts;
}

function showTimeline() {
  const known = run.guests.filter((guest) => guest.booted !== undefined && guest.ended !== undefined);
  if (!known.length) return;
  for (const guest of known) guest.ran = [];
  for (const result of results) {
    for (const attempt of result.attempts) {
      const guest = attempt.guest !== undefined ? run.guests[attempt.guest] : undefined;
      if (!guest || !guest.ran || attempt.started === undefined) continue;
      // A case that waited for its guest to boot ran from then on.
      const start = Math.max(attempt.started, guest.ready ?? 0);
      guest.ran.push([start, Math.min(start + attempt.seconds, guest.ended), attempt, result]);
    }
  }
  $("timeline").hidden = false;
  // On a small screen the cases come first.
  $("timeline").open = !matchMedia("(max-width: 40rem)").matches;
  $("timeline-head").textContent = "Guests (" + known.length + ")";
  const end = Math.max(...known.map((guest) => guest.ended), 0.001);
  const all = lanes(known);
  const tall = all.length > 10 ? 15 : 20;
  const paint = () => {
    const width = Math.max(260, $("lanes").clientWidth), left = 46;
    const scale = (time) => left + (time / end) * (width - left - 14);
    const height = all.length * tall + 22;
    const picture = draw("svg", { viewBox: "0 0 " + width + " " + height, height, role: "img", "aria-label": "Timeline of " + known.length + " guests over " + seconds(end) });
    for (const time of ticks(end, width / 110)) {
      picture.append(draw("line", { class: "axis", x1: scale(time), x2: scale(time), y1: 0, y2: height - 18 }), draw("text", { x: scale(time), y: height - 5, "text-anchor": time ? "middle" : "start" }, Number(time.toFixed(3)) + " s"));
    }
    all.forEach((lane, place) => {
      const y = place * tall + 3;
      const name = lane.cpu !== undefined && lane.cpu !== null ? "CPU " + lane.cpu : "#" + (place + 1);
      picture.append(draw("text", { x: 0, y: y + tall / 2 + 1 }, name), ...lane.guests.flatMap((guest) => strip(guest, y, scale, tall)));
    });
    $("lanes").replaceChildren(picture);
  };
  let width = 0;
  new ResizeObserver(() => {
    if ($("lanes").clientWidth === width) return;
    width = $("lanes").clientWidth;
    requestAnimationFrame(paint);
  }).observe($("lanes"));
  $("guests").addEventListener("toggle", () => {
    if ($("guests").open && !$("guest-rows").firstChild) $("guest-rows").append(...run.guests.map(guestRow));
  });
}

function guestRow(guest) {
  const boot = guest.ready !== undefined && guest.booted !== undefined ? seconds(guest.ready - guest.booted) : "";
  const life = guest.ended !== undefined && guest.booted !== undefined ? seconds(guest.ended - guest.booted) : "";
  const last = [guest.detail, guest.replaced && "replaced by " + guest.replaced, ...(guest.strays || [])].filter(Boolean).join("; ");
  return make("tr", {}, make("th", { scope: "row" }, file(guest.console, guest.name)), [seconds(guest.booted), boot, life, String((guest.ran || []).length), guest.end, last].map((value) => make("td", {}, value)));
}
