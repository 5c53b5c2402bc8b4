"""What docs/migration.rst says of both libraries, tried.

`python migration_claims.py MODULE URL CLAIM...` prints outcomes as JSON. An outcome is a word: what came back,
or the name of the error or warning that did.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import importlib
import json
import os
import pickle
import subprocess
import sys
import threading
import time
import warnings

MODULE, URL, *CLAIMS = sys.argv[1:] if __name__ == "__main__" else ("tinkex", "")
lib = importlib.import_module(MODULE)
types = importlib.import_module(f"{MODULE}.types")
KEY = "tml-a-key-that-nobody-else-has"
official = MODULE == "tinker"


def service(**options):
    """A service client of the library."""
    return lib.ServiceClient(base_url=URL, api_key=KEY, **options)


def sampler(made=None, **options):
    """A sampling client of the library."""
    created = (made or service()).create_sampling_client(base_model="any/model", **options)
    return created.result() if official else created


def sample(client, prompt=None, **options):
    """A future of a small sample."""
    prompt = types.ModelInput.from_ints([1, 2, 3]) if prompt is None else prompt
    params = types.SamplingParams(**({"max_tokens": 2} | options))
    return client.sample(prompt, num_samples=1, sampling_params=params)


def word(call):
    """The name of what a call returns or raises, or of its first warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - its name is what is asked for
            return type(error).__name__
    named = [warning for warning in caught if not issubclass(warning.category, ResourceWarning)]
    return named[0].category.__name__ if named else type(result).__name__


