// SPDX-License-Identifier: MIT
// Shows /openapi.json and /asyncapi.json. Text from them only ever becomes text nodes; what an
// operation says is made when somebody opens it.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];
const DEPTH = 8; // of schemas in schemas; deeper ones are only named
const $ = (id) => document.getElementById(id);

function node(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== undefined && value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

const paragraphs = (text) => (text || "").split("\n\n").filter(Boolean).map((part) => node("p", {}, part));

function table(heads, rows) {
  return node("div", { class: "table", tabindex: 0, role: "region", "aria-label": heads[0] }, node("table", { role: "table" },
    node("thead", {}, node("tr", {}, heads.map((head) => node("th", { scope: "col" }, head)))),
    node("tbody", {}, rows.map((cells) => node("tr", { role: "row" }, cells.map((cell) => node("td", { role: "cell" }, cell)))))));
}

// --- Schemas

// What a reference leads to, and its own members beside it.
function resolve(root, schema) {
  let found = schema || {};
  for (let i = 0; i < DEPTH && (found.$ref || found.allOf?.length === 1); i++) {
    const { $ref, allOf, ...own } = found;
    const target = $ref
      ? $ref.split("/").slice(1).reduce((place, part) => place?.[part.replaceAll("~1", "/").replaceAll("~0", "~")], root)
      : allOf[0];
    found = { ...target, ...own, name: ($ref || allOf[0].$ref || "").split("/").pop() || found.name };
  }
  return found;
}

function kind(schema) {
  const type = [schema.type || "any"].flat().join(" or ");
  return schema.format ? `${type} (${schema.format})` : type;
}

function limits(schema) {
  const words = [];
  const range = (low, high, of) => {
    if (low === undefined && high === undefined) return;
    if (low === high) words.push(`${low}${of}`);
    else if (high === undefined) words.push(`from ${low}${of}`);
    else words.push(low === undefined ? `up to ${high}${of}` : `${low} to ${high}${of}`);
  };
  if (!["uuid", "date-time"].includes(schema.format)) range(schema.minLength, schema.maxLength, " characters");
  range(schema.minimum, schema.maximum, "");
  range(schema.minItems, schema.maxItems, " items");
  const choice = /^\^\(([\w|-]+)\)(\(,.*)?\$$/.exec(schema.pattern || "");
  if (choice) words.push(choice[1].replaceAll("|", ", ") + (choice[2] ? "; several with commas" : ""));
  else if (schema.pattern) words.push(schema.pattern);
  if (schema.enum) words.push(schema.enum.join(", "));
  if (schema.default !== undefined) words.push(`default ${schema.default}`);
  return words.join("; ");
}

// Rows of a table: one for each field, those of embedded schemas by their path.
function fields(root, schema, path = "", depth = 0) {
  const found = resolve(root, schema);
  if (found.type === "array") {
    return fields(root, found.items, `${path}[]`, depth + 1);
  }
  const rows = [];
  for (const [name, member] of Object.entries(found.properties || {})) {
    const value = resolve(root, member);
    const at = path ? `${path}.${name}` : name;
    const must = (found.required || []).includes(name);
    rows.push([[node("code", {}, at), must ? node("span", { class: "must" }, " required") : null], kind(value),
      [value.description || "", limits(value) ? node("div", { class: "soft" }, limits(value)) : null]]);
    if (depth < DEPTH) rows.push(...fields(root, value, at, depth + 1));
  }
  return rows;
}

function schemaView(root, schema) {
  const rows = schema ? fields(root, schema) : [];
  return rows.length ? table(["Field", "Type", "Meaning"], rows) : null;
}

function example(root, schema, depth = 0) {
  const value = resolve(root, schema);
  const type = [value.type].flat()[0];
  if (value.default !== undefined) return value.default;
  if (type === "object") {
    const names = Object.keys(value.properties || {});
    const wanted = names.filter((name) => (value.required || []).includes(name));
    return depth >= DEPTH ? {} : Object.fromEntries((wanted.length ? wanted : names.slice(0, 1))
      .map((name) => [name, example(root, value.properties[name], depth + 1)]));
  }
  if (type === "array") return depth < DEPTH ? [example(root, value.items, depth + 1)] : [];
  if (type === "integer" || type === "number") return Math.max(value.minimum ?? 1, Math.min(1, value.maximum ?? 1));
  if (type === "boolean") return true;
  const choice = /^\^\((\w+)/.exec(value.pattern || "");
  if (choice) return choice[1];
  const formats = { uuid: "01a2197b-d5eb-77e5-bc72-13f2794003a5", email: "ada@example.com", "date-time": "2030-01-31T12:00:00.000Z" };
  const text = formats[value.format] || (/^\^\[A-Z\]/.test(value.pattern || "") ? "EUR" : "example");
  return text.padEnd(value.minLength || 0, "-").slice(0, value.maxLength || 99);
}

// --- Commands

function shellCommand(lines) {
  const text = lines.join(" \\\n  ");
  const copy = node("button", { type: "button" }, "Copy");
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Not allowed";
    }
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  });
  return [node("div", { class: "bar" }, node("h3", {}, "Example"), navigator.clipboard ? copy : null),
    node("pre", { tabindex: 0 }, node("code", {}, text))];
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

function curl(root, method, path, operation) {
  const base = new URL(".", location.href).href.replace(/\/$/, "");
  const of = (place) => (operation.parameters || []).map((p) => resolve(root, p)).filter((p) => p.in === place);
  const query = of("query").filter((p) => p.required)
    .map((p) => `${p.name}=${encodeURIComponent(example(root, p.schema))}`).join("&");
  // Names of shell variables stand for what the reader knows and this page does not.
  const url = path.replace(/\{(\w+)\}/g, (_, name) => `$${name.toUpperCase()}`) + (query && `?${query}`);
  const lines = [`curl ${method === "get" ? "" : `-X ${method.toUpperCase()} `}"${base}${url}"`];
  if (access(operation) !== "open to everybody") lines.push('-H "Authorization: Bearer $TOKEN"');
  for (const p of of("header").filter((header) => header.required)) {
    lines.push(p.name === "If-Match" ? '-H "If-Match: $ETAG"' : `-H ${quoted(`${p.name}: "${crypto.randomUUID?.() || "a-new-one"}"`)}`);
  }
  const [type, media] = Object.entries(operation.requestBody?.content || {})[0] || [];
  if (type) lines.push(`-H ${quoted(`Content-Type: ${type}`)}`, `-d ${quoted(JSON.stringify(example(root, media.schema)))}`);
  return shellCommand(lines);
}

// --- Operations

// The order in the documents is that in which workers came.
const sorted = (object) => Object.entries(object || {}).sort(([a], [b]) => (a < b ? -1 : 1));

function access(operation) {
  const needs = operation.security || [];
  if (!needs.length) return "open to everybody";
  return needs.some((need) => !Object.keys(need).length) ? "access token optional" : "needs an access token";
}

function answers(root, operation) {
  return Object.entries(operation.responses || {}).map(([status, announced]) => {
    const response = resolve(root, announced);
    const media = Object.entries(response.content || {});
    const view = media.length ? schemaView(root, media[0][1].schema) : null;
    const head = [node("b", {}, status), ` ${response.description || ""} `,
      node("span", { class: "soft" }, media.map(([type]) => type).join(", "))];
    return view
      ? node("details", { class: "answer", open: status[0] === "2" }, node("summary", {}, head), node("div", {}, view))
      : node("p", { class: "answer" }, head);
  });
}

function operationBody(root, method, path, operation) {
  const parameters = (operation.parameters || []).map((p) => resolve(root, p));
  const media = Object.entries(operation.requestBody?.content || {});
  return [
    node("p", {}, node("span", { class: "tag" }, access(operation)), " ",
      node("span", { class: "tag" }, operation.operationId || ""), operation.deprecated ? " Deprecated: do not begin with it." : ""),
    paragraphs(operation.description),
    parameters.length ? [node("h3", {}, "Parameters"), table(["Parameter", "Where", "Meaning"], parameters.map((p) => [
      [node("code", {}, p.name), p.required ? node("span", { class: "must" }, " required") : null], p.in,
      [p.description || "", node("div", { class: "soft" }, [kind(p.schema || {}), limits(p.schema || {})].filter(Boolean).join("; "))]]))] : null,
    media.length ? [node("h3", {}, "Body"), node("p", { class: "soft" }, media.map(([type]) => type).join(", ")),
      schemaView(root, media[0][1].schema)] : null,
    node("h3", {}, "Answers"), answers(root, operation),
    curl(root, method, path, operation),
  ].flat(2);
}

function item(id, method, name, summary, old, words, make) {
  const body = node("div");
  const made = node("details", { class: "item", id, "data-words": `${name} ${summary} ${words}`.toLowerCase() },
    node("summary", {}, node("span", { class: `method ${method}` }, method.toUpperCase()),
      node("code", { class: old && "old" }, name), node("span", { class: "soft" }, summary)), body);
  made.addEventListener("toggle", () => {
    if (made.open && !body.hasChildNodes()) body.append(...make().filter(Boolean));
  });
  return made;
}

function group(title, about, items, into) {
  const id = `group-${title}`;
  into.append(node("section", { class: "group", "aria-labelledby": id },
    node("h2", { id }, title), paragraphs(about), items));
  $("toc").append(node("b", {}, title), node("ul", {}, items.map((made) => node("li", {},
    node("a", { href: `#${made.id}` }, made.querySelector(".send") ? null : `${made.querySelector(".method").textContent} `,
      made.querySelector("code").textContent)))));
}

function showOperations(root) {
  document.title = $("title").textContent = `${root.info.title} API`;
  $("version").textContent = root.info.version;
  $("about").append(...paragraphs(root.info.description));
  const tags = new Map((root.tags || []).map((tag) => [tag.name, { about: tag.description, items: [] }]));
  for (const [path, methods] of sorted(root.paths)) {
    for (const method of METHODS.filter((name) => methods[name])) {
      const operation = methods[method];
      const tag = operation.tags?.[0] || "other";
      if (!tags.has(tag)) tags.set(tag, { items: [] });
      tags.get(tag).items.push(item(operation.operationId || `${method}-${path}`, method, path, operation.summary || "",
        operation.deprecated, `${method} ${operation.operationId} ${tag}`, () => operationBody(root, method, path, operation)));
    }
  }
  // The gateway's own come last: the services are what people look for.
  const names = [...tags.keys()].sort((a, b) => (a === "gateway") - (b === "gateway") || (a < b ? -1 : 1));
  for (const name of names) {
    const { about, items } = tags.get(name);
    if (items.length) group(name, about, items, $("operations"));
  }
}

// --- Events

function showEvents(root) {
  const all = sorted(root.channels);
  if (!all.length) return;
  const trait = root.components.messageTraits?.event?.headers;
  $("events").hidden = false;
  $("events-about").append(...paragraphs(root.info.description));
  if (trait) {
    const made = node("details", { class: "item" }, node("summary", {}, "Attributes of every event"),
      node("div", {}, paragraphs(trait.description), schemaView(root, trait)));
    $("events-about").append(made);
  }
  const services = new Map();
  for (const [topic, channel] of all) {
    const message = resolve(root, Object.values(channel.messages || {})[0]);
    const tag = resolve(root, root.operations?.[topic]?.tags?.[0]).name || topic.split(".")[0];
    if (!services.has(tag)) services.set(tag, []);
    services.get(tag).push(item(`event-${topic}`, "send", topic, message.summary || "", false, `event ${tag}`, () => [
      ...paragraphs(message.description), node("h3", {}, "Data"),
      schemaView(root, message.payload) || node("p", {}, "Not described."),
      ...shellCommand([`sluice-tap tail -f --topic ${quoted(topic)}`])]));
  }
  for (const [name, items] of services) group(`events of ${name}`, "", items, $("channels"));
}

// --- The page

function filter() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const made of document.querySelectorAll(".item[data-words]")) {
    made.hidden = !words.every((word) => made.dataset.words.includes(word));
    shown += !made.hidden;
  }
  for (const section of document.querySelectorAll(".group")) section.hidden = !section.querySelector(".item:not([hidden])");
  for (const section of ["about", "events-about"]) $(section).hidden = words.length > 0;
  for (const link of document.querySelectorAll("#toc li")) {
    link.hidden = $(decodeURIComponent(link.firstChild.hash.slice(1))).hidden;
  }
  $("found").textContent = words.length ? `${shown} found` : "";
  $("nothing").hidden = shown > 0;
}

