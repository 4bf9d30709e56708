// SPDX-License-Identifier: MIT
// The console's page. Everything comes by server-sent events over fetch(), because EventSource
// cannot send the token; nothing is polled. Text from the suite only ever becomes text nodes.
"use strict";

const POINTS = 150;          // of a chart
const WINDOW_MS = 12000;     // that rates and percentiles of tables are taken over
const TAIL_SHOWN = 200;      // events in the list; older ones go
const TOKEN = "sluice-admin-token";
const $ = (id) => document.getElementById(id);

// --- Making nodes

function node(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "on") {
      for (const [event, f] of Object.entries(value)) made.addEventListener(event, f);
    } else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const cell = (text, kind) => node("td", { class: kind }, text);

// Rows are kept by key, so that focus and selection survive an update.
function fill(table, rows, empty) {
  const body = table.tBodies[0];
  const old = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  const next = rows.map(([key, ...cells]) => {
    const row = old.get(key) || node("tr", { "data-key": key });
    const focused = row.contains(document.activeElement);
    if (!focused) row.replaceChildren(...cells);
    return row;
  });
  if (!next.length) {
    next.push(node("tr", { "data-key": "" }, node("td", { class: "none", colspan: 20 }, empty)));
  }
  if (next.length !== body.rows.length || next.some((row, i) => row !== body.rows[i])) {
    body.replaceChildren(...next);
  }
}

function tiles(list, entries) {
  if (list.children.length !== entries.length) {
    list.replaceChildren(...entries.map(() => node("div", {}, node("dt"), node("dd"))));
  }
  entries.forEach(([name, value, kind], i) => {
    list.children[i].children[0].textContent = name;
    list.children[i].children[1].textContent = value;
    list.children[i].children[1].className = kind || "";
  });
}

// --- Numbers for people

function count(n) {
  if (n === null || n === undefined || Number.isNaN(n)) return "-";
  if (n >= 1e6) return (n / 1e6).toFixed(n >= 1e7 ? 0 : 1) + " M";
  if (n >= 1e4) return (n / 1e3).toFixed(0) + " k";
  return n >= 100 || Number.isInteger(n) ? n.toFixed(0) : n.toFixed(n >= 10 ? 1 : 2);
}
const percent = (part, whole) => (whole > 0 ? count((100 * part) / whole) + " %" : "-");
function seconds(s) {
  if (s === null || s === undefined || Number.isNaN(s)) return "-";
  if (s < 0.001) return (s * 1e6).toFixed(0) + " µs";
  if (s < 1) return (s * 1e3).toFixed(s < 0.1 ? 1 : 0) + " ms";
  if (s < 120) return s.toFixed(1) + " s";
  if (s < 7200) return (s / 60).toFixed(0) + " min";
  return s < 172800 ? (s / 3600).toFixed(0) + " h" : (s / 86400).toFixed(0) + " d";
}
function bytes(n) {
  if (n === null || n === undefined || Number.isNaN(n)) return "-";
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (n < 1024) return count(n < 10 ? n : Math.round(n)) + " " + unit;
    n /= 1024;
  }
  return count(n) + " TiB";
}
const clock = (ms) => (ms ? new Date(ms).toLocaleTimeString() : "-");

// --- Figures: each message becomes a map of series, and rates are differences of two of them

const state = { topology: null, queue: null, alerts: null, slow: [], processes: [], history: [], bounds: [], cut: false };

function labelsOf(text) {
  const labels = {};
  for (const [, name, value] of text.matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g)) {
    labels[name] = value.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
  }
  return labels;
}

function readFigures(message) {
  const sample = { at: performance.now(), series: new Map(), instances: new Set() };
  for (const process of message.processes) {
    if (process.up) sample.instances.add(process.instance);
    for (const [name, labels, value] of process.values) {
      sample.series.set(`${process.instance}|${name}|${labels}`,
        { process, name, labels: labelsOf(labels), value });
    }
    for (const [name, labels, sum, buckets] of process.times) {
      sample.series.set(`${process.instance}|${name}|${labels}`,
        { process, name, labels: labelsOf(labels), sum, buckets });
    }
  }
  state.processes = message.processes;
  state.cut = message.cut || message.left_out > 0;
  state.history.push(sample);
  const oldest = sample.at - WINDOW_MS;
  while (state.history.length > 2 && state.history[1].at <= oldest) state.history.shift();
}

const latest = () => state.history[state.history.length - 1];
const before = () => state.history[Math.max(0, state.history.length - 2)];
const windowStart = () => state.history[0];

