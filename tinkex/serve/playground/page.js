// The page: its settings, the prompt, and a turn for each time that it is sent.

import { failureOf, listModels, sample, useKey } from "./api.js";
import { chatTokens, closeDetail, completionTokens, make, number, score, tokenView } from "./tokens.js";

const $ = (id) => document.getElementById(id);
const OTHER = "\u0000other"; // no model is called so
const NUMBERS = ["temperature", "max_tokens", "top_p", "n", "seed"];
let chat = []; // turns: { text, columns: [{ choices, picked } or null] }
let running = null; // the AbortController of what is being sampled
let turnCount = 0;
let groupCount = 0;

const mode = () => document.querySelector("[name=mode]:checked").value;
const isCoarse = matchMedia("(pointer: coarse)").matches;

// --- Models and key

/** The list of models on its way: what is sent before it is there waits for it. */
let loading;

async function sendSoon() {
  await loading;
  if (chosenModels().length) send();
}

async function loadModels() {
  let models;
  try {
    models = await listModels();
    $("models-say").textContent = models.length ? "" : "The server lists no models: give a name.";
  } catch (error) {
    const failure = failureOf(error);
    if (failure.wantsKey) return askForKey(failure);
    models = [];
    $("models-say").textContent = `${failure.title} ${failure.message}`;
  }
  $("key-form").hidden = true;
  const options = () => models.map((name) => make("option", { value: name }, name));
  const other = () => make("option", { value: OTHER }, "another name…");
  $("model-0").replaceChildren(...options(), other());
  $("model-1").replaceChildren(make("option", { value: "" }, "no other model"), ...options(), other());
  showNames();
}

function askForKey(failure) {
  $("key-form").hidden = false;
  $("key-says").textContent = `${failure.title} ${failure.message}`;
  $("key").focus();
}

function showNames() {
  for (const slot of [0, 1]) {
    const hides = $(`model-${slot}`).value !== OTHER;
    $(`name-${slot}`).hidden = hides;
    $(`name-${slot}`).required = !hides;
  }
}

/** Return the names of the models to sample from: one or two. */
function chosenModels() {
  const names = [0, 1].map((slot) => ($(`model-${slot}`).value === OTHER ? $(`name-${slot}`).value.trim() : $(`model-${slot}`).value));
  return names.filter(Boolean);
}

// --- Requests

function parameters() {
  const given = {};
  for (const name of NUMBERS) if ($(name).value !== "") given[name] = $(name).valueAsNumber;
  const stops = $("stop").value.split("\n").filter(Boolean);
  const escapes = { n: "\n", t: "\t", "\\": "\\" };
  if (stops.length) given.stop = stops.map((stop) => stop.replace(/\\([nt\\])/g, (_, letter) => escapes[letter]));
  return given;
}

function requestFor(model, slot, text) {
  const top = $("logprobs").value;
  if (mode() === "text") {
    const scores = top === "" ? {} : { logprobs: Number(top) };
    return { model, prompt: text, ...parameters(), ...scores, ...($("echo").checked && { echo: true }) };
  }
  const scores = top === "" ? {} : { logprobs: true, top_logprobs: Number(top) };
  return { model, messages: messagesFor(slot, text), ...parameters(), ...scores };
}

/** Return the conversation as a column has it: a turn that failed there is left out. */
function messagesFor(slot, text) {
  const messages = $("system").value ? [{ role: "system", content: $("system").value }] : [];
  for (const turn of chat) {
    const column = slot in turn.columns ? turn.columns[slot] : turn.columns[0];
    if (!column) continue;
    const { content } = column.choices[column.picked].message;
    messages.push({ role: "user", content: turn.text }, { role: "assistant", content: content ?? "" });
  }
  return [...messages, { role: "user", content: text }];
}

async function send() {
  if (running || !$("form").reportValidity()) return;
  const [text, models, kind] = [$("prompt").value, chosenModels(), mode()];
  const requests = models.map((model, slot) => requestFor(model, slot, text));
  const turn = { text, columns: models.map(() => null) };
  const columns = models.map((model) => make("section", { class: "card", "aria-label": model, "aria-busy": "true" }, make("h2", {}, model), make("p", { class: "quiet" }, "Sampling…")));
  const shown = make("section", { class: "turn", "aria-label": `Prompt ${++turnCount}` }, make("p", { class: "asked" }, text),
    make("div", { class: models.length > 1 ? "columns pair" : "columns" }, ...columns));
  if (kind === "chat") $("chat-turns").append(shown);
  else $("text-turns").prepend(shown);
  setRunning(new AbortController());
  shown.scrollIntoView({ block: "nearest" });
  const said = await Promise.all(requests.map((request, slot) => fill(columns[slot], turn, slot, request)));
  setRunning(null);
  $("status").textContent = said.join(" ");
  if (kind === "chat" && turn.columns.some(Boolean) && shown.isConnected) {
    chat.push(turn);
    $("prompt").value = "";
  }
  if (!isCoarse && !$("key-form").contains(document.activeElement)) $("prompt").focus({ preventScroll: true });
  if (shown.isConnected) shown.scrollIntoView({ block: isCoarse ? "start" : "nearest" });
}

function setRunning(controller) {
  running = controller;
  $("send").disabled = $("clear").disabled = Boolean(running);
  $("stop-button").hidden = !running;
  if (running) $("status").textContent = "Sampling…";
}

