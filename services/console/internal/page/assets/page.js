// What every part of the page uses.

export const $ = (selector) => document.querySelector(selector);
export const namespace = document.body.dataset.namespace;
export const query = `namespace=${encodeURIComponent(namespace)}`;

const date = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });
export const when = (t) => date.format(new Date(t));
export const words = (s) => s.replaceAll("_", " ");

// to is the place of a question about a name on the page.
export const to = (question, name) => `#${question}/${name.split("/").map((part) => encodeURIComponent(part).replaceAll("%40", "@")).join("/")}`;

export function el(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [k, v] of Object.entries(properties)) k.startsWith("data-") || k.includes("-") ? node.setAttribute(k, v) : (node[k] = v);
  node.append(...children);
  return node;
}

export async function get(url) {
  const answer = await fetch(url, { headers: { Accept: "application/json" } });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail || body.title || answer.statusText);
  return body;
}