// What a series gained since an older sample. A process that was not there then has no past; a
// counter that went down began anew.
function gain(series, key, from) {
  const old = from.series.get(key);
  if (series.buckets) {
    if (!old && !from.instances.has(series.process.instance)) return null;
    const restarted = old && series.buckets.some((n, i) => n < old.buckets[i]);
    const base = old && !restarted ? old.buckets : [];
    return series.buckets.map((n, i) => n - (base[i] || 0));
  }
  if (!old) return null;
  return series.value < old.value ? series.value : series.value - old.value;
}

const add = (sum, buckets) => buckets.map((n, i) => n + (sum[i] || 0));
const total = (buckets) => buckets.reduce((sum, n) => sum + n, 0);

// Histograms of a name added up: {buckets, perSecond}.
function times(name, from, wanted) {
  const now = latest();
  let buckets = [];
  for (const [key, series] of now.series) {
    if (series.name !== name || !series.buckets || (wanted && !wanted(series.labels))) continue;
    const gained = gain(series, key, from);
    if (gained) buckets = add(buckets, gained);
  }
  const passed = (now.at - from.at) / 1000;
  return { buckets, perSecond: passed > 0 ? total(buckets) / passed : 0 };
}

function quantile(buckets, q) {
  const all = total(buckets);
  if (!all) return NaN;
  let seen = 0;
  for (let i = 0; i < buckets.length; i++) {
    if (seen + buckets[i] >= q * all && buckets[i] > 0) {
      const low = i ? state.bounds[i - 1] : 0, high = state.bounds[i];
      return high === null || high === undefined ? low
        : low + (high - low) * ((q * all - seen) / buckets[i]);
    }
    seen += buckets[i];
  }
  return NaN;
}

function sumOf(name, wanted) {
  let sum = 0;
  for (const series of latest().series.values()) {
    if (series.name === name && (!wanted || wanted(series.labels))) sum += series.value || 0;
  }
  return sum;
}

function ratePerSecond(name, from, instance, wanted) {
  const now = latest(), passed = (now.at - from.at) / 1000;
  let sum = 0;
  for (const [key, series] of now.series) {
    if (series.name === name && (!instance || series.process.instance === instance) && (!wanted || wanted(series.labels))) {
      sum += gain(series, key, from) || 0;
    }
  }
  return passed > 0 ? sum / passed : 0;
}

function valueOf(instance, name, wanted) {
  if (!state.history.length) return undefined;
  for (const series of latest().series.values()) {
    if (series.name === name && series.process.instance === instance &&
        (!wanted || wanted(series.labels))) return series.value;
  }
  return undefined;
}

// --- Charts

class Chart {
  constructor(title, names, format) {
    this.names = names;
    this.format = format;
    this.points = names.map(() => []);
    this.canvas = node("canvas", { role: "img" });
    this.keys = names.map((name, i) => node("span", { class: `key series-${i + 1}` }, name));
    this.title = title;
    $("charts").append(node("figure", {}, node("figcaption", {}, node("b", {}, title), ...this.keys), this.canvas));
  }

  push(values) {
    values.forEach((value, i) => {
      const points = this.points[i];
      points.push(Number.isFinite(value) ? value : null);
      if (points.length > POINTS) points.shift();
      this.keys[i].textContent = `${this.names[i]} ${this.format(value)}`;
    });
    this.canvas.setAttribute("aria-label",
      `${this.title}: ${this.keys.map((key) => key.textContent).join(", ")}`);
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas, scale = window.devicePixelRatio || 1;
    if (!width) return; // not shown
    this.canvas.width = width * scale;
    this.canvas.height = height * scale;
    const pen = this.canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    pen.scale(scale, scale);
    const top = Math.max(...this.points.flat().map((v) => v || 0), 1e-9) * 1.1;
    const y = (v) => height - 4 - (v / top) * (height - 18), x = (i, n) => width - ((n - 1 - i) * width) / (POINTS - 1);
    pen.font = "11px system-ui, sans-serif";
    pen.fillStyle = style.getPropertyValue("--soft");
    pen.strokeStyle = style.getPropertyValue("--line");
    pen.fillText(this.format(top / 1.1), 2, 11);
    pen.beginPath();
    pen.moveTo(0, y(top / 1.1));
    pen.lineTo(width, y(top / 1.1));
    pen.moveTo(0, y(0));
    pen.lineTo(width, y(0));
    pen.stroke();
    this.points.forEach((points, i) => {
      pen.strokeStyle = style.getPropertyValue(`--series-${i + 1}`);
      pen.lineWidth = 1.6;
      pen.beginPath();
      let drawing = false;
      points.forEach((v, at) => {
        if (v === null) drawing = false;
        else if (points[at - 1] === null && (points[at + 1] ?? null) === null) { // alone: a dot
          pen.fillStyle = pen.strokeStyle;
          pen.fillRect(x(at, points.length) - 1, y(v) - 1, 2, 2);
        } else {
          pen[drawing ? "lineTo" : "moveTo"](x(at, points.length), y(v));
          drawing = true;
        }
      });
      pen.stroke();
    });
  }
}