// Opens what the address names.
function openNamed() {
  const named = $(decodeURIComponent(location.hash.slice(1)));
  if (!named) return;
  if (named.hidden) {
    $("filter").value = "";
    filter();
  }
  if (named.tagName === "DETAILS") {
    named.open = true;
    named.querySelector("summary").focus({ preventScroll: true });
  }
  named.scrollIntoView();
}

function onKey(event) {
  const typing = document.activeElement === $("filter");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    $("filter").focus();
  } else if (event.key === "Escape" && typing) {
    $("filter").value = "";
    filter();
    $("filter").blur();
  }
}

function toggleTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("sluice-theme", root.dataset.theme);
}

async function load(name, show) {
  try {
    const answer = await fetch(name, { credentials: "omit" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    $("failed").textContent += `${name} cannot be shown: ${error.message}. `;
    $("failed").hidden = false;
  }
}

async function main() {
  const kept = localStorage.getItem("sluice-theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
  $("contents").open = matchMedia("(min-width: 52rem)").matches;
  $("theme").addEventListener("click", toggleTheme);
  $("filter").addEventListener("input", filter);
  addEventListener("keydown", onKey);
  addEventListener("hashchange", openNamed);
  await load("openapi.json", showOperations);
  await load("asyncapi.json", showEvents);
  openNamed();
  document.body.dataset.ready = "yes";
}

main();
