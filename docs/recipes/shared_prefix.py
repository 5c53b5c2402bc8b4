"""Many questions about one document: the server reads it once, and takes it from its prefix cache afterwards."""

import tinkex

DOCUMENT = "The library opens at nine and closes at six. On Sundays it is closed. Books are lent for four weeks. " * 8
QUESTIONS = ["When does it open?", "When does it close?", "Is it open on Sundays?", "How long may I keep a book?"]

items = [[{"role": "user", "content": f"{DOCUMENT}\n\nAnswer in a few words: {question}"}] for question in QUESTIONS]
with tinkex.ServiceClient.local() as service:  # tinkex.ServiceClient() is the hosted service
    client = service.create_sampling_client(base_model=service.local_model)
    params = tinkex.SamplingParams(max_tokens=16, temperature=0.0)
    first = client.chat(items[0], params).result()  # alone, so that the others find it in the cache
    answers = [first, *client.sample_many(items[1:], params, call=client.chat)]
for question, answer in zip(QUESTIONS, answers, strict=True):
    hit = answer.response.prompt_cache_hit_tokens
    print(f"{hit} of {answer.prompt.length} tokens from the cache: {question} {answer.text!r}")