const charts = {
  rate: new Chart("Requests per second", ["2xx, 3xx", "4xx", "5xx"], count),
  latency: new Chart("Latency", ["p50", "p99"], seconds),
  queue: new Chart("Events per second", ["published", "delivered"], count),
  load: new Chart("Requests", ["in flight", "waiting"], count),
};

// --- Views

const HTTP = "http_server_request_duration_seconds";
const isStatus = (first) => (labels) => (labels.http_response_status_code || "").startsWith(first);

function pushCharts() {
  if (state.history.length < 2) return;
  const from = before(), all = times(HTTP, from);
  const four = times(HTTP, from, isStatus("4")).perSecond, five = times(HTTP, from, isStatus("5")).perSecond;
  charts.rate.push([all.perSecond - four - five, four, five]);
  charts.latency.push([quantile(all.buckets, 0.5), quantile(all.buckets, 0.99)]);
  charts.queue.push([ratePerSecond("sluice_queue_published_events_total", from),
    ratePerSecond("sluice_queue_delivered_events_total", from)]);
  charts.load.push([sumOf("http_server_active_requests"), sumOf("sluice_gateway_waiting")]);
}

const doing = (what) => (labels) => labels.operation === what;

// Title, durations, and what counts its failures: [name, which of them].
const HOPS = [
  ["whole request, at the gateway", HTTP, null],
  ["waiting for a worker", "sluice_gateway_wait_seconds", [["sluice_gateway_shed_total"], ["sluice_gateway_wait_queue_full_total"]]],
  ["at the worker and on the way", "sluice_gateway_worker_seconds", [["sluice_gateway_retries_total"], ["sluice_gateway_forgotten_total"]]],
  ["waiting in the worker", "sluice_worker_queue_seconds", [["sluice_worker_expired_total"]]],
  ["the worker's handler", "sluice_worker_request_duration_seconds", [["sluice_worker_failures_total"]]],
  ["a read in the store", "sluice_store_read_seconds", [["sluice_store_failures_total", doing("read")]]],
  ["a write in the store", "sluice_store_write_seconds", [["sluice_store_failures_total", doing("write")]]],
  ["from the outbox to the queue", "sluice_outbox_publish_seconds", [["sluice_outbox_publish_failures_total"]]],
  ["a publish at the queue", "sluice_queue_publish_seconds", [["sluice_queue_refused_total"]]],
  ["its fdatasync", "sluice_queue_fdatasync_duration_seconds", []],
  ["events at a consumer", "sluice_consumer_process_seconds", [["sluice_consumer_retries_total"], ["sluice_consumer_skipped_total"]]],
];

function showOverview() {
  const from = windowStart(), all = times(HTTP, from);
  const five = times(HTTP, from, isStatus("5")).perSecond;
  const up = state.processes.filter((p) => p.up).length;
  tiles($("tiles"), [
    ["Requests/s", count(all.perSecond)],
    ["Errors (5xx)", percent(five, all.perSecond), five > 0 ? "bad" : ""],
    ["p50", seconds(quantile(all.buckets, 0.5))],
    ["p99", seconds(quantile(all.buckets, 0.99))],
    ["Connections", count(sumOf("sluice_gateway_open_connections"))],
    ["Processes up", `${up} of ${state.processes.length}`, up < state.processes.length ? "bad" : ""],
  ]);
  const hops = HOPS.map(([title, name, failures]) => {
    const t = times(name, from);
    const failed = failures ? failures.reduce((sum, [of, which]) => sum + ratePerSecond(of, from, null, which), 0) : five;
    return { title, t, failed, p99: quantile(t.buckets, 0.99) };
  });
  const longest = Math.max(...hops.map((hop) => hop.p99 || 0), 1e-6);
  fill($("hops"), hops.map(({ title, t, failed, p99 }) => [title, cell(title), cell(count(t.perSecond), "n"), cell(count(failed), failed > 0 ? "n bad" : "n"),
    cell(seconds(quantile(t.buckets, 0.5)), "n"), cell(seconds(p99), "n"),
    node("td", { class: "wide" }, node("meter", { min: 0, max: longest, value: p99 || 0, "aria-label": `p99 ${seconds(p99)}` }))]), "");
}

let slowShown = null; // what the table has: it is not made anew, so that a trace id can be selected

