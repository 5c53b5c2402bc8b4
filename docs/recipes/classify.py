"""Classify texts by the likeliest label, and take out what the model says of any text (contextual calibration)."""

import tinkex

LABELS = [" negative", " positive"]
PROMPT = "Review: I left early.\nSentiment: negative\n\nReview: {}\nSentiment:"
NOTHING = ["N/A", "[MASK]", ""]
REVIEWS = [
    ("The best film of the year.", 1),
    ("Two hours that I want back.", 0),
    ("I laughed until I cried.", 1),
    ("The plot makes no sense at all.", 0),
    ("Great actors, wonderful music.", 1),
    ("Boring from the first minute to the last.", 0),
]

items = [{"prompt": PROMPT.format(text), "choices": LABELS} for text in [*NOTHING, *(text for text, _ in REVIEWS)]]
with tinkex.ServiceClient.local() as service:  # tinkex.ServiceClient() is the hosted service
    client = service.create_sampling_client(base_model=service.local_model)
    shares = [score.probabilities for score in client.sample_many(items, call=client.score)]
bias = [sum(column) / len(NOTHING) for column in zip(*shares[: len(NOTHING)], strict=True)]
print("of no text at all:", ", ".join(f"{share:.0%}{label}" for share, label in zip(bias, LABELS, strict=True)))
plain = right = 0
for share, (text, label) in zip(shares[len(NOTHING) :], REVIEWS, strict=True):
    fair = [each / usual for each, usual in zip(share, bias, strict=True)]
    plain += share.index(max(share)) == label
    right += fair.index(max(fair)) == label
    print(f"{fair[1] / sum(fair):4.0%} positive: {text}")
print(f"{plain} of {len(REVIEWS)} right, {right} when calibrated")
