import { draw, serviceOf, wordsOf } from "/console/graph.js";
import { $, el, get, namespace, query, to, when, words } from "/console/page.js";
import { refresh as refreshWorklist, versions } from "/console/worklist.js";

let shown = null;         // the ripple in the picture
let chosen = null;        // the event whose path is lit
let drawn = new Set();    // ids drawn before, of the ripple in the picture
let waiting = new Set();  // ids of the events that ask for an approval
let lastEvents = [];
let running = false;      // the ripple in the graph is open

// soon runs a function once, a little later, however often it is called.
function soon(fn, after = 120) {
  let timer = 0;
  return () => { clearTimeout(timer); timer = setTimeout(() => fn().catch(report), after); };
}

function report(error) { console.error(error); }

// Ripples.

function row(r) {
  const li = document.querySelector(`#ripples li[data-id="${CSS.escape(r.id)}"]`) ?? el("li", { "data-id": r.id });
  li.dataset.trigger = r.trigger;
  li.dataset.outcome = r.outcome;
  li.toggleAttribute("data-open", r.open);
  const link = li.querySelector("a") ?? li.appendChild(el("a", { href: `#ripple/${r.id}` }));
  link.replaceChildren(
    el("span", { className: "trigger" }, r.trigger), " ", el("span", { className: "subject" }, r.subject), " ",
    el("span", { className: "outcome" }, words(r.outcome)), " ", el("span", { className: "detail" }, r.detail), " ",
    el("span", { className: "meta" }, el("time", { dateTime: r.started }, when(r.started)), `, ${r.events} events`));
  if (!li.isConnected) $("#ripples").prepend(li);
  $("#empty").hidden = true;
  mark(li);
}

function mark(li) {
  const on = [...document.querySelectorAll("input[name=trigger]:checked")].map((i) => i.value);
  li.hidden = !on.includes(li.dataset.trigger);
  const link = li.querySelector("a");
  if (li.dataset.id === shown) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
}

const markAll = () => document.querySelectorAll("#ripples li").forEach(mark);

// The picture.

async function show() {
  if (!shown) return;
  const id = shown, r = await get(`/v1/ripples/${encodeURIComponent(id)}?${query}`);
  if (id !== shown) return; // another was chosen meanwhile
  lastEvents = r.items;
  running = r.open;
  $("#status").replaceChildren(
    el("strong", {}, `${r.trigger}: ${r.subject}`), ` began ${when(r.started)}, ${r.events} events. `,
    el("strong", {}, words(r.outcome)), r.detail ? `: ${r.detail}` : "", r.open ? " (still running)" : "",
    " ", el("a", { href: `#impact/${id}` }, "what followed from it"), " · ", el("a", { href: `#as-of/${r.changed}` }, "how everything stood then"));
  picture();
  const list = $("#as-list ol");
  list.replaceChildren(...r.items.map((e) => el("li", {},
    el("a", { href: `/v1/events/${e.id}?${query}` }, wordsOf(e.type)), ` ${e.note ?? ""} (${serviceOf(e.type)}, ${when(e.time)})`)));
  $("#as-list").hidden = false;
}

function picture() {
  const focused = document.activeElement?.dataset?.event;
  const canvas = $("#canvas");
  canvas.hidden = false;
  const { svg, more } = draw(lastEvents, { room: canvas.clientWidth, known: drawn.size ? drawn : null, waiting, chosen, choose });
  // A graph that is scrolled to its end stays there as it grows. A new one begins at its
  // end while the ripple runs, and at its root when the ripple has ended.
  const end = drawn.size ? canvas.scrollTop + canvas.clientHeight >= canvas.scrollHeight - 4 : running;
  const place = drawn.size ? canvas.scrollTop : 0;
  canvas.replaceChildren(svg);
  if (more) canvas.append(el("p", {}, `${more} more events are in the list below.`));
  canvas.scrollTop = end ? canvas.scrollHeight : place;
  drawn = new Set(lastEvents.map((e) => e.id));
  if (focused) canvas.querySelector(`[data-event="${CSS.escape(focused)}"]`)?.focus();
}

function choose(e) {
  chosen = e.id;
  picture();
  const facts = [["time", when(e.time)], ["service", serviceOf(e.type)], ["about", e.subject], ["note", e.note], ["actor", e.actor]];
  $("#detail").replaceChildren(el("strong", {}, wordsOf(e.type)),
    el("dl", {}, ...facts.filter(([, v]) => v).flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, v)])),
    el("a", { href: `/v1/events/${e.id}?${query}` }, "the whole event"), " · ", el("a", { href: `#why/${e.id}` }, "why?"), " · ",
    el("a", { href: `#impact/${e.id}` }, "what followed from it"), " · ", el("a", { href: `#as-of/${e.sequence}` }, "how everything stood then"));
  $("#detail").hidden = false;
}

function follow() {
  const id = location.hash.startsWith("#ripple/") ? decodeURIComponent(location.hash.slice(8)) : null;
  if (!id || id === shown) return;
  shown = id;
  chosen = null;
  drawn = new Set();
  $("#detail").hidden = true;
  markAll();
  show().catch((error) => { $("#status").textContent = error.message; });
}