// The parts of a request add up to the whole; the largest is marked. A worker that never answered
// has not told where its time went.
function showSlow() {
  if (slowShown === state.slow) return;
  slowShown = state.slow;
  fill($("slow"), state.slow.map((r) => {
    const parts = r.parts_us, largest = Math.max(...Object.values(parts));
    const part = (name) => (parts[name] === undefined ? cell("-", "n")
      : cell(seconds(parts[name] / 1e6), parts[name] === largest ? "n warn" : "n"));
    const there = parts.unanswered === undefined ? ["way", "queue", "handler", "store"].map(part)
      : [node("td", { class: parts.unanswered === largest ? "n warn" : "n", colspan: 4 },
        r.instance ? `no answer for ${seconds(parts.unanswered / 1e6)}` : "-")];
    return [`${r.trace_id} ${r.began_ms} ${r.whole_us}`, cell(clock(r.began_ms)), cell(r.request), cell(r.status, r.status >= 500 ? "n bad" : "n"), cell(r.instance || "-"),
      cell(seconds(r.whole_us / 1e6), "n"), part("gateway"), part("wait"), ...there, cell(r.trace_id, "soft")];
  }), "no request took longer than a millisecond");
}

function showServices() {
  const services = state.topology.services;
  $("services").replaceChildren(...services.map((service) => {
    const table = node("table", {}, node("thead", {}, node("tr", {}, ...["Worker", "Role", "State", "Version"].map((t) => node("th", {}, t)),
      ...["In flight / credit", "Oldest", "Silent for"].map((t) => node("th", { class: "n" }, t)))), node("tbody"));
    fill(table, service.workers.map((w) => [w.instance, cell(w.instance), cell(w.role),
      cell(w.state, w.state === "serving" ? "good" : "warn"), cell(w.version),
      cell(`${w.in_flight} / ${w.credit}`, "n"), cell(w.oldest_there_ms ? seconds(w.oldest_there_ms / 1000) : "-", "n"),
      cell(seconds(w.silent_ms / 1000), "n")]), "no worker is connected");
    return node("div", {}, node("h2", {}, `${service.service} `,
      node("span", { class: service.serving ? "soft" : "bad" }, `${service.serving} serving, ${service.waiting} waiting`)),
    node("div", { class: "table" }, table));
  }));
}

function showProcesses() {
  const from = windowStart();
  fill($("processes"), state.processes.map((p) => {
    const get = (name, wanted) => valueOf(p.instance, name, wanted);
    if (!p.up) return [p.instance, cell(p.instance), cell("not up", "bad"), ...Array.from({ length: 5 }, () => cell("-", "n"))];
    const fds = get("process_open_fds"), max = get("process_max_fds");
    const started = get("process_start_time_seconds");
    return [p.instance, cell(p.instance), get("sluice_ready") ? cell("ready", "good") : cell("not ready", "bad"),
      cell(percent(ratePerSecond("process_cpu_seconds_total", from, p.instance), 1), "n"),
      cell(bytes(get("process_resident_memory_bytes")), "n"),
      cell(count(fds), fds > 0.8 * max ? "n bad" : "n"), cell(seconds(Date.now() / 1000 - started), "n"),
      cell(count(["warn", "error"].reduce((n, level) => n + (get("sluice_log_messages_total", (l) => l.level === level) || 0), 0)), "n")];
  }), "no process is known");
}

function showRoutes() {
  const now = latest(), from = windowStart(), routes = new Map(), passed = (now.at - from.at) / 1000;
  for (const [key, series] of now.series) {
    if (series.name !== HTTP || !series.buckets) continue;
    const { http_request_method: method, http_route: route, http_response_status_code: status } = series.labels;
    const name = `${method} ${route || "(no route)"}`;
    const entry = routes.get(name) || { buckets: [], four: 0, five: 0, all: 0 };
    const gained = gain(series, key, from) || [];
    entry.buckets = add(entry.buckets, gained);
    entry.all += total(series.buckets);
    entry.four += status.startsWith("4") ? total(gained) : 0;
    entry.five += status.startsWith("5") ? total(gained) : 0;
    routes.set(name, entry);
  }
  const part = $("route-filter").value.toLowerCase();
  const rows = [...routes].filter(([name]) => name.toLowerCase().includes(part))
    .sort(([, a], [, b]) => total(b.buckets) - total(a.buckets) || b.all - a.all).slice(0, 200);
  fill($("route-table"), rows.map(([name, r]) => {
    const n = total(r.buckets);
    return [name, cell(name), cell(count(passed > 0 ? n / passed : 0), "n"), cell(percent(r.four, n), r.four ? "n warn" : "n"),
      cell(percent(r.five, n), r.five ? "n bad" : "n"), cell(seconds(quantile(r.buckets, 0.5)), "n"),
      cell(seconds(quantile(r.buckets, 0.99)), "n"), cell(count(r.all), "n soft")];
  }), part ? "no route has this in its name" : "no request was answered yet");
}

// --- The queue

const acked = new Map(); // group: [acked, at] of the message before

