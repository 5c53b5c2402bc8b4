"""Answer questions by a vote: draw sixteen chains of thought and take the number that most of them end with."""

import re
from collections import Counter

import tinkex

PROMPT = """Q: Ann has 3 apples and buys 2 more. How many has she?
A: She has 3 + 2 = 5. The answer is 5.

Q: Ben has 8 coins and loses 2. How many has he?
A: He has 8 - 2 = 6. The answer is 6.

Q: {}
A:"""
QUESTIONS = {
    "Tom has 4 pens and finds 3 more. How many has he?": "7",
    "Eve has 6 birds and gets 2 more. How many has she?": "8",
    "Max has 9 books and sells 4. How many has he?": "5",
}

with tinkex.ServiceClient.local() as service:  # tinkex.ServiceClient() is the hosted service
    client = service.create_sampling_client(base_model=service.local_model)
    prompts = [PROMPT.format(question) for question in QUESTIONS]
    params = tinkex.SamplingParams(max_tokens=32, temperature=0.4, stop="\n", seed=1)
    drawn = list(client.sample_many(prompts, params, call=client.complete, num_samples=16))
for (question, expected), response in zip(QUESTIONS.items(), drawn, strict=True):
    numbers = [found[-1] for text in response.texts if (found := re.findall(r"\d+", text))]
    votes = Counter(numbers).most_common(3)
    print(question, "right" if votes[0][0] == expected else "wrong", votes)
