// A button on each block of code copies it; of a block with prompts, what is typed behind them.
const PROMPT = /^(\$|>>>) /;

function typed(text) {
  const lines = text.trimEnd().split("\n");
  if (!lines.some((line) => PROMPT.test(line))) return lines.join("\n");
  return lines.filter((line) => /^(\$|>>>|\.\.\.)( |$)/.test(line)).map((line) => line.replace(/^\S+ ?/, "")).join("\n");
}

function addButton(block) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(typed(block.querySelector("pre").textContent) + "\n");
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  block.append(button);
}

document.addEventListener("DOMContentLoaded", () => {
  if (!navigator.clipboard) return; // without https
  document.querySelectorAll("div[class*='highlight-']:not(.highlight-text) > div.highlight").forEach(addButton);
});