function showQueue() {
  const queue = state.queue;
  $("queue-note").hidden = queue.up && !queue.refused;
  $("queue-note").textContent = !queue.up ? "The queue is away." : queue.refused
    ? `The queue does not let the gateway see more: ${queue.refused}. sluice-tap, with its own key, can.` : "";
  tiles($("queue-tiles"), [
    ["Events", count(queue.events)], ["On disk", bytes(queue.bytes)], ["Last sequence", queue.last_seq ?? "-"],
    ["Lost ranges", count((queue.lost || []).length), (queue.lost || []).length ? "bad" : ""],
  ]);
  const now = performance.now();
  fill($("groups"), (queue.groups || []).map((g) => {
    const [old, at] = acked.get(g.group) || [g.acked, now];
    acked.set(g.group, [g.acked, now]);
    const dead = g.dead ? node("button", { type: "button", class: "link", on: { click: () => openLetters(g.group) },
      "aria-label": `${g.dead} dead letters of ${g.group}: look` }, String(g.dead)) : "0";
    return [g.group, cell(g.group + (g.paused ? " (paused)" : "")), cell(count(g.members.length), g.members.length || !g.lag ? "n" : "n bad"),
      cell(count(g.lag), "n"), cell(count(g.ready), "n"), cell(count(g.delivered), "n"), cell(count(g.delayed), "n"),
      cell(g.oldest_ms ? seconds((Date.now() - g.oldest_ms) / 1000) : "-", "n"),
      cell(count(now > at ? Math.max(0, g.acked - old) / ((now - at) / 1000) : 0), "n"), node("td", { class: g.dead ? "n bad" : "n" }, dead)];
  }), queue.refused ? "not allowed" : "there are no groups");
  const topics = [...(queue.topics || [])].sort((a, b) => b.last_ms - a.last_ms);
  fill($("topics"), topics.map((t) => [t.topic, cell(t.topic), cell(count(t.events), "n"), cell(clock(t.last_ms), "n"), cell(t.last_seq, "n")]), "no events");
}

const letters = { group: null, after: 0, last: 0 };

async function openLetters(group, after = 0) {
  Object.assign(letters, { group, after });
  $("letters").hidden = false;
  $("letters-title").textContent = `Dead letters of ${group}`;
  $("letters-note").textContent = "looking ...";
  const answer = await ask(`/console/dead?group=${encodeURIComponent(group)}&after=${after}`);
  if (letters.group !== group) return;
  if (answer.error) {
    $("letters-note").textContent = answer.error;
    return;
  }
  $("letters-note").textContent = `${answer.total} in all`;
  letters.last = answer.letters.length ? answer.letters[answer.letters.length - 1].seq : 0;
  $("letters-more").hidden = answer.letters.length < 50;
  $("letters-list").replaceChildren(...answer.letters.map((letter) => {
    const event = letter.event, why = (event && event.data) || {}, inner = why.event || {};
    const box = node("input", { type: "checkbox", value: letter.seq, "aria-label": `select dead letter ${letter.seq}`, on: { change: countSelected } });
    return node("li", {}, box, node("details", {}, node("summary", {}, node("b", {}, inner.topic || `#${letter.origin_seq}`),
      node("span", { class: "soft" }, `${inner.key || ""} ${why.reason || ""} after ${letter.attempts}, ${clock(letter.died_ms)}`),
      node("span", { class: "bad" }, why.error || "")), node("pre", {}, event ? JSON.stringify(why, null, 2) : "its event could not be read")));
  }));
  if (!answer.letters.length) $("letters-list").append(node("li", { class: "none" }, "none left"));
  countSelected();
  const first = $("letters-list").querySelector("summary");
  if (first) first.focus();
}

const boxes = () => [...$("letters-list").querySelectorAll("input")];
const selected = () => boxes().filter((box) => box.checked).map((box) => Number(box.value));

function countSelected() {
  const n = selected().length;
  for (const [id, verb] of [["letters-retry", "Retry"], ["letters-drop", "Drop"]]) {
    $(id).disabled = !n;
    $(id).textContent = n ? `${verb} ${n}` : verb;
  }
}

function sure(title, text) {
  const dialog = $("confirm");
  $("confirm-title").textContent = title;
  $("confirm-text").textContent = text;
  dialog.showModal();
  return new Promise((resolve) => {
    const listening = new AbortController(), answer = (yes) => {
      listening.abort();
      dialog.close();
      resolve(yes);
    };
    $("confirm-yes").addEventListener("click", () => answer(true), listening);
    $("confirm-no").addEventListener("click", () => answer(false), listening);
    dialog.addEventListener("cancel", () => answer(false), listening);
  });
}

