// Tokens of an answer: read from both formats, coloured by log-probability, walked through, and their alternatives shown.

const MOST_SHOWN = 5000; // elements of one answer; what follows is shown as text
const SHADES = [0.9, 0.5, 0.2, 0.05, 0.01];
const $ = (id) => document.getElementById(id);

/** Make an element; its content is text or elements, and never markup. */
export function make(tag, attributes = {}, ...content) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== false) made.setAttribute(name, value);
  made.append(...content);
  return made;
}

/** Return the tokens of a choice of a chat; none where it has no log-probabilities. */
export function chatTokens(choice) {
  const decoder = new TextDecoder();
  return (choice.logprobs?.content ?? []).map((each) => {
    const text = each.bytes ? decoder.decode(Uint8Array.from(each.bytes), { stream: true }) : "";
    return {
      text, mark: mark(each.token, !isWhole(each.bytes)), spelling: spelled(each), logprob: each.logprob,
      others: each.top_logprobs.map((other) => ({ spelling: spelled(other), logprob: other.logprob })),
    };
  });
}

/** Return the tokens of a choice of a completion; those of the prompt, of so many characters, are marked. */
export function completionTokens(choice, promptLength) {
  const scores = choice.logprobs;
  if (!scores) return [];
  const letters = Array.from(choice.text); // offsets count characters, not UTF-16
  return scores.tokens.map((spelling, at) => ({
    text: letters.slice(scores.text_offset[at], scores.text_offset[at + 1]).join(""),
    mark: mark(spelling, spelling.startsWith("bytes:")), spelling: JSON.stringify(spelling),
    logprob: scores.token_logprobs[at], isPrompt: scores.text_offset[at] < promptLength,
    others: Object.entries(scores.top_logprobs?.[at] ?? {}).map(([other, logprob]) => ({ spelling: JSON.stringify(other), logprob })),
  }));
}

/** What stands for a token without text of its own: a stop, or a part of a character that a later token completes. */
const mark = (token, isPart) => (isPart ? "·" : token);

function isWhole(bytes) {
  try {
    return !bytes || new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(bytes)) !== null;
  } catch {
    return false;
  }
}

/** Return a token's text in quotes; its bytes where it is a part of a character. */
function spelled({ token, bytes }) {
  return isWhole(bytes) ? JSON.stringify(token) : `bytes ${bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(" ")}`;
}

/** Return how many tokens an answer has, and the sum and mean of their log-probabilities; null where there are none. */
export function score(tokens) {
  const scored = tokens.filter((token) => !token.isPrompt && token.logprob !== null);
  if (!scored.length) return null;
  const sum = scored.reduce((total, token) => total + token.logprob, 0);
  return { count: scored.length, sum, mean: sum / scored.length };
}

export const number = (value) => value.toFixed(Math.abs(value) < 10 ? 3 : 1).replace("-", "−");

function percent(logprob) {
  const share = 100 * Math.exp(logprob);
  return share > 0 && share < 0.01 ? "under 0.01 %" : `${share.toFixed(share < 1 ? 2 : 1)} %`;
}

/** Build the view of an answer's tokens: one stop of the Tab key, in which arrow keys walk. */
export function tokenView(tokens, label) {
  const view = make("div", { class: "tokens", role: "listbox", "aria-label": label, "aria-orientation": "horizontal" });
  const shown = tokens.slice(0, MOST_SHOWN);
  view.append(...shown.map(tokenElement));
  view.firstElementChild.tabIndex = 0;
  view.append(tokens.slice(MOST_SHOWN).map((token) => token.text).join(""));
  view.addEventListener("click", (event) => show(view, tokens, indexOf(event.target.closest(".t"))));
  view.addEventListener("keydown", (event) => walk(event, view, tokens));
  return view;
}

function tokenElement(token) {
  const visible = token.text || token.mark;
  const shade = token.logprob === null ? 0 : SHADES.filter((least) => Math.exp(token.logprob) <= least).length;
  const classes = ["t", shade && `s${shade}`, !token.text && "mark", token.isPrompt && "prompt", visible.startsWith("\n") && "break"];
  const name = visible.trim() ? null : JSON.stringify(visible);
  return make("span", { class: classes.filter(Boolean).join(" "), role: "option", tabindex: -1, "aria-selected": "false", "aria-label": name }, visible);
}

const indexOf = (element) => (element ? Array.prototype.indexOf.call(element.parentElement.children, element) : -1);

function walk(event, view, tokens) {
  const at = indexOf(event.target.closest(".t"));
  const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: view.childElementCount - 1, Enter: at, " ": at }[event.key];
  if (to === undefined || at < 0) return;
  event.preventDefault();
  show(view, tokens, to);
  view.children[to]?.focus();
}

let current = null; // { view, tokens, at }: whose detail is shown

function show(view, tokens, at) {
  if (!tokens[at] || !view.children[at]) return;
  select(false);
  current = { view, tokens, at };
  select(true);
  const token = tokens[at];
  $("detail-token").textContent = token.spelling;
  const scored = token.logprob === null ? "The first token has no log-probability." : `${percent(token.logprob)} · log-probability ${number(token.logprob)}`;
  $("detail-score").textContent = scored;
  const known = token.others.length && token.logprob !== null && !token.others.some((other) => other.spelling === token.spelling);
  const rows = [...token.others, ...(known ? [token] : [])].filter((other) => other.logprob !== null);
  rows.sort((one, other) => other.logprob - one.logprob);
  $("alternatives").replaceChildren(...rows.map((other) => {
    const bar = make("span", { class: "bar" });
    bar.style.width = `${100 * Math.exp(other.logprob)}%`;
    const own = other.spelling === token.spelling;
    return make("li", { class: own && "sampled" }, make("span", { class: "mono" }, other.spelling), make("span", {}, percent(other.logprob)), bar);
  }));
  $("detail").hidden = false;
  document.body.classList.add("detailed");
  view.children[at].scrollIntoView({ block: "nearest" }); // the detail may lie over it
}

function select(is) {
  const element = current?.view.children[current.at];
  if (!element) return;
  element.setAttribute("aria-selected", String(is));
  if (is) {
    for (const other of current.view.querySelectorAll("[tabindex='0']")) other.tabIndex = -1;
    element.tabIndex = 0;
  }
}

/** Hide the detail; the focus goes back to the token where it was in the detail. */
export function closeDetail() {
  const inside = $("detail").contains(document.activeElement);
  select(false);
  $("detail").hidden = true;
  document.body.classList.remove("detailed");
  if (inside) current?.view.children[current.at]?.focus();
  current = null;
}

const step = (by) => current && show(current.view, current.tokens, current.at + by);
$("earlier").addEventListener("click", () => step(-1));
$("later").addEventListener("click", () => step(1));
$("close").addEventListener("click", closeDetail);
document.addEventListener("keydown", (event) => event.key === "Escape" && !$("detail").hidden && closeDetail());
