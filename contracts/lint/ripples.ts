// Lists a suite's ripples, the newest first: `contracts/lint/run client` with FRESHET_URL and
// FRESHET_TOKEN, as DATA_DIR/clients/environment exports them. Its types are made from
// contracts/openapi.json, so that it does not compile where the description says something else.
import createClient from "openapi-fetch";
import type { paths } from "./openapi.js";

const { FRESHET_URL, FRESHET_TOKEN } = process.env;
const client = createClient<paths>({ baseUrl: FRESHET_URL, headers: { Authorization: `Bearer ${FRESHET_TOKEN}` } });
const { data, error } = await client.GET("/v1/ripples", { params: { query: { limit: 100 } } });
if (error) {
  console.error(`${error.title}: ${error.detail}`);
  process.exit(1);
}
for (const { id, trigger, subject, events } of data.items ?? []) {
  console.log([id, trigger, subject, events].join("\t"));
}