async function change(verb) {
  const seqs = selected(), { group } = letters;
  if (!seqs.length) return;
  const what = seqs.length === 1 ? "dead letter" : "dead letters";
  const text = verb === "retry" ? `They are delivered to ${group} again.` : "They are not delivered again; the log keeps them.";
  if (!(await sure(`${verb === "retry" ? "Retry" : "Drop"} ${seqs.length} ${what}?`, text))) return;
  const answer = await ask(`/console/dead/${verb}`, { group, seqs });
  await openLetters(group, letters.after);
  $("letters-note").textContent = answer.error || `${answer.changed} ${verb === "retry" ? "brought back" : "dropped"}`;
}

// --- The live tail

const tail = { stop: null, shown: 0 };

function tailMark(text) {
  $("tail-list").prepend(node("li", { class: "mark" }, node("span", {}, text)));
}

function tailEvent(event) {
  const list = $("tail-list"), flat = event.data === null ? (event.bytes ? `${event.bytes} bytes` : "") : JSON.stringify(event.data);
  list.prepend(node("li", { class: "new" }, node("details", {}, node("summary", {},
    node("span", { class: "soft" }, `${clock(event.stored_ms)} #${event.seq}`), node("b", {}, event.topic),
    node("span", { class: "soft" }, event.key), flat.length > 160 ? flat.slice(0, 160) + " ..." : flat),
  node("pre", {}, JSON.stringify(event, null, 2)))));
  while (list.children.length > TAIL_SHOWN) list.lastElementChild.remove();
  $("tail-note").textContent = `${++tail.shown} events`;
}

function tailRunning(running) {
  $("tail-start").textContent = running ? "Restart" : "Start";
  $("tail-stop").disabled = !running;
}

function stopTail() {
  if (tail.stop) tail.stop.abort();
  tail.stop = null;
  tailRunning(false);
}

async function startTail() {
  stopTail();
  const mine = tail.stop = new AbortController(), query = new URLSearchParams({ last: "20" });
  for (const [id, name] of [["tail-topics", "topics"], ["tail-key", "key"], ["tail-where", "where"]]) {
    const value = $(id).value.trim();
    if (value) query.set(name, name === "topics" ? value.split(/[\s,]+/).filter(Boolean).join(",") : value);
  }
  $("tail-list").replaceChildren();
  $("tail-note").textContent = "waiting for events";
  tail.shown = 0;
  tailRunning(true);
  try {
    await stream(`/console/tail?${query}`, mine.signal, {
      event: tailEvent,
      skipped: () => tailMark("more came than is shown here: some were skipped"),
      lost: ({ first, last }) => tailMark(`${first} to ${last} are damaged, and lost`),
      ended: ({ reason, detail }) => tailMark(`the queue ended it: ${reason} ${detail}`),
    });
    if (tail.stop === mine) $("tail-note").textContent = "ended";
  } catch (error) {
    if (tail.stop === mine) $("tail-note").textContent = error.message;
  }
  if (tail.stop === mine) stopTail();
}

// --- What needs attention: the supervisor's alerts, or, where there is no supervisor, what the rules of deploy/prometheus
// say of a moment

function troubles() {
  const found = [], say = (text) => found.push(text), { topology, queue } = state;
  for (const p of state.processes) {
    if (!p.up) say(`${p.instance} does not answer`);
    else if (valueOf(p.instance, "sluice_ready") === 0) say(`${p.instance} is not ready`);
  }
  for (const service of topology ? topology.services : []) {
    if (!service.serving) say(`no worker of ${service.service} serves: its routes answer 503`);
    for (const w of service.workers) {
      if (w.oldest_there_ms > 10000) say(`${w.instance} has a request that is ${seconds(w.oldest_there_ms / 1000)} old`);
    }
  }
  if (queue && !queue.up) say("the queue is away");
  if (queue && (queue.lost || []).length) say("events of the queue's log are damaged");
  for (const g of (queue && queue.groups) || []) {
    if (g.dead) say(`${g.group} has ${g.dead} dead letter${g.dead === 1 ? "" : "s"}`);
    if (!g.members.length && g.lag && !g.paused) say(`${g.group} has ${count(g.lag)} events to do, and no member`);
  }
  if (!state.history.length) return found;
  for (const { process, name, value, labels } of latest().series.values()) {
    const at = process.instance;
    if (name === "sluice_store_trouble" && value) say(`the store of ${at} cannot be used: ${labels.reason}`);
    if (name === "sluice_outbox_oldest_seconds" && value > 60) say(`events of ${at} wait for the queue since ${seconds(value)}`);
    if (name === "sluice_consumer_behind_seconds" && value > 60) say(`${labels.consumer} of ${at} is ${seconds(value)} behind`);
    if (name === "sluice_gateway_revocation_lag_seconds" && value > 30) say(`${at} has not heard of revocations for ${seconds(value)}`);
    if (name === "sluice_gateway_policy_stale" && value) say(`the policy file of ${at} has mistakes`);
    if (name === "process_open_fds" && value > 0.8 * valueOf(at, "process_max_fds")) say(`${at} has few files left`);
  }
  const from = windowStart(), all = times(HTTP, from).perSecond, five = times(HTTP, from, isStatus("5")).perSecond;
  if (all > 0 && five / all > 0.05) say(`${percent(five, all)} of the answers are 5xx`);
  return found;
}