def within(seconds, call):
    """The word of a call, or "nothing" when it takes too long."""
    found = []
    thread = threading.Thread(target=lambda: found.append(word(call)), daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else "nothing"


def creation():
    """What `create_sampling_client` returns, and what using that as the client gives."""
    created = service().create_sampling_client(base_model="any/model")
    return [type(created).__name__, word(lambda: created.get_base_model())]  # noqa: PLW0108 - the look-up warns


def creation_async():
    """What `create_sampling_client_async` returns."""
    made = service().create_sampling_client_async(base_model="any/model")
    if asyncio.iscoroutine(made):
        made.close()
        return "coroutine"
    return "future" if isinstance(made, concurrent.futures.Future) else type(made).__name__


def both_models():
    """A base model and a path together."""

    def create():
        made = service().create_sampling_client(base_model="any/model", model_path="tinker://a/sampler_weights/b")
        return made.result() if official else made

    return word(create)


def positions():
    """`sample` by position."""
    client, prompt, params = sampler(), types.ModelInput.from_ints([1]), types.SamplingParams(max_tokens=1)
    return [
        word(lambda: client.sample(prompt, 1, params).result()),
        word(lambda: client.sample(prompt, params).result()),
        word(lambda: types.SamplingParams(1)),
    ]


def awaited():
    """`await sample(...)`, and through `asyncio.wrap_future`."""
    client = sampler()

    async def direct():
        return await sample(client)

    async def wrapped():
        return await asyncio.wrap_future(sample(client))

    return [word(lambda: asyncio.run(direct())), word(lambda: asyncio.run(wrapped()))]


def callbacks():
    """`add_done_callback` and `concurrent.futures.wait`."""
    client = sampler()
    future = sample(client)
    return [word(lambda: future.add_done_callback(lambda _: None)), word(lambda: concurrent.futures.wait([future]))]


def deprecated():
    """`get_server_capabilities`, and `sample_async` where there is one."""
    made = service()
    client = sampler(made)
    run = getattr(client, "sample_async", None)

    def call():
        params = types.SamplingParams(max_tokens=1)
        return asyncio.run(run(types.ModelInput.from_ints([1]), num_samples=1, sampling_params=params))

    return [word(made.get_server_capabilities), word(call) if run else "none"]


def plain():
    """Calls that are the same in both."""
    client = sampler(service(user_metadata={"a": "b"}))
    future = sample(client)
    names = [word(lambda: future.result(10)), word(future.done), word(future.cancel)]
    scores = client.compute_logprobs(types.ModelInput.from_ints([1, 2, 3]), prompt_logprobs_last_n=1).result()
    return [*names, client.get_base_model(), [score is None for score in scores]]


def closing():
    """`close`."""
    made = service()
    sampler(made)
    return word(lambda: made.close("success") if official else made.close())


def used_after_close():
    """A sample after `close`."""
    made = service()
    client = sampler(made)
    if official:
        made.close("success").result()
    else:
        made.close()
    return within(10, lambda: sample(client).result())


def top_logprobs():
    """The likeliest tokens of the prompt."""
    options = {"include_prompt_logprobs": True, "topk_prompt_logprobs": 2}
    prompt, params = types.ModelInput.from_ints([1, 2, 3]), types.SamplingParams(max_tokens=1)
    response = sampler().sample(prompt, num_samples=1, sampling_params=params, **options).result()
    rows = response.topk_prompt_logprobs
    has = [hasattr(response, name) for name in ("usage", "topk_prompt_logprobs_np")]
    return [type(rows).__name__, rows == list(rows), *has]


def errors():
    """Which names of errors there are."""
    names = ("RateLimitError", "APIStatusError", "APITimeoutError", "APIConnectionError", "BillingError", "TinkerError")
    names += ("TinkexError", "APIResponseValidationError", "APIResponseError", "SampleTimeoutError")
    return [name for name in names if hasattr(lib, name)] + [issubclass(lib.RequestFailedError, lib.APIError)]


def arguments():
    """Arguments that cannot be meant."""
    client = sampler()
    empty = types.ModelInput.from_ints([])
    return {
        "unknown name": word(lambda: types.SamplingParams(max_tokens=4, temprature=0.1)),
        "temperature -1": word(lambda: types.SamplingParams(max_tokens=4, temperature=-1)),
        "token -1": word(lambda: types.ModelInput.from_ints([-1])),
        "token 1.0": word(lambda: types.ModelInput.from_ints([1.0])),
        "no max_tokens": word(lambda: sample(client, max_tokens=None).result()),
        "empty prompt": word(lambda: sample(client, empty).result()),
        "list": word(lambda: sample(client, [1, 2]).result()),
    }


def fork():
    """A sample in a child of `os.fork`, with the parent's client."""
    client = sampler()
    sample(client).result()
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        os.write(writer, within(5, lambda: sample(client).result()).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    return os.read(reader, 100).decode()


def nested():
    """Another result, waited for inside a done callback."""
    client, found = sampler(), []
    ended = threading.Event()

    def callback(_):
        found.append(within(5, lambda: sample(client).result()))
        ended.set()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sample(client).add_done_callback(callback)
    ended.wait(20)
    return found[0]


def slow_callback():
    """Whether a sample waits while a callback sleeps for three seconds."""
    client, begun = sampler(), threading.Event()

    def callback(_):
        begun.set()
        time.sleep(3)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sample(client).add_done_callback(callback)
    begun.wait(10)
    started = time.monotonic()
    sample(client).result()
    return "waits" if time.monotonic() - started > 2 else "does not wait"


def pickled():
    """Whether the key is in a pickled sampling client."""
    return KEY.encode() in pickle.dumps(sampler())


def one_sample():
    """One sample, from a server that the test has prepared."""
    return within(20, lambda: sample(sampler()).result())


def with_statement():
    """A block that ends well, and one that does not; the server is told which."""
    with service() as made:
        sampler(made)

    def fail():
        with service() as made:
            sampler(made)
            raise LookupError

    return word(fail)


def headers():
    """A header of the caller's on every request."""
    extra = {"X-Mine": "yes"}
    if official:
        made = service(default_headers_overrides=extra)
    else:
        made = service(config=lib.ClientConfig(default_headers=extra))
    return word(lambda: sample(sampler(made)).result())


def imported():
    """Seconds of CPU that importing the library takes at best, alone and with its clients."""
    parts = ("import time", "begun = time.process_time()", f"import {MODULE}", "done = time.process_time()")
    parts += (f"{MODULE}.ServiceClient", "print(done - begun, time.process_time() - begun)")
    command = [sys.executable, "-c", "; ".join(parts)]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() for _ in range(3)]
    return [min(map(float, column)) for column in zip(*runs, strict=True)]


def handles():
    """The handle of a sampler."""
    client = sampler()
    if official:
        handle = client.get_sampler_handle()
        handle = handle.result() if hasattr(handle, "result") else handle
    else:
        handle = client.handle()
    return handle


def from_handle():
    """A client from the handle in the environment."""
    handle = os.environ["HANDLE"]
    if official:
        made = lib.SamplingClient.from_sampler_handle(handle)
        made = made.result() if hasattr(made, "result") else made
    else:
        made = lib.SamplingClient.from_handle(handle, api_key=KEY)
    return word(lambda: sample(made).result())


def main():
    """Try what was asked for."""
    print(json.dumps({name: globals()[name]() for name in CLAIMS}))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
