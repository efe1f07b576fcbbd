// The guests and networks that a case had beside its own guest: drawn, and their logs on one time line.

const GUEST_WIDTH = 150;
const NETWORK_HEIGHT = 34;

// Guests in a row, each network a line below that they hang on.
function topology(scenario) {
  const guests = scenario.guests || [];
  const networks = scenario.networks || [];
  const width = Math.max(1, guests.length) * GUEST_WIDTH;
  const lineOf = (place) => 64 + place * NETWORK_HEIGHT;
  const height = lineOf(networks.length) - 10;
  const names = guests.map((guest) => guest.name).join(", ");
  const said = "Guests " + names + (networks.length ? "; networks " + networks.map((network) => network.name).join(", ") : "");
  const picture = draw("svg", { class: "topology", viewBox: "0 0 " + width + " " + height, width, height, role: "img", "aria-label": said });
  networks.forEach((network, place) => {
    const y = lineOf(place);
    picture.append(draw("line", { class: "network", x1: 4, x2: width - 4, y1: y, y2: y }));
    const label = draw("text", { class: "network", x: 4, y: y + 12 });
    label.append(network.name);
    picture.append(label);
  });
  guests.forEach((guest, column) => {
    const left = column * GUEST_WIDTH + 10;
    guest.interfaces.forEach(([name, address], index) => {
      const place = networks.findIndex((network) => network.name === name);
      if (place < 0) return;
      const x = left + 60 + index * 14;
      const y = lineOf(place);
      picture.append(draw("line", { class: "cable", x1: x, x2: x, y1: 40, y2: y }), draw("circle", { class: "cable", cx: x, cy: y, r: 3 }));
      const label = draw("text", { class: "address", x: x + 4, y: y - 4 });
      label.append(address);
      picture.append(label);
    });
    picture.append(draw("rect", { class: "guest", x: left, y: 4, width: GUEST_WIDTH - 20, height: 36, rx: 4 }));
    [guest.name, guest.kernel || "never up"].forEach((line, row) => {
      const label = draw("text", { class: row ? "kernel" : "name", x: left + 8, y: 19 + row * 14 });
      label.append(line);
      picture.append(label);
    });
  });
  const captures = networks.filter((network) => network.capture).map((network) => file(network.capture, network.name));
  const links = captures.length ? make("div", { class: "row small" }, make("span", { class: "dim" }, "What passed in"), captures) : undefined;
  return make("section", {}, make("h3", {}, "Scenario"), make("div", { class: "scroll" }, picture), links);
}

// The lines of a case's kernel log by guest, each with its time in seconds since the case began. A guest's own clock
// begins anew at each of its boots; that of the case's own guest ran before.
function linesByTime(attempt) {
  const guests = attempt.scenario.guests || [];
  const own = { name: "the case's own", boots: [], stamp: 0, boot: 0 };
  const columns = [own, ...guests.map((guest) => ({ name: guest.name, boots: guest.boots || [], stamp: 0, boot: -1 }))];
  const rows = [];
  let first;
  for (const line of attempt.log.split("\n")) {
    if (line.startsWith("--- ")) continue;
    const bar = line.indexOf("| ");
    const column = columns.findIndex((one, place) => place > 0 && bar === one.name.length && line.startsWith(one.name));
    const place = Math.max(0, column);
    const one = columns[place];
    const said = column > 0 ? line.slice(bar + 2) : line;
    const found = /^(?:<\d+>)?\[ *(\d+\.\d+)\]/.exec(said);
    if (found) {
      const stamp = Number(found[1]);
      if (stamp < one.stamp || one.boot < 0) one.boot += 1;
      one.stamp = stamp;
    }
    if (place === 0 && first === undefined && found) first = one.stamp;
    const began = place === 0 ? -(first || 0) : one.boots[Math.min(Math.max(0, one.boot), one.boots.length - 1)] || 0;
    rows.push([began + one.stamp, place, rows.length, said]);
  }
  rows.sort((a, b) => a[0] - b[0] || a[2] - b[2]);
  return [columns, rows];
}

function sideBySide(attempt) {
  const [columns, rows] = linesByTime(attempt);
  const head = make("tr", {}, make("th", {}, "s"), columns.map((column) => make("th", {}, column.name)));
  const body = rows.map(([time, place, , said]) =>
    make("tr", {}, make("td", { class: "dim" }, time.toFixed(3)), columns.map((_, column) => make("td", {}, column === place ? said : ""))));
  const table = make("table", { class: "lines" }, make("thead", {}, head), make("tbody", {}, body));
  return make("details", { class: "small" }, make("summary", {}, "Kernel logs side by side, on the time line of the case"), make("div", { class: "scroll" }, table));
}