const weight = (alert) => (alert.status === "firing" ? 0 : 2) + (alert.severity === "page" ? 0 : 1);

function alertItem(alert) {
  const since = `${alert.severity}, ${alert.status} since ${clock(Date.parse(alert.since))}`, value = `${count(alert.value)} ${alert.unit}`;
  const name = /^https?:/.test(alert.runbook) ? node("a", { href: alert.runbook, rel: "noreferrer" }, alert.alert) : node("b", {}, alert.alert);
  return node("li", {}, name, ` ${alert.summary}${alert.unit ? `: ${value}` : ""} `, node("span", { class: "soft" }, since));
}

function showTroubles() {
  const found = state.alerts ? [...state.alerts].sort((a, b) => weight(a) - weight(b)).map(alertItem)
    : troubles().map((text) => node("li", {}, text));
  const list = $("attention-list"), words = (items) => items.map((item) => item.textContent).join("\n");
  $("attention").hidden = !found.length;
  if (words(found) !== words([...list.children])) list.replaceChildren(...found);
  document.title = found.length ? `(${found.length}) Sluice` : "Sluice";
}

const views = {
  overview: () => { showSlow(); if (state.history.length) { showOverview(); for (const chart of Object.values(charts)) chart.draw(); } },
  workers: () => { if (state.topology) showServices(); if (state.history.length) showProcesses(); },
  routes: () => { if (state.history.length) showRoutes(); },
  queue: () => { if (state.queue) showQueue(); },
  tail: () => {},
};
let view = "overview";

function show(name, focus) {
  view = name;
  for (const each of Object.keys(views)) {
    const tab = $(`tab-${each}`), on = each === name;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
    $(each).hidden = !on;
    if (on && focus) tab.focus();
  }
  views[name]();
}

// --- Streams

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const headers = (more) => ({ Authorization: `Bearer ${sessionStorage.getItem(TOKEN)}`, ...more });

async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  return new Refused(response.status, body.error || `status ${response.status}`);
}

async function ask(path, body) {
  try {
    const response = await fetch(path, body ? { method: "POST", headers: headers({ "Content-Type": "application/json" }), body: JSON.stringify(body) }
      : { headers: headers() });
    if (!response.ok) throw await refusal(response);
    return await response.json();
  } catch (error) {
    if (error.status === 401) login(error.message);
    return { error: error.message };
  }
}

// Reads server-sent events until the stream ends.
async function stream(path, signal, handlers, onBegin) {
  const response = await fetch(path, { headers: headers(), signal });
  if (!response.ok) throw await refusal(response);
  if (onBegin) onBegin();
  const reader = response.body.getReader(), decoder = new TextDecoder();
  try {
    for (let rest = ""; ;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      const messages = rest.split("\n\n");
      rest = messages.pop();
      messages.forEach((message) => dispatch(message, handlers));
    }
  } finally {
    reader.cancel().catch(() => {}); // a browser has six connections to a server, no more
  }
}

// A mistake of ours in one message must not end the stream.
function dispatch(message, handlers) {
  const event = /^event: (.*)$/m.exec(message), data = /^data: (.*)$/m.exec(message);
  try {
    if (event && data && handlers[event[1]]) handlers[event[1]](JSON.parse(data[1]));
  } catch (error) {
    console.error(error);
  }
}

const handlers = {
  hello: ({ version, gateway, buckets }) => {
    state.bounds = buckets;
    $("gateway").textContent = `${gateway}, ${version}`;
  },
  topology: (topology) => {
    state.topology = topology;
    if (view === "workers") showServices();
    showTroubles();
  },
  figures: (message) => {
    readFigures(message);
    pushCharts();
    if (view !== "queue") views[view]();
    showTroubles();
  },
  slow: ({ requests }) => {
    if (JSON.stringify(requests) !== JSON.stringify(state.slow)) state.slow = requests;
    if (view === "overview") showSlow();
  },
  queue: (queue) => {
    state.queue = queue;
    if (view === "queue") showQueue();
    showTroubles();
  },
  alerts: ({ alerts }) => {
    state.alerts = alerts;
    showTroubles();
  },
};

function linkState(name, text) {
  $("link").dataset.state = name;
  $("link").textContent = text;
}

