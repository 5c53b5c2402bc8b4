"""A tool loop over several turns, eight samples a prompt.

A rollout is the list of its answers. The prompt of the last one holds all that came before it, as it was sampled; the
tokens of each answer, whose log-probabilities it has, stand there behind its own prompt.
"""

import tinkex
from tinkex.testing import FakeServer

PARAMETERS = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
TOOLS = [{"type": "function", "function": {"name": "multiply", "parameters": PARAMETERS}}]
CALL = '<tool_call>\n{"name": "multiply", "arguments": {"a": 11, "b": 18}}\n</tool_call>'
QUESTIONS = [f"What is {number} times {number + 7}?" for number in range(11, 75)]


def multiply(a: int, b: int) -> int:
    """Run the tool; an error that it raises goes to the model as text."""
    return a * b


def answer(request: tinkex.SampleRequest) -> str:
    """Stand for a model, on the fake server: first a call, then an answer."""
    return CALL if request.num_samples == 8 else "It is 198."


with (
    FakeServer(answers=answer) as server,
    tinkex.ServiceClient.direct(server.url) as service,  # the hosted service: tinkex.ServiceClient()
):
    client = service.create_sampling_client(base_model="Qwen/Qwen3-8B")
    firsts = client.sample_many(QUESTIONS, call=client.chat, num_samples=8, tools=TOOLS, max_tokens=512)
    rollouts = [[answer] for response in firsts for answer in response]
    while going := [rollout for rollout in rollouts if rollout[-1].tool_calls and len(rollout) < 4]:
        prompts = [rollout[-1].extend(rollout[-1].tool_results({"multiply": multiply})) for rollout in going]
        seconds = client.sample_many(prompts, call=client.chat, tools=TOOLS, max_tokens=512)
        for rollout, response in zip(going, seconds, strict=True):
            rollout.append(response[0])
print(len(rollouts), "rollouts of", sum(map(len, rollouts)), "answers. The first ends:", rollouts[0][-1].text)
