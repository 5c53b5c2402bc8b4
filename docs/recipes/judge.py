"""Compare two models by a third, which judges: ``python judge.py MODEL_A MODEL_B JUDGE < questions.txt``.

Each pair of answers is judged in both orders, since judges prefer the place as well as the answer.
"""

import sys

import tinkex

ASK = "Which answer is better?\n\nQuestion: {}\n\nAnswer A: {}\n\nAnswer B: {}\n\nSay A or B, nothing else."

questions = sys.stdin.read().splitlines()
with tinkex.ServiceClient() as service:
    one, two, judge = (service.create_sampling_client(base_model=name) for name in sys.argv[1:4])
    ones, twos = (
        [answer.text for answer in client.sample_many(questions, call=client.chat, max_tokens=256, temperature=0)]
        for client in (one, two)
    )
    pairs = [(ASK.format(*row), ASK.format(row[0], row[2], row[1])) for row in zip(questions, ones, twos, strict=True)]
    texts = [{"prompt": [{"role": "user", "content": text}], "choices": ["A", "B"]} for pair in pairs for text in pair]
    shares = [score.probabilities[0] for score in judge.sample_many(texts, call=judge.score)]
wins = [(there + 1 - back) / 2 for there, back in zip(shares[::2], shares[1::2], strict=True)]  # both orders
print(f"{sys.argv[1]} is preferred to {sys.argv[2]} with {sum(wins) / len(wins):.0%}")