/** Sample the answers of one column and show them; what there is to say of it to who does not see. */
async function fill(column, turn, slot, request) {
  const began = performance.now();
  let said;
  try {
    const answer = await sample(request, running.signal);
    turn.columns[slot] = { choices: answer.choices, picked: 0 };
    const seconds = (performance.now() - began) / 1000;
    column.lastChild.replaceWith(...answersOf(answer, turn.columns[slot], request, seconds));
    said = `${request.model} answered: ${answer.choices.map(textOf).join(" Next answer: ").slice(0, 2000)}`;
  } catch (error) {
    const failure = failureOf(error);
    turn.columns[slot] = null;
    said = `${request.model}: ${failure.title} ${failure.message}`;
    column.lastChild.replaceWith(make("p", { class: "failed" }, make("strong", {}, failure.title), ` ${failure.message}`));
    if (failure.wantsKey) askForKey(failure);
  }
  column.removeAttribute("aria-busy");
  return said;
}

// --- Answers

const textOf = (choice) => (choice.message ? choice.message.content ?? "" : choice.text);

function answersOf(answer, column, request, seconds) {
  const length = request.echo ? Array.from(request.prompt).length : 0;
  const tokens = answer.choices.map((choice) => (request.messages ? chatTokens(choice) : completionTokens(choice, length)));
  const scores = tokens.map(score);
  const best = scores.reduce((top, each, at) => (each && (top < 0 || each.mean > scores[top].mean) ? at : top), -1);
  const group = `picked-${++groupCount}`;
  const usage = answer.usage ?? {};
  const head = make("p", { class: "quiet" }, `${usage.prompt_tokens} tokens in, ${usage.completion_tokens} out, ${seconds.toFixed(1)} s`);
  return [head, ...answer.choices.map((choice, at) => {
    const label = answer.choices.length > 1 ? `Answer ${at + 1} of ${answer.choices.length}` : "Answer";
    const made = make("div", { class: "answer", role: "group", "aria-label": label }, ...viewsOf(choice, tokens[at], label));
    made.append(footOf(choice, scores[at], answer.choices.length > 1 && at === best));
    if (request.messages && answer.choices.length > 1) made.append(picker(column, at, group));
    return made;
  })];
}

/** Return the views of an answer: its tokens where they are known, and its text, which readers of the screen have too. */
function viewsOf(choice, tokens, label) {
  const { reasoning_content: thoughts, tool_calls: calls } = choice.message ?? {};
  const words = make("div", { class: "words" });
  if (thoughts) words.append(make("div", { class: "thoughts" }, thoughts));
  words.append(textOf(choice) || (thoughts || calls ? "" : "(no text)"));
  if (calls) words.append(make("pre", { class: "words" }, JSON.stringify(calls.map((call) => call.function), null, 1)));
  if (!tokens.length) return [words];
  const view = tokenView(tokens, `Tokens of ${label.toLowerCase()}`);
  view.hidden = !$("coloured").checked;
  words.classList.toggle("hidden", $("coloured").checked);
  return [words, view];
}

function footOf(choice, scored, isBest) {
  const says = [choice.finish_reason === "length" ? "cut off at max tokens" : "finished"];
  if (choice.finish_reason === "tool_calls") says[0] = "calls a tool";
  if (scored) says.push(`${scored.count} tokens`, `log-probability ${number(scored.sum)}`, `mean ${number(scored.mean)}`);
  const foot = make("div", { class: "row" }, make("p", { class: "quiet" }, says.join(" · ")));
  if (isBest) foot.append(make("span", { class: "badge", title: "the highest mean log-probability" }, "likeliest"));
  if (navigator.clipboard) { // pages without TLS have none
    const copy = make("button", { type: "button", class: "plain" }, "Copy");
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(textOf(choice));
      $("status").textContent = "Copied.";
    });
    foot.append(copy);
  }
  return foot;
}

function picker(column, at, group) {
  const radio = make("input", { type: "radio", name: group });
  radio.checked = at === 0;
  radio.addEventListener("change", () => (column.picked = at));
  return make("label", { class: "check" }, radio, "Go on from this answer");
}

// --- The page

function showMode() {
  for (const part of document.querySelectorAll("[data-mode]")) part.hidden = part.dataset.mode !== mode();
  $("prompt-label").textContent = mode() === "chat" ? "Message" : "Text to complete";
}

function startAnew() {
  chat = [];
  $("chat-turns").replaceChildren();
  closeDetail();
  $("prompt").focus();
  $("status").textContent = "A new chat.";
}

function showColours() {
  for (const view of document.querySelectorAll("#form .tokens")) {
    view.hidden = !$("coloured").checked;
    view.previousSibling.classList.toggle("hidden", $("coloured").checked);
  }
  $("shades").hidden = !$("coloured").checked;
  closeDetail();
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  sendSoon();
});
$("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  useKey($("key").value);
  await (loading = loadModels());
  if ($("key-form").hidden) $("prompt").focus();
});
$("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  sendSoon();
});
for (const slot of [0, 1]) $(`model-${slot}`).addEventListener("change", showNames);
for (const radio of document.querySelectorAll("[name=mode]")) radio.addEventListener("change", showMode);
$("stop-button").addEventListener("click", () => running?.abort());
$("clear").addEventListener("click", startAnew);
$("coloured").addEventListener("change", showColours);
$("parameters").open = matchMedia("(min-width: 960px)").matches;
if (isCoarse) $("prompt-says").textContent = "";
showMode();
loading = loadModels();
