# %% Once in a notebook
import tinkex
from tinkex.testing import FakeServer

service = tinkex.ServiceClient.direct(FakeServer(latency=1.0).start().url)  # the hosted service: tinkex.ServiceClient()
client = service.create_sampling_client(base_model="meta-llama/Llama-3.1-8B", timeout=10)
params = tinkex.SamplingParams(max_tokens=16)

# %% Ask for much at once; this cell ends immediately
futures = [client.sample([1, 1 + number, 7], params) for number in range(300)]

# %% How far is it?
service.stats().in_flight

# %% The interrupt button ends the wait, and leaves the samples running: run this cell again
answers = [future.result().sequences[0].tokens for future in futures]

# %% Or give up what is left
for future in futures:
    future.cancel()
