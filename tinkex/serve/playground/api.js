// Requests to the gateway, and what goes wrong in words. The key is in this module's memory, and nowhere else.

const TITLES = {
  400: "The request is refused.", 402: "The account has no credit left.", 403: "This is not allowed.",
  404: "There is no such model.", 413: "The prompt is too large.", 429: "Too many requests.",
  500: "The gateway failed.", 502: "The server behind the gateway failed.", 503: "The gateway cannot answer now.",
  504: "The answer took too long.",
};
let key = "";

/** Send this key with every request from now on. */
export function useKey(text) {
  key = text.trim();
}

/** What went wrong, in words. `wantsKey`: the gateway's own key is missing or not known. */
export class Failure extends Error {
  constructor(title, message = "", wantsKey = false) {
    super(message);
    Object.assign(this, { title, wantsKey });
  }
}

/** Return an error as a failure; one that was not foreseen means that the answer has another form. */
export function failureOf(error) {
  return error instanceof Failure ? error : new Failure("The answer cannot be read.", String(error));
}

/** Return the names of the models. */
export async function listModels() {
  const { data } = await ask("v1/models");
  return data.map(({ id }) => id);
}

/** Sample an answer: to messages where `body` has some, else to its prompt. */
export function sample(body, signal) {
  return ask(body.messages ? "v1/chat/completions" : "v1/completions", body, signal);
}

async function ask(path, body, signal) {
  if (!/^[\x21-\x7e]*$/.test(key)) throw new Failure("This is no key.", "Keys have no spaces and no special letters.", true);
  const headers = { ...(body && { "Content-Type": "application/json" }), ...(key && { Authorization: `Bearer ${key}` }) };
  let response, text;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, signal, cache: "no-store", ...(body && { body: JSON.stringify(body) }) });
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw new Failure("Cancelled.");
    throw new Failure("The gateway does not answer.", "Is it still running, and can this device reach it?");
  }
  let answer = null;
  try {
    answer = JSON.parse(text);
  } catch {
    // told below
  }
  if (response.ok && answer !== null) return answer;
  const { message, code } = answer?.error ?? {};
  if (code === "invalid_api_key") throw new Failure("This gateway wants a key.", key ? "The one given is not known." : "", true);
  const again = Number(response.headers.get("Retry-After"));
  const advice = again > 0 ? `Try again in ${again} seconds.` : "";
  const said = message ?? "What answered is not the gateway, perhaps a proxy in front of it.";
  const title = (code === "upstream_key_refused" && "The server behind refuses the gateway's key.") || TITLES[response.status];
  throw new Failure(title ?? `The gateway answered with HTTP ${response.status}.`, [said, advice].filter(Boolean).join(" "));
}
