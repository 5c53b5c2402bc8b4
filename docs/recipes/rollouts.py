"""Rollouts as arrays, for a trainer: tokens, the mask of the sampled ones, their log-probabilities, advantages."""

import numpy as np

import tinkex

GROUP = 8
QUESTIONS = [f"What is {number} plus {number}? Answer with the number." for number in range(2, 10)]

with tinkex.ServiceClient.local() as service:  # tinkex.ServiceClient() is the hosted service
    client = service.create_sampling_client(base_model=service.local_model)
    groups = list(client.sample_many(QUESTIONS, call=client.chat, num_samples=GROUP, max_tokens=16, seed=1))
rewards = np.array([[str(2 * n) in answer.text for answer in group] for n, group in enumerate(groups, 2)], np.float32)
advantages = (rewards - rewards.mean(axis=1, keepdims=True)) / (rewards.std(axis=1, keepdims=True) + 1e-6)

rollouts = [answer for group in groups for answer in group]
shape = len(rollouts), max(answer.prompt.length + len(answer.tokens) for answer in rollouts)
tokens, mask, logprobs = np.zeros(shape, np.int32), np.zeros(shape, np.bool_), np.zeros(shape, np.float32)
for row, answer in enumerate(rollouts):
    start, end = answer.prompt.length, answer.prompt.length + len(answer.tokens)
    tokens[row, :end] = [*answer.prompt.to_ints(), *answer.tokens]
    mask[row, start:end] = True
    logprobs[row, start:end] = answer.logprobs
np.savez("rollouts.npz", tokens=tokens, mask=mask, logprobs=logprobs, advantages=advantages.reshape(-1))
print(f"tokens {shape}, {mask.sum()} of them sampled; mean reward {rewards.mean():.2f}")
