"""Compare two models by a third, which judges.

Each pair of answers is judged in both orders, since judges prefer the place as well as the answer.
"""

import tinkex
from tinkex.testing import FakeServer, ToyModel

ASK = "Which answer is better?\n\nQuestion: {}\n\nAnswer A: {}\n\nAnswer B: {}\n\nSay A or B, nothing else."
QUESTIONS = ["Why do cats purr?", "What is bread made of?", "Who wrote Faust?"]
MODELS = ["model/one", "model/two", "judge"]

with (
    FakeServer(answers={"model/one": "I know.", "model/two": "Nobody knows.", "judge": ToyModel()}) as server,
    tinkex.ServiceClient.direct(server.url) as service,  # the hosted service: tinkex.ServiceClient()
):
    one, two, judge = (service.create_sampling_client(base_model=name) for name in MODELS)
    ones, twos = (
        [answer.text for answer in client.sample_many(QUESTIONS, call=client.chat, max_tokens=256, temperature=0)]
        for client in (one, two)
    )
    pairs = [(ASK.format(*row), ASK.format(row[0], row[2], row[1])) for row in zip(QUESTIONS, ones, twos, strict=True)]
    texts = [{"prompt": [{"role": "user", "content": text}], "choices": ["A", "B"]} for pair in pairs for text in pair]
    shares = [score.probabilities[0] for score in judge.sample_many(texts, call=judge.score)]
wins = [(there + 1 - back) / 2 for there, back in zip(shares[::2], shares[1::2], strict=True)]  # both orders
print(f"{MODELS[0]} is preferred to {MODELS[1]} with {sum(wins) / len(wins):.0%}")
