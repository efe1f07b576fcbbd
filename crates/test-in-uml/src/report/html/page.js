"use strict";
// What guests wrote reaches the page as text only: nothing here makes markup out of a string.
const run = JSON.parse(document.getElementById("run").textContent);
const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);

function make(tag, properties, ...children) {
  const element = document.createElement(tag);
  fill(element, properties, children);
  return element;
}

function draw(tag, properties, ...children) {
  const element = document.createElementNS(SVG, tag);
  fill(element, properties, children);
  return element;
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) {
    if (child !== undefined && child !== null && child !== false) element.append(child);
  }
}

const STATES = ["failure", "flaky", "passed", "skipped", "known", "not-run"];
const LABELS = { failure: "Failed", flaky: "Flaky", passed: "Passed", skipped: "Skipped", known: "Known", "not-run": "Not run", slower: "Slower" };
const SIGNS = { failure: "✗", flaky: "≈", passed: "✓", skipped: "–", known: "!", "not-run": "○" };

function seconds(value) {
  if (value === undefined || value === null) return "";
  if (value < 10) return value.toFixed(value < 1 ? 3 : 2) + " s";
  if (value < 60) return value.toFixed(1) + " s";
  return Math.floor(value / 60) + " min " + String(Math.floor(value % 60)).padStart(2, "0") + " s";
}

function median(values) {
  const sorted = values.slice().sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

// Each case on each kernel; `rows` holds them by binary and name, a cell for each kernel.
const results = [];
const rows = [];
const groups = [];

function gather() {
  const known = new Map();
  const byBinary = new Map();
  for (const [binary, name, kernel, repeat, attempts, state, history] of run.cases) {
    const key = binary + " " + name;
    let row = known.get(key);
    if (!row) {
      row = { binary: run.binaries[binary], name, cells: run.kernels.map(() => []), text: "" };
      known.set(key, row);
      rows.push(row);
      if (!byBinary.has(binary)) {
        const group = { name: run.binaries[binary], rows: [], open: undefined };
        byBinary.set(binary, group);
        groups.push(group);
      }
      byBinary.get(binary).rows.push(row);
    }
    const last = attempts[attempts.length - 1];
    const earlier = (history || []).filter((value) => value !== null);
    const usual = earlier.length ? median(earlier) : undefined;
    const slower = last.end === "passed" && usual !== undefined &&
      last.seconds >= usual * run.slowerRatio && last.seconds - usual >= run.slowerSeconds;
    const result = { row, kernel, repeat, attempts, last, history: history || [], usual, slower, state };
    result.id = [run.kernels[kernel].name, row.binary, name, repeat].map(encodeURIComponent).join("/");
    results.push(result);
    row.cells[kernel].push(result);
  }
  for (const row of rows) {
    const words = row.cells.flat().map((result) => [result.last.end, result.last.complaint || "", result.last.detail || ""].join(" "));
    row.text = [row.binary, row.name, ...words].join(" ").toLowerCase();
    row.worst = worst(row.cells.flat());
    row.slowest = Math.max(0, ...row.cells.flat().map((result) => result.last.seconds));
  }
}

function worst(list) {
  for (const state of STATES) {
    const found = list.find((result) => result.state === state);
    if (found) return found;
  }
  return undefined;
}

function count(list) {
  const counts = { failure: 0, flaky: 0, passed: 0, skipped: 0, known: 0, "not-run": 0, slower: 0 };
  for (const result of list) {
    counts[result.state] += 1;
    if (result.slower) counts.slower += 1;
  }
  return counts;
}

function words(counts) {
  const said = STATES.filter((state) => counts[state]).map((state) => counts[state] + " " + LABELS[state].toLowerCase());
  return said.join(", ");
}

function pill(result) {
  return make("span", { class: "pill " + result.state }, SIGNS[result.state] + " " + endWord(result));
}

function endWord(result) {
  return result.state === "flaky" ? "flaky" : result.last.end.replace("-", " ");
}

// A link to a file in the run's folder.
function file(name, text) {
  return make("a", { href: run.base + encodeURIComponent(name) }, text);
}
