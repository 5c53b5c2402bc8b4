"""Draw eight answers and keep the best: by the model's own log-probabilities, and by a judge."""

import tinkex

QUESTION = "Why do cats purr? Answer in one sentence."
ASK = "Question: {}\n\nAnswer: {}\n\nIs this answer helpful and correct? Say Yes or No."

with tinkex.ServiceClient.local() as service:  # tinkex.ServiceClient() is the hosted service
    client = judge = service.create_sampling_client(base_model=service.local_model)
    answers = client.chat(QUESTION, num_samples=8, max_tokens=48, temperature=0.7, seed=1).result()
    asked = [[{"role": "user", "content": ASK.format(QUESTION, text)}] for text in answers.texts]
    items = [{"prompt": messages, "choices": ["Yes", "No"]} for messages in asked]
    helpful = [score.probabilities[0] for score in judge.sample_many(items, call=judge.score)]
means = [answer.mean_logprob or 0.0 for answer in answers]
for name, scores in (("likeliest", means), ("judged best", helpful)):
    best = max(range(len(scores)), key=scores.__getitem__)
    print(f"{name}: {scores[best]:.2f} {answers[best].text!r}")
