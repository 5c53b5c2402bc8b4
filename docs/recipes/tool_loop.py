"""Rollouts of a tool loop over several turns: 32 environments in threads, eight samples a prompt, exact to the token.

Without arguments it runs on the small local model (the ``local`` extra), else on the model named:
``python tool_loop.py Qwen/Qwen3-8B``.
"""

from __future__ import annotations

import ast
import concurrent.futures
import dataclasses
import functools
import json
import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tinkex
from tinkex.chat import Answer, ChatFormat

ENVIRONMENTS = 32
GROUP = 8
MAX_TURNS = 4
MAX_TOKENS = 96
OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "calculate",
            "description": "Work out an expression of whole numbers with + - *.",
            "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}},
        },
    }
]
#: For the local model, whose own template knows no tools: Qwen's way of writing them.
TEMPLATE = """{%- if tools %}<|im_start|>system
Call a tool like this: <tool_call>{"name": "calculate", "arguments": {"expression": "1 + 2"}}</tool_call>
{%- for tool in tools %}
{{ tool | tojson }}{% endfor %}<|im_end|>
{% endif %}
{%- for m in messages %}<|im_start|>{{ m.role }}
{{ m.content or '' }}{% for call in m.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@dataclasses.dataclass
class Rollout:
    """One conversation as tokens; the log-probability of each sampled one, None for those of prompts and results."""

    tokens: list[int]
    logprobs: list[float | None]
    reward: float = 0.0

    def extend_to(self, prompt: tinkex.ModelInput) -> None:
        """Take on the tokens that a longer prompt has behind what there is."""
        tokens = prompt.to_ints()
        assert tokens[: len(self.tokens)] == self.tokens  # exact to the token
        self.logprobs += [None] * (len(tokens) - len(self.tokens))
        self.tokens = tokens

    def add(self, sequence: tinkex.SampledSequence, answer: Answer) -> None:
        """Take on a sampled answer."""
        self.tokens = self.tokens + sequence.tokens[: answer.num_tokens]
        self.logprobs += (sequence.logprobs or [])[: answer.num_tokens]


class Sums:
    """An environment: asks for a sum, works out what the model asks its tool for, and looks at the answer."""

    def __init__(self, number: int) -> None:
        self.question = f"What is {number + 2} * {3 * number + 1} - {number}?"
        self.expected = str((number + 2) * (3 * number + 1) - number)

    def results(self, answer: Answer) -> list[dict[str, Any]]:
        """Return the messages that follow an answer; none where it ends the conversation."""
        calls = [
            {"role": "tool", "tool_call_id": call["id"], "name": call["function"]["name"], "content": self.run(call)}
            for call in answer.tool_calls
        ]
        if not calls and answer.unparsed_tool_calls:
            return [{"role": "user", "content": f"Not a call: {answer.unparsed_tool_calls[0].reason}"}]
        return calls

    def run(self, call: dict[str, Any]) -> str:
        """Run the tool; the text is for the model, errors too."""
        try:
            return str(evaluate(json.loads(call["function"]["arguments"])["expression"]))
        except (ArithmeticError, KeyError, SyntaxError, TypeError, ValueError) as error:
            return f"error: {error}"

    def reward(self, answer: Answer) -> float:
        """Return 1 for the right number."""
        return float(self.expected in answer.content.replace(",", ""))


def evaluate(expression: str) -> int:
    """Work out an expression of whole numbers, and nothing else."""

    def value(node: ast.expr) -> int:
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.Constant) and type(node.value) is int and abs(node.value) < 10**9:
            return node.value
        raise ValueError(f"cannot work out {expression!r}")

    return value(ast.parse(expression[:200], mode="eval").body)


def play(client: tinkex.SamplingClient, chat: ChatFormat, environment: Sums) -> list[Rollout]:
    """Play one environment: a group of rollouts, which share the first prompt and go on by themselves."""
    params = chat.sampling_params(MAX_TOKENS)
    prompt = chat.prompt([{"role": "user", "content": environment.question}], TOOLS)
    group = client.sample(prompt, params, num_samples=GROUP).result().sequences
    rollouts = [Rollout(prompt.to_ints(), [None] * prompt.length) for _ in group]
    going = [(rollout, prompt, sequence) for rollout, sequence in zip(rollouts, group, strict=True)]
    for turn in range(MAX_TURNS):
        waiting: list[tuple[Rollout, tinkex.ModelInput, tinkex.SampleFuture[tinkex.SampleResponse]]] = []
        for rollout, before, sequence in going:
            answer = chat.parse(sequence, before, TOOLS)
            rollout.add(sequence, answer)
            rollout.reward = environment.reward(answer)
            results = environment.results(answer) if turn + 1 < MAX_TURNS else []
            if results:
                following = chat.extend(before, sequence, results, TOOLS)
                rollout.extend_to(following)
                waiting.append((rollout, following, client.sample(following, params)))
        going = [(rollout, following, future.result().sequences[0]) for rollout, following, future in waiting]
    return rollouts


def collect(client: tinkex.SamplingClient, chat: ChatFormat, environments: Sequence[Sums]) -> list[list[Rollout]]:
    """Play all environments at once, a thread each; the samples of all of them are in flight together."""
    with concurrent.futures.ThreadPoolExecutor(len(environments)) as threads:
        return list(threads.map(functools.partial(play, client, chat), environments))


def main(model: str | None) -> None:
    """Play, and tell what came of it."""
    with tinkex.ServiceClient.local() if model is None else tinkex.ServiceClient() as service:
        client = service.create_sampling_client(base_model=model or "HuggingFaceTB/SmolLM2-135M-Instruct")
        chat = ChatFormat(client.get_tokenizer(), chat_template=TEMPLATE if model is None else None)
        groups = collect(client, chat, [Sums(number) for number in range(ENVIRONMENTS)])
    rollouts = [rollout for group in groups for rollout in group]
    sampled = sum(logprob is not None for rollout in rollouts for logprob in rollout.logprobs)
    right = sum(rollout.reward for rollout in rollouts)
    print(f"{len(groups)} environments, {len(rollouts)} rollouts, {sampled} tokens sampled, {right:g} right")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
