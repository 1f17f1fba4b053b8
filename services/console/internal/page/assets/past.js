// Questions about the past: why something is so, what came of something, and how
// everything stood at a point of the log. The audit service answers them.

import { $, el, get, query, to, when, words } from "/console/page.js";
import { wordsOf } from "/console/graph.js";

const short = (s) => (s ?? "").replace(/^sha256:/, "").slice(0, 12);
const route = (question, name) => `/v1/${question}/${name.split("/").map(encodeURIComponent).join("/")}?${query}`;
const why = (name) => ({ href: to("why", name), text: "why?" });
let asked = ""; // the newest question: an answer to an older one comes too late

// graph shows why, or impact: the facts, the picture, and every event in words.
async function graph(question, name) {
  const a = await get(route(question, name));
  const parts = [el("p", {}, el("strong", {}, question === "why" ? a.title : `What followed from: ${a.title}`))];
  const facts = question === "why" ? a.facts.map((f) => [f.what, f.text])
    : Object.entries(a.counts).toSorted((x, y) => y[1] - x[1]).map(([type, n]) => [wordsOf(type), String(n)]);
  if (facts.length) parts.push(el("dl", {}, ...facts.flatMap(([k, v], i) => [el("dt", {}, i && facts[i - 1][0] === k ? "" : k), el("dd", {}, v)])));
  else if (question === "impact") parts.push(el("p", {}, "It has no effects yet."));
  const svg = `${route(question, name)}&format=svg`;
  parts.push(el("h3", {}, "Picture"), el("p", {}, el("a", { href: svg }, "open the graph alone")),
    el("div", { className: "drawn", tabIndex: 0, role: "region", "aria-label": "Picture; scroll with the arrow keys" },
      el("img", { src: svg, alt: `${a.nodes.length} events; the list below has the same in words` })),
    el("h3", {}, question === "why" ? "Because, from the newest on" : "From the oldest on"),
    el("ol", {}, ...a.nodes.map((n) => step(question, n))));
  if (a.truncated) parts.push(el("p", {}, "The answer is too long and is cut here; ask about one of these events to continue."));
  return parts;
}

function step(question, n) {
  const [next, label] = question === "impact" ? ["why", "why?"] : n.more ? ["why", "and why that?"] : ["impact", "what followed from it"];
  return el("li", { "data-event": n.id }, el("time", { dateTime: n.time }, when(n.time)),
    el("a", { href: `/v1/events/${n.id}?${query}` }, n.text), " ", el("a", { href: `#${next}/${n.id}` }, label));
}

const rules = (all) => (all ?? []).map((g) => `${g.name}: ${g.cel}`).join("; ");
const day = (t) => (t ? when(t) : "");
// What is shown of how everything stood, in this order.
const sections = [
  ["environments", "Serving", { model: "model", environment: "environment",
    traffic: (i) => i.traffic.map((t) => `v${t.version} ${t.per_cent} %`).join(", "), state: "state", changed: (i) => day(i.changed) }],
  ["champions", "Champions", { model: "model", environment: "environment", version: (i) => `v${i.version}`, since: (i) => day(i.since), why: (i) => why(`${i.environment}/${i.model}`) }],
  ["rollouts", "Open rollouts", { model: "model", environment: "environment", version: (i) => `v${i.version}`, kind: "kind", state: "state",
    traffic: (i) => `${i.weight} %`, started: (i) => day(i.started) }],
  ["approvals", "Waiting for a person", { model: "model", version: (i) => `v${i.version}`, environment: "environment", since: (i) => day(i.since), why: (i) => why(`${i.model}@${i.version}`) }],
  ["alerts", "Open alerts", { model: "model", environment: "environment", name: "name", raised: (i) => day(i.raised), why: (i) => why(i.alert) }],
  ["trainings", "Running trainings", { model: "model", trigger: "trigger", revision: (i) => short(i.revision), requested: (i) => day(i.requested_at) }],
  ["models", "Models", { model: "model", latest: (i) => `v${i.latest}`, mode: "mode", revision: (i) => short(i.revision), spec: (i) => short(i.spec_digest), gates: (i) => rules(i.gates) }],
  ["versions", "Versions", { model: "model", version: (i) => `v${i.version}`, status: "status",
    stages: (i) => i.stages.map((s) => `${s.environment} ${s.stage}`).join(", "), registered: (i) => day(i.registered_at), why: (i) => why(`${i.model}@${i.version}`) }],
  ["datasets", "Data", { dataset: "dataset", commits: "commits", commit: (i) => short(i.commit), rows: "rows", through: (i) => day(i.max_time) }],
  ["views", "Features", { view: (i) => `${i.view}@${i.version}`, commits: "commits", rows: "rows", through: (i) => day(i.through), computed: (i) => day(i.last_computed) }],
];

async function asOf(_, point) {
  const a = await get(route("as-of", point));
  const parts = [el("p", {}, el("strong", {}, a.position ? `As of position ${a.position} of the log, ${when(a.time)}` : "Nothing had happened yet"))];
  for (const [name, title, columns] of sections) {
    if (!a[name].length) continue;
    const cell = (item, read) => {
      const v = (typeof read === "string" ? item[read] : read(item)) ?? "";
      return v.href ? el("a", { href: v.href }, v.text) : String(v);
    };
    parts.push(el("h3", {}, title), el("div", { className: "stood" }, el("table", { "data-section": name },
      el("thead", {}, el("tr", {}, ...Object.keys(columns).map((c) => el("th", { scope: "col" }, words(c))))),
      el("tbody", {}, ...a[name].map((item) => el("tr", {}, ...Object.values(columns).map((read) => el("td", {}, cell(item, read)))))))));
  }
  if (a.truncated) parts.push(el("p", {}, "The answer is too long and is cut here."));
  return parts;
}

const questions = { why: [graph, "Why"], impact: [graph, "What followed from it"], "as-of": [asOf, "How everything stood"] };

async function follow() {
  const [, question, name] = /^#(why|impact|as-of)\/(.+)$/.exec(location.hash) ?? [];
  $("#past").hidden = !question;
  $("#picture").hidden = Boolean(question);
  asked = location.hash;
  if (!question) return;
  const [answer, title] = questions[question], own = asked;
  $("#past-title").textContent = title;
  $("#answer").replaceChildren(el("p", {}, "asking …"));
  let parts;
  try {
    parts = await answer(question, name.split("/").map(decodeURIComponent).join("/"));
  } catch (error) {
    parts = [el("p", { className: "problem", role: "alert" }, error.message)];
  }
  if (own !== asked) return;
  $("#answer").replaceChildren(...parts);
  $("#past").focus();
}

for (const form of document.querySelectorAll("form[data-question]")) {
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    const name = new FormData(form).get("name").trim(), hash = name && to(form.dataset.question, name);
    if (hash && hash !== location.hash) location.hash = hash;
    else if (hash) follow(); // the same again: show what has changed since
  });
}
addEventListener("hashchange", follow);
follow();
