// The worklist: versions, open alerts and parked events, each with a link to its reason.
// Monitoring answers for alerts, and every service for the events that it parked.

import { $, el, get, namespace, query, to, when } from "/console/page.js";
import { wordsOf } from "/console/graph.js";

const why = (name) => el("a", { href: to("why", name) }, "why?");

// fill shows a list, and the services that could not be asked.
function fill(id, rows, empty, problems = []) {
  const box = $(`#${id}`);
  box.querySelector(".count").textContent = problems.length && !rows.length ? "?" : String(rows.length);
  box.toggleAttribute("data-some", rows.length > 0);
  box.querySelector("ul").replaceChildren(...rows);
  const note = box.querySelector(".note");
  note.textContent = [...(rows.length || problems.length ? [] : [empty]), ...problems].join(" ");
  note.hidden = !note.textContent;
}

export function versions(list) {
  fill("versions", list.map((v) => el("li", { "data-status": v.status },
    el("strong", {}, `${v.model} v${v.version}`), ` ${v.status}${v.serves.length ? `, serves ${v.serves.join(" and ")}` : ""} `, why(`${v.model}@${v.version}`))),
  "No version is registered yet.");
  $("#names").replaceChildren(...list.flatMap((v) => [...v.serves.map((e) => `${e}/${v.model}`), `${v.model}@${v.version}`]).map((value) => el("option", { value })));
}

async function alerts() {
  const { items } = await get(`/v1/alerts?open=true&${query}`);
  fill("alerts", items.map((a) => el("li", {},
    el("strong", {}, `${a.model} in ${a.environment}`), ` ${a.name}, since ${when(a.raised)} `, why(a.alert))), "No alert is open.");
}

async function parked() {
  const { services } = await get("/healthz");
  const problems = [], rows = [];
  for (const service of services) {
    try {
      const { items } = await get(`/v1/parked/${encodeURIComponent(service)}`);
      rows.push(...items.filter((p) => p.namespace === namespace).map((p) => row(service, p)));
    } catch (error) {
      problems.push(`${service} did not answer: ${error.message}`);
    }
  }
  fill("parked", rows, "No event is parked.", problems);
}

function row(service, p) {
  const button = (how, text, className) => el("button", { type: "button", className, "data-how": how }, text);
  return el("li", { "data-service": service, "data-event": p.id },
    el("strong", {}, service), ` could not apply ${wordsOf(p.type)} of ${p.subject}: ${p.reason}${p.code ? ` (${p.code})` : ""}`,
    p.behind ? `; ${p.behind} wait behind it ` : " ", why(p.id), " ", button("retry", "Retry", ""), " ", button("discard", "Discard", "quiet"),
    el("span", { className: "problem", role: "alert", hidden: true }));
}

async function answer(li, how) {
  const { service, event } = li.dataset, problem = li.querySelector(".problem");
  if (how === "discard" && !confirm(`${service} will skip this event for ever, and apply the events that wait behind it. Discard it?`)) return;
  const buttons = li.querySelectorAll("button");
  buttons.forEach((b) => { b.disabled = true; });
  const response = await fetch(`/v1/parked/${encodeURIComponent(service)}/${encodeURIComponent(event)}/${how}`, {
    method: "POST", headers: { "Content-Type": "application/json", "Freshet-Request": "console" }, body: "{}" });
  if (response.ok) return refresh();
  const body = await response.json().catch(() => ({}));
  problem.textContent = body.detail || body.title || "The request was refused; try again.";
  problem.hidden = false;
  buttons.forEach((b) => { b.disabled = false; });
}

const failed = (id) => (error) => fill(id, [], "", [error.message]);

// refresh fetches the lists that are not in the page's own state.
export const refresh = () => Promise.all([alerts().catch(failed("alerts")), parked().catch(failed("parked"))]);

$("#parked").addEventListener("click", (e) => {
  const button = e.target.closest?.("button[data-how]");
  if (button) answer(button.closest("li"), button.dataset.how).catch(console.error);
});