let running = null; // AbortController of the stream

async function run() {
  if (running) running.abort();
  const mine = running = new AbortController();
  for (let wait = 1000; running === mine; wait = Math.min(wait * 2, 15000)) {
    try {
      linkState("wait", "connecting");
      await stream("/console/events", mine.signal, handlers, () => {
        wait = 1000;
        $("login").hidden = true;
        $("main").hidden = false;
        linkState("live", "live");
      });
    } catch (error) {
      if (running !== mine) return;
      if (error.status === 401 || error.status === 403) {
        login(error.message);
        return;
      }
      if (error.status) linkState("wait", error.message);
    }
    if ($("link").dataset.state === "live") linkState("wait", "connection lost, trying again");
    state.history = []; // rates do not reach across a gap
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

function login(message) {
  running = null;
  stopTail();
  sessionStorage.removeItem(TOKEN);
  $("main").hidden = true;
  $("login").hidden = false;
  $("login-error").textContent = message || "";
  linkState("off", "not connected");
  $("token").focus();
}

// --- Keys and clicks

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("sluice-theme", theme);
  for (const chart of Object.values(charts)) chart.draw();
}

function toggleTheme() {
  const dark = getComputedStyle(document.documentElement).colorScheme.includes("dark");
  setTheme(dark ? "light" : "dark");
}

function move(step) {
  const items = [...document.querySelectorAll(`#${view} summary`)].filter((item) => item.offsetParent);
  const at = items.indexOf(document.activeElement);
  const next = items[at < 0 ? (step > 0 ? 0 : items.length - 1) : Math.min(Math.max(at + step, 0), items.length - 1)];
  if (next) next.focus();
}

function mark() {
  const item = document.activeElement.closest("#letters-list li"), box = item && item.querySelector("input");
  if (box) box.click();
}

const keys = {
  "/": () => { const field = { routes: "route-filter", tail: "tail-topics" }[view]; if (field) $(field).focus(); },
  s: () => { if (view === "tail") { if (tail.stop) stopTail(); else startTail(); } },
  j: () => move(1),
  k: () => move(-1),
  x: mark,
  r: () => { if (view === "queue" && !$("letters").hidden) change("retry"); },
  d: () => { if (view === "queue" && !$("letters").hidden) change("drop"); },
  t: toggleTheme,
  "?": () => $("help").showModal(),
};
Object.keys(views).forEach((name, i) => { keys[i + 1] = () => show(name, true); });

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("main").hidden || document.querySelector("dialog[open]")) return;
  const typing = event.target.matches("input:not([type=checkbox])");
  if (typing && event.key === "Escape") event.target.blur();
  else if (!typing && event.key === "Escape" && view === "queue") $("letters-close").click();
  else if (!typing && keys[event.key]) {
    event.preventDefault();
    keys[event.key]();
  }
});

$("tabs").addEventListener("click", (event) => {
  if (event.target.id.startsWith("tab-")) show(event.target.id.slice(4));
});
$("tabs").addEventListener("keydown", (event) => {
  const names = Object.keys(views), at = names.indexOf(view);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 }[event.key];
  if (to !== undefined) {
    event.preventDefault();
    show(names[(to + names.length) % names.length], true);
  }
});
$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, $("token").value.trim());
  $("token").value = "";
  run();
});
$("tail-form").addEventListener("submit", (event) => {
  event.preventDefault();
  startTail();
});
$("tail-stop").addEventListener("click", stopTail);
$("tail-clear").addEventListener("click", () => $("tail-list").replaceChildren());
$("route-filter").addEventListener("input", () => views.routes());
$("letters-all").addEventListener("click", () => {
  const all = boxes(), on = all.some((box) => !box.checked);
  for (const box of all) box.checked = on;
  countSelected();
});
$("letters-retry").addEventListener("click", () => change("retry"));
$("letters-drop").addEventListener("click", () => change("drop"));
$("letters-more").addEventListener("click", () => openLetters(letters.group, letters.last));
$("letters-close").addEventListener("click", () => { $("letters").hidden = true; letters.group = null; });
$("help-button").addEventListener("click", () => $("help").showModal());
$("help-close").addEventListener("click", () => $("help").close());
$("theme").addEventListener("click", toggleTheme);
window.addEventListener("resize", () => { for (const chart of Object.values(charts)) chart.draw(); });

// --- Beginning: the token may come behind a '#', which is not sent to anybody

const kept = localStorage.getItem("sluice-theme");
if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
if (location.hash.length > 1) {
  sessionStorage.setItem(TOKEN, decodeURIComponent(location.hash.slice(1)));
  history.replaceState(null, "", location.pathname);
}
if (sessionStorage.getItem(TOKEN)) run();
else login();