// What waits and what serves.

const figure = (m, k) => (m && k in m ? m[k].toFixed(3) : "–");

function card(a) {
  const key = (name, value) => `[data-${name}="${CSS.escape(String(value))}"]`;
  const old = document.querySelector(`#approvals article${key("model", a.model)}${key("version", a.version)}${key("environment", a.environment)}`);
  if (old) return old; // somebody may be writing a note in it
  const rows = Object.keys(a.candidate).toSorted().map((k) => el("tr", {},
    el("th", { scope: "row" }, k), el("td", {}, figure(a.candidate, k)), el("td", {}, figure(a.champion?.metrics, k)), el("td", {}, figure(a.naive, k))));
  const head = el("tr", {}, ...["", "candidate", "champion", "naive"].map((h) => el("th", { scope: "col" }, h)));
  return el("article", { "data-model": a.model, "data-version": a.version, "data-environment": a.environment, "data-ripple": a.ripple },
    el("h3", {}, `${a.model} v${a.version} `, el("span", {}, `to ${a.environment}`)),
    el("table", {}, el("caption", {}, `${a.rows} rows that neither model was trained on`), el("thead", {}, head), el("tbody", {}, ...rows)),
    el("label", {}, "Note ", el("input", { name: "note", maxLength: 2000, autocomplete: "off", placeholder: "the reason, for later readers" })),
    el("p", { className: "verdict" },
      el("button", { type: "button", "data-verdict": "approve" }, "Approve"), el("button", { type: "button", "data-verdict": "deny", className: "quiet" }, "Deny"),
      el("a", { href: to("why", `${a.model}@${a.version}`) }, "why?"), " ", el("a", { href: `#ripple/${a.ripple}` }, "its ripple")),
    el("p", { className: "problem", role: "alert", hidden: true }));
}

let championsShown = "";

async function side() {
  const s = await get(`/console/state?${query}`);
  const before = [...waiting].join();
  waiting = new Set(s.approvals.map((a) => a.event));
  if ([...waiting].join() !== before && lastEvents.length) picture();
  const cards = s.approvals.map(card);
  const box = $("#approvals .cards");
  for (const gone of [...box.children].filter((c) => !cards.includes(c))) gone.remove();
  for (const c of cards) if (!c.isConnected) box.append(c);
  $("#approvals").hidden = cards.length === 0;
  document.title = cards.length ? `(${cards.length}) Freshet` : "Freshet";
  versions(s.versions);
  const champions = JSON.stringify(s.champions);
  if (champions === championsShown) return; // a link that is replaced under a click loses it
  championsShown = champions;
  $("#champions").replaceChildren(...s.champions.map((c) => el("li", {},
    el("span", {}, `${c.model} in ${c.environment}`), " ", el("strong", {}, `v${c.version}`), " ", el("time", { dateTime: c.since }, `since ${when(c.since)}`), " ",
    el("a", { href: to("why", `${c.environment}/${c.model}`) }, "why?"))));
}

async function decide(article, verdict) {
  const { model, version, environment } = article.dataset;
  const buttons = article.querySelectorAll("button"), problem = article.querySelector(".problem");
  buttons.forEach((b) => { b.disabled = true; });
  problem.hidden = true;
  const answer = await fetch("/v1/approvals", {
    method: "POST",
    headers: { "Content-Type": "application/json", "Freshet-Request": "console" },
    body: JSON.stringify({ namespace, model, version: Number(version), environment, verdict, note: article.querySelector("input").value }),
  });
  if (!answer.ok) {
    const body = await answer.json().catch(() => ({}));
    problem.textContent = body.detail || body.title || "The request was refused; try again.";
    problem.hidden = false;
    buttons.forEach((b) => { b.disabled = false; });
  }
  refreshSide();
}

// Live.

const refreshSide = soon(side), refreshPicture = soon(show), refreshLists = soon(refreshWorklist, 1000);

function listen() {
  const source = new EventSource(`/v1/ripples/stream?${query}&after=${document.body.dataset.changed}`);
  const live = (state, text) => { $("#live").className = state; $("#live").textContent = text; };
  source.onopen = () => live("on", "live");
  source.onerror = () => live("off", "connection lost; reconnecting");
  source.addEventListener("ripple", (m) => {
    const r = JSON.parse(m.data);
    document.body.dataset.changed = m.lastEventId;
    row(r);
    refreshSide();
    refreshLists();
    if (r.id === shown) refreshPicture();
  });
}

document.addEventListener("click", (e) => {
  const button = e.target.closest?.("button[data-verdict]");
  if (button) decide(button.closest("article"), button.dataset.verdict).catch(report);
});
document.querySelector(".filters").addEventListener("change", markAll);
addEventListener("resize", soon(async () => { if (lastEvents.length) picture(); }));
addEventListener("hashchange", follow);

side().catch(report);
refreshWorklist().catch(report);
if (!location.hash) {
  const first = document.querySelector("#ripples li a");
  if (first) history.replaceState(null, "", first.getAttribute("href"));
}
follow();
listen();
